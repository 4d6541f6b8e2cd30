package line

import (
	"bytes"
	"encoding/binary"
	"time"
)

// The kernel's <linux/gpio.h>, version 2 of the interface, Linux 5.10 or newer. A test
// compares this with what a C compiler makes of that file (testdata/abi.txt).
const (
	reqChipInfo  = 0x8044b401
	reqLineInfo  = 0xc100b405
	reqLine      = 0xc250b407
	reqGetValues = 0xc010b40e
	reqSetValues = 0xc010b40f

	sizeChipInfo = 68
	sizeLineInfo = 256
	sizeRequest  = 592
	sizeConfig   = 272
	sizeAttr     = 24
	sizeValues   = 16
	sizeEvent    = 48

	atChipLabel       = 32
	atChipLines       = 64
	atInfoConsumer    = 32
	atInfoOffset      = 64
	atInfoFlags       = 72
	atRequestConsumer = 256
	atRequestConfig   = 288
	atRequestLines    = 560
	atRequestFD       = 588
	atConfigNumAttrs  = 8
	atConfigAttrs     = 32
	atAttrValue       = 8
	atAttrMask        = 16
	atValuesMask      = 8
	atEventID         = 8

	flagUsed      = 1 << 0
	flagActiveLow = 1 << 1
	flagInput     = 1 << 2
	flagOutput    = 1 << 3
	flagRising    = 1 << 4
	flagFalling   = 1 << 5
	flagPullUp    = 1 << 8
	flagPullDown  = 1 << 9

	attrOutputValues = 2
	attrDebounce     = 3

	eventRising  = 1
	eventFalling = 2

	maxLines = 1024 // of a chip: no more are believed
)

var native = binary.NativeEndian

func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// lineRequest is the argument of reqLine for one line.
func lineRequest(offset uint32, flags uint64) []byte {
	b := make([]byte, sizeRequest)
	native.PutUint32(b, offset)
	copy(b[atRequestConsumer:], consumer)
	native.PutUint64(b[atRequestConfig:], flags)
	native.PutUint32(b[atRequestLines:], 1)
	return b
}

// setAttr gives the one line of a request an attribute more.
func setAttr(request []byte, id uint32, value uint64) {
	config := request[atRequestConfig : atRequestConfig+sizeConfig]
	n := native.Uint32(config[atConfigNumAttrs:])
	a := config[atConfigAttrs+sizeAttr*int(n):]
	native.PutUint32(a, id)
	if id == attrDebounce {
		native.PutUint32(a[atAttrValue:], uint32(value)) // a union: the others are wider
	} else {
		native.PutUint64(a[atAttrValue:], value)
	}
	native.PutUint64(a[atAttrMask:], 1)
	native.PutUint32(config[atConfigNumAttrs:], n+1)
}

// values is the argument of reqGetValues and reqSetValues for one line.
func values(on bool) []byte {
	b := make([]byte, sizeValues)
	if on {
		native.PutUint64(b, 1)
	}
	native.PutUint64(b[atValuesMask:], 1)
	return b
}

// parseEvent reads an event of a line.
func parseEvent(b []byte) (Edge, bool) {
	if len(b) < sizeEvent {
		return Edge{}, false
	}
	id := native.Uint32(b[atEventID:])
	e := Edge{Active: id == eventRising, At: time.Duration(native.Uint64(b))}
	return e, id == eventRising || id == eventFalling
}
