//go:build cgo && !purejpeg

package jpeg

/*
#cgo LDFLAGS: -lturbojpeg
#include <turbojpeg.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"nightseg/edge/frame"
)

// Library names what decodes.
const Library = "libjpeg-turbo"

// Decoder decodes one file after the other. It is not for use by several
// goroutines at once.
type Decoder struct {
	handle C.tjhandle

	// Outputs of the header call live here and not on the stack, where cgo
	// would allocate them anew for each frame.
	w, h, subsampling, colours C.int
}

// New makes a decoder; Close frees it.
func New() (*Decoder, error) {
	h := C.tjInitDecompress()
	if h == nil {
		return nil, fmt.Errorf("jpeg: %s", C.GoString(C.tjGetErrorStr2(nil)))
	}
	return &Decoder{handle: h}, nil
}

// Close frees the decoder. It may be called twice.
func (d *Decoder) Close() error {
	if d.handle != nil {
		C.tjDestroy(d.handle)
		d.handle = nil
	}
	return nil
}

// Decode fills the pixels of dst from the file's bytes. The meta of dst is left
// alone. A truncated or corrupt file is an error; dst then holds no picture.
func (d *Decoder) Decode(dst *frame.Frame, b []byte) error {
	if d.handle == nil {
		return errors.New("jpeg: the decoder is closed")
	}
	if len(b) == 0 {
		return errors.New("jpeg: the file is empty")
	}
	data, size := (*C.uchar)(unsafe.Pointer(unsafe.SliceData(b))), C.ulong(len(b))
	if C.tjDecompressHeader3(d.handle, data, size, &d.w, &d.h, &d.subsampling, &d.colours) != 0 &&
		C.tjGetErrorCode(d.handle) != C.TJERR_WARNING {
		return d.err()
	}
	if err := checkSize(int(d.w), int(d.h)); err != nil {
		return fmt.Errorf("jpeg: %w", err)
	}
	dst.Reset(int(d.w), int(d.h))
	pix := (*C.uchar)(unsafe.Pointer(unsafe.SliceData(dst.Pix)))
	if C.tjDecompress2(d.handle, data, size, pix, d.w, 3*d.w, d.h, C.TJPF_RGB, C.TJFLAG_LIMITSCANS) == 0 {
		return nil
	}
	return d.err() // a warning too: libjpeg gives one where it had to guess pixels
}

func (d *Decoder) err() error {
	return fmt.Errorf("jpeg: %s", C.GoString(C.tjGetErrorStr2(d.handle)))
}
