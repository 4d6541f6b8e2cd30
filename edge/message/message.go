package message

import (
	"errors"
	"fmt"
	"time"

	"nightseg/edge/frame"
)

// Codec names a wire form.
type Codec string

// The codecs.
const (
	PNG     Codec = "png"
	RLEZstd Codec = "rle-zstd"
)

// Codecs returns all codecs, the default first.
func Codecs() []Codec { return []Codec{PNG, RLEZstd} }

// Valid reports whether this is one of Codecs.
func (c Codec) Valid() bool { return c == PNG || c == RLEZstd }

// Extension returns the usual end of a file's name, without a dot: "bin" for
// what is no message.
func (c Codec) Extension() string {
	switch c {
	case PNG:
		return "png"
	case RLEZstd:
		return "nsrz"
	}
	return "bin"
}

const (
	magicPNG = "\x89PNG\r\n\x1a\n"
	magicRLE = "NSRZ"
)

// Sniff tells the codec of a message by its first bytes; "" where it is none.
func Sniff(payload []byte) Codec {
	switch {
	case hasPrefix(payload, magicPNG):
		return PNG
	case hasPrefix(payload, magicRLE):
		return RLEZstd
	}
	return ""
}

func hasPrefix(b []byte, s string) bool { return len(b) >= len(s) && string(b[:len(s)]) == s }

// Schema is the version of the header that this package writes and reads.
const Schema = 1

// Limits of what is written and read.
const (
	MaxPixels = 64 << 20 // of a mask
	MaxHeader = 1<<16 - 1
	maxSide   = 1<<16 - 1
)

var (
	// ErrFormat marks bytes that are no mask message, or a damaged one.
	ErrFormat = errors.New("not a mask message")
	// ErrVersion marks a message of a version that this package does not know.
	ErrVersion = errors.New("unknown version")
	// ErrMask marks a mask that cannot be sent: a bad size, id or rectangle.
	ErrMask = errors.New("bad mask")
)

// Origin is what stays the same from mask to mask.
type Origin struct {
	Fleet, Device string        // ids, [A-Za-z0-9_-]{1,64}
	Bundle        string        // sha256 of the bundle, hexadecimal
	Classes       int           // how many colours of the palette are always sent
	Palette       [256][3]uint8 // red, green, blue of each class and of frame.Unknown
}

// Sending is what an Encoder is told besides the mask.
type Sending struct {
	Codec     Codec
	Published time.Duration // on the clock of Meta.Mono
	Settings  int64         // version of the settings in force; 0 when they are those of the file
}

// Encoder makes messages. It keeps its buffers: once it has seen a mask of the
// size, it does not allocate. It is not safe for concurrent use.
type Encoder struct {
	origin  Origin
	header  Header
	json    []byte
	deflate deflater
	runs    runCoder
}

// NewEncoder makes an encoder for one sender.
func NewEncoder(o Origin) (*Encoder, error) {
	for _, id := range [...]struct{ name, value string }{{"fleet", o.Fleet}, {"device", o.Device}} {
		if !validID(id.value) {
			return nil, fmt.Errorf("message: %w: %s %q is not 1 to 64 of A-Z a-z 0-9 _ -", ErrMask, id.name, id.value)
		}
	}
	if o.Classes < 0 || o.Classes > frame.Unknown {
		return nil, fmt.Errorf("message: %w: %d classes; at most %d", ErrMask, o.Classes, frame.Unknown)
	}
	e := &Encoder{origin: o}
	if err := e.runs.init(); err != nil {
		return nil, fmt.Errorf("message: zstd: %w", err)
	}
	return e, nil
}

// Append appends the message of a mask to dst. After an error dst is returned
// as it was.
func (e *Encoder) Append(dst []byte, m *frame.Mask, s Sending) ([]byte, error) {
	if err := check(m); err != nil {
		return dst, err
	}
	h := &e.header
	h.Meta = m.Meta
	h.Schema, h.Codec, h.W, h.H = Schema, s.Codec, m.W, m.H
	h.Fleet, h.Device, h.Bundle = e.origin.Fleet, e.origin.Device, e.origin.Bundle
	h.Published, h.Settings = s.Published, s.Settings
	e.json = appendHeader(e.json[:0], h)
	if len(e.json) > MaxHeader {
		return dst, fmt.Errorf("message: %w: a header of %d bytes; at most %d", ErrMask, len(e.json), MaxHeader)
	}
	switch s.Codec {
	case PNG:
		return e.appendPNG(dst, m), nil
	case RLEZstd:
		return e.appendRLE(dst, m), nil
	}
	return dst, fmt.Errorf("message: codec %q is not %s or %s", string(s.Codec), PNG, RLEZstd)
}

// check refuses masks that Parse would not take back.
func check(m *frame.Mask) error {
	switch {
	case badSize(m.W, m.H):
		return fmt.Errorf("message: %w: %dx%d pixels", ErrMask, m.W, m.H)
	case len(m.Class) != m.W*m.H:
		return fmt.Errorf("message: %w: %d classes for %dx%d pixels", ErrMask, len(m.Class), m.W, m.H)
	case !validID(m.Camera):
		return fmt.Errorf("message: %w: camera %q is not 1 to 64 of A-Z a-z 0-9 _ -", ErrMask, m.Camera)
	case !validID(m.Run):
		return fmt.Errorf("message: %w: run %q is not 1 to 64 of A-Z a-z 0-9 _ -", ErrMask, m.Run)
	case m.Relight > frame.RelightNetwork:
		return fmt.Errorf("message: %w: relight mode %d", ErrMask, m.Relight)
	case badRect(m.Valid, m.W, m.H):
		return fmt.Errorf("message: %w: the valid part %v is not within %dx%d pixels", ErrMask, m.Valid, m.W, m.H)
	}
	return nil
}

func badSize(w, h int) bool {
	return w < 1 || h < 1 || w > maxSide || h > maxSide || w*h > MaxPixels
}

func badRect(r frame.Rect, w, h int) bool {
	return r.X0 < 0 || r.X0 > r.X1 || r.X1 > w || r.Y0 < 0 || r.Y0 > r.Y1 || r.Y1 > h
}

// validID reports whether s may stand for a device, camera or run: such a name
// is safe in a topic and in the name of a file.
func validID(s string) bool {
	if len(s) < 1 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
