package main

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <dlfcn.h>

// The libavformat that OpenCV brought along, if it did.
static unsigned avformat_version_now(void) {
	unsigned (*f)(void) = (unsigned (*)(void))dlsym(RTLD_DEFAULT, "avformat_version");
	return f ? f() : 0;
}
*/
import "C"

// ffmpegMajor returns the major version of the libavformat in this process; 0
// where OpenCV has none.
func ffmpegMajor() int { return int(C.avformat_version_now() >> 16) }
