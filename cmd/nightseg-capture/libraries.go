//go:build cgo

package main

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

// libavformat and GStreamer come along with OpenCV where it was built with them,
// so they are asked for at run time and not linked.

static unsigned avformat_version_now(void) {
	unsigned (*f)(void) = (unsigned (*)(void))dlsym(RTLD_DEFAULT, "avformat_version");
	return f ? f() : 0;
}

// 1: GStreamer has the element, 0: it has not, -1: there is no GStreamer.
static int gst_has(const char *element) {
	int (*init)(int *, char ***, void **) = (int (*)(int *, char ***, void **))dlsym(RTLD_DEFAULT, "gst_init_check");
	void *(*find)(const char *) = (void *(*)(const char *))dlsym(RTLD_DEFAULT, "gst_element_factory_find");
	void (*unref)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "gst_object_unref");
	if (!init || !find || !unref || !init(NULL, NULL, NULL))
		return -1;
	void *factory = find(element);
	if (!factory)
		return 0;
	unref(factory);
	return 1;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// ffmpegMajor returns the major version of the libavformat in this process; 0
// where OpenCV has none.
func ffmpegMajor() int { return int(C.avformat_version_now() >> 16) }

// haveElements reports which of the elements of a pipeline GStreamer lacks. OpenCV
// 4.6 runs what is left of a pipeline without them, and waits for it for ever.
func haveElements(names []string) error {
	for _, name := range names {
		c := C.CString(name)
		has := C.gst_has(c)
		C.free(unsafe.Pointer(c))
		switch {
		case has < 0:
			return errors.New("this OpenCV has no GStreamer, which CSI cameras need")
		case has == 0:
			return fmt.Errorf("GStreamer has no element %s: CSI cameras need a Jetson with its multimedia packages "+
				"(nvidia-l4t-gstreamer), and gstreamer1.0-plugins-base", name)
		}
	}
	return nil
}
