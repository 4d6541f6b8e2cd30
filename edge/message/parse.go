package message

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"nightseg/edge/frame"
)

// Reader parses messages. It keeps its buffers and the words of the last
// header: into a mask that has seen the size, it allocates only for words that
// change (a recorded frame's name, a new run). It is not safe for concurrent use.
type Reader struct {
	head   Header // of the message at hand
	last   Header // of the one before
	words  []byte // a string of the header without its escapes
	data   []byte // the joined IDAT chunks, or the runs
	rows   [2][]byte
	source bytes.Reader
	zlib   io.ReadCloser
	zstd   *zstd.Decoder
	frame  zstd.Header
}

var readers = sync.Pool{New: func() any { return new(Reader) }}

// Parse is Parse of a Reader that it shares with other callers; it may be
// called from several goroutines.
func Parse(dst *frame.Mask, b []byte) (Header, error) {
	r := readers.Get().(*Reader)
	defer readers.Put(r)
	return r.Parse(dst, b)
}

// Parse reads a message of either codec into dst and returns its header. It
// takes no memory for a mask before the message has shown that it can hold
// one, and keeps nothing of b. After an error dst holds nothing of use.
func (r *Reader) Parse(dst *frame.Mask, b []byte) (Header, error) {
	codec := Sniff(b)
	var err error
	switch codec {
	case PNG:
		err = r.parsePNG(dst, b)
	case RLEZstd:
		err = r.parseRLE(dst, b)
	default:
		return Header{}, fmt.Errorf("message: %w: neither a PNG file nor %s", ErrFormat, magicRLE)
	}
	if err != nil {
		return Header{}, fmt.Errorf("message: %s: %w", codec, err)
	}
	r.last = r.head
	dst.Meta = r.head.Meta
	return r.head, nil
}

// bad makes an error that is an ErrFormat.
func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// header parses the JSON header, and compares it with what the codec's own
// fields say.
func (r *Reader) header(b []byte, codec Codec, w, h int) error {
	if err := r.parseHeader(b); err != nil {
		return err
	}
	switch head := &r.head; {
	case head.Codec != codec:
		return bad("header: codec is %q", string(head.Codec))
	case head.W != w || head.H != h:
		return bad("header: %dx%d pixels, but the mask has %dx%d", head.W, head.H, w, h)
	case badRect(head.Valid, w, h):
		return bad("header: valid is not within %dx%d pixels", w, h)
	}
	return nil
}

// inflate makes the zlib reader start anew on b.
func (r *Reader) inflate(b []byte) (err error) {
	r.source.Reset(b)
	if r.zlib == nil {
		r.zlib, err = zlib.NewReader(&r.source)
		return err
	}
	return r.zlib.(zlib.Resetter).Reset(&r.source, nil)
}
