package message

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"

	"nightseg/edge/frame"
)

const (
	rleVersion = 1
	rleFixed   = 20 // bytes before the JSON header

	kindLeft  = 0
	kindAbove = 1
	kindClass = 2
	longRun   = 63 // n of a run whose length is told by a varint
)

// runCoder turns the classes of a mask into runs, and those into a zstd frame.
type runCoder struct {
	zstd  *zstd.Encoder
	runs  []byte
	above []byte // what is above the first row
}

func (c *runCoder) init() (err error) {
	c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<17))
	return err
}

// appendRLE appends the mask with the header at hand.
func (e *Encoder) appendRLE(dst []byte, m *frame.Mask) []byte {
	at := len(dst)
	e.runs.scan(m.Class, m.W, m.H)
	dst = append(dst, magicRLE...)
	dst = append(dst, rleVersion, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(m.W))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(m.H))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.json)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(e.runs.runs)))
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, e.json...)
	start := len(dst)
	dst = e.runs.zstd.EncodeAll(e.runs.runs, dst)
	binary.LittleEndian.PutUint32(dst[at+16:], uint32(len(dst)-start))
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[at:]))
}

// scan turns the classes into runs.
func (c *runCoder) scan(class []byte, w, h int) {
	if len(c.above) < w {
		c.above = make([]byte, w)
	}
	if cap(c.runs) < w*h {
		c.runs = make([]byte, 0, w*h)
	}
	runs := c.runs[:0]
	for p := 0; ; {
		same := c.same(class, p, w)
		runs = binary.AppendUvarint(runs, uint64(same))
		p += same
		if p == len(class) {
			break
		}
		k := class[p]
		n := 1
		for p+n < len(class) && class[p+n] == k && aboveOf(class, p+n, w) != k {
			n++
		}
		runs = appendRun(runs, class, p, n, w)
		p += n
	}
	c.runs = runs
}

// same returns how many pixels from p on are as those above.
func (c *runCoder) same(class []byte, p, w int) int {
	n := 0
	if p < w {
		if n = samePrefix(class[p:w], c.above[:w-p]); p+n < w {
			return n
		}
		p = w
	}
	return n + samePrefix(class[p:], class[p-w:len(class)-w])
}

func aboveOf(class []byte, p, w int) byte {
	if p < w {
		return 0
	}
	return class[p-w]
}

// appendRun appends a run of n pixels from p on.
func appendRun(runs, class []byte, p, n, w int) []byte {
	k := class[p]
	kind := byte(kindClass)
	switch {
	case p > 0 && class[p-1] == k || p == 0 && k == 0:
		kind = kindLeft
	case n < w && aboveOf(class, p+n, w) == k:
		kind = kindAbove
	}
	if n <= longRun {
		runs = append(runs, kind|byte(n-1)<<2)
	} else {
		runs = append(runs, kind|longRun<<2)
		runs = binary.AppendUvarint(runs, uint64(n-longRun-1))
	}
	if kind == kindClass {
		runs = append(runs, k)
	}
	return runs
}
