package message

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/klauspost/compress/zstd"

	"nightseg/edge/frame"
)

func (r *Reader) parseRLE(dst *frame.Mask, b []byte) error {
	if len(b) < rleFixed+4 {
		return bad("cut off at byte %d", len(b))
	}
	if b[4] != rleVersion {
		return fmt.Errorf("%w %d; this program reads %d", ErrVersion, b[4], rleVersion)
	}
	w, h := int(binary.LittleEndian.Uint16(b[6:])), int(binary.LittleEndian.Uint16(b[8:]))
	header := int(binary.LittleEndian.Uint16(b[10:]))
	runs, packed := binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:])
	if need := uint64(rleFixed) + uint64(header) + uint64(packed) + 4; need != uint64(len(b)) {
		return bad("%d bytes; its lengths say %d", len(b), need)
	}
	body := b[:len(b)-4]
	switch {
	case crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(b[len(body):]):
		return bad("wrong checksum")
	case b[5] != 0:
		return bad("byte 5 is %d, not 0", b[5])
	case badSize(w, h):
		return bad("%dx%d pixels; at most %d in all", w, h, MaxPixels)
	case uint64(runs) > maxRuns(w*h):
		return bad("%d bytes of runs for %dx%d pixels", runs, w, h)
	}
	if err := r.header(body[rleFixed:rleFixed+header], RLEZstd, w, h); err != nil {
		return err
	}
	if err := r.unzstd(body[rleFixed+header:], int(runs)); err != nil {
		return err
	}
	if err := checkRuns(r.data, w, h); err != nil {
		return err
	}
	dst.Reset(w, h)
	fillRuns(dst.Class, r.data, w)
	return nil
}

// maxRuns is the most bytes that the runs of n pixels take: three for a pixel
// that is not as above, and a last count.
func maxRuns(n int) uint64 { return 3*uint64(n) + binary.MaxVarintLen32 }

// zstdBlock is the most that a block of zstd holds; it takes four bytes or more.
const zstdBlock = 1 << 17

// unzstd brings the runs, which are to have n bytes, into r.data.
func (r *Reader) unzstd(b []byte, n int) error {
	r.frame = zstd.Header{}
	if err := r.frame.Decode(b); err != nil {
		return bad("zstd: %v", err)
	}
	if f := &r.frame; f.Skippable || f.HasFCS && f.FrameContentSize != uint64(n) || n > (len(b)/4+1)*zstdBlock {
		return bad("a zstd frame of %d bytes that does not hold %d bytes of runs", len(b), n)
	}
	if r.zstd == nil {
		var err error
		if r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(3*MaxPixels+binary.MaxVarintLen32)); err != nil {
			return err
		}
	}
	if cap(r.data) < n {
		r.data = make([]byte, 0, n)
	}
	runs, err := r.zstd.DecodeAll(b, r.data[:0:n]) // does not grow
	switch {
	case err != nil:
		return bad("zstd: %v", err)
	case len(runs) != n:
		return bad("zstd: %d bytes of runs, not %d", len(runs), n)
	}
	r.data = r.data[:n]
	return nil
}

// runCursor steps through runs.
type runCursor struct {
	b  []byte
	at int
}

// count reads a varint; -1 where there is none or it is above 32 bits.
func (c *runCursor) count() int {
	v, n := binary.Uvarint(c.b[c.at:])
	if n <= 0 || v > math.MaxInt32 {
		return -1
	}
	c.at += n
	return int(v)
}

// run reads what follows a count: kind, length and class. ok is false where the
// bytes end.
func (c *runCursor) run() (kind byte, n int, class byte, ok bool) {
	if c.at >= len(c.b) {
		return 0, 0, 0, false
	}
	t := c.b[c.at]
	c.at++
	kind, n = t&3, int(t>>2)+1
	if n == longRun+1 {
		m := c.count()
		if m < 0 {
			return 0, 0, 0, false
		}
		n += m
	}
	if kind == kindClass {
		if c.at >= len(c.b) {
			return 0, 0, 0, false
		}
		class = c.b[c.at]
		c.at++
	}
	return kind, n, class, true
}

// checkRuns makes sure that the runs give w*h pixels, before there is memory
// for them.
func checkRuns(b []byte, w, h int) error {
	c := runCursor{b: b}
	for p := 0; ; {
		n := c.count()
		if n < 0 || n > w*h-p {
			return bad("runs: a bad count at byte %d", c.at)
		}
		if p += n; p == w*h {
			if c.at != len(b) {
				return bad("runs: %d bytes too many", len(b)-c.at)
			}
			return nil
		}
		kind, n, _, ok := c.run()
		switch {
		case !ok:
			return bad("runs: cut off at byte %d", c.at)
		case kind > kindClass:
			return bad("runs: kind %d at byte %d", kind, c.at)
		case n > w*h-p, kind == kindAbove && n >= w:
			return bad("runs: too long a run at byte %d", c.at)
		}
		p += n
	}
}

// fillRuns writes the pixels of runs that were checked.
func fillRuns(class, b []byte, w int) {
	c := runCursor{b: b}
	for p := 0; p < len(class); {
		n := c.count()
		copyAbove(class, p, n, w)
		if p += n; p == len(class) {
			return
		}
		kind, n, k, _ := c.run()
		switch {
		case kind == kindLeft && p > 0:
			k = class[p-1]
		case kind == kindAbove:
			k = aboveOf(class, p+n, w)
		}
		run := class[p : p+n]
		for i := range run {
			run[i] = k
		}
		p += n
	}
}

// copyAbove gives n pixels from p on the classes of those above.
func copyAbove(class []byte, p, n, w int) {
	if p < w {
		m := min(n, w-p)
		clear(class[p : p+m])
		p, n = p+m, n-m
	}
	for n > 0 { // at most a row at a time: what is above may itself be new
		m := min(n, w)
		copy(class[p:p+m], class[p-w:])
		p, n = p+m, n-m
	}
}
