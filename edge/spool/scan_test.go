package spool

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// countReader counts what a scanner reads.
type countReader struct {
	io.ReaderAt
	n int64
}

func (c *countReader) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, off)
	c.n += int64(n)
	return n, err
}

// TestScanIsLinear scans bytes that look like the beginnings of records.
func TestScanIsLinear(t *testing.T) {
	data := bytes.Repeat(recordMagic, 1<<18)
	c := &countReader{ReaderAt: bytes.NewReader(data)}
	var s scanner
	var r record
	s.start(c, 1, 0, int64(len(data)))
	if err := s.next(&r); !errors.Is(err, io.EOF) || s.bad != int64(len(data)) {
		t.Errorf("%v, %d bad", err, s.bad)
	}
	if c.n > 2*int64(len(data)) {
		t.Errorf("%d bytes read of %d", c.n, len(data))
	}
}

// segmentOf makes a segment in memory.
func segmentOf(id uint64, sizes ...int) []byte {
	b := make([]byte, segmentHeader)
	putSegmentHeader(b, Live, id, 1)
	var k checksums
	for i, n := range sizes {
		at := len(b)
		b = appendRecord(b, &Message{Run: "r", Camera: "c", Seq: uint64(i), Payload: content(Live, uint64(i), n)}, 1)
		k.finishRecord(b[at:], id, int64(at), uint64(i)+1)
	}
	return b
}

// A payload may hold a segment, even this one: it does not pass for records.
func TestRecordInPayload(t *testing.T) {
	inner := segmentOf(1, 10, 20)
	b := make([]byte, segmentHeader)
	putSegmentHeader(b, Live, 1, 1)
	var k checksums
	at := len(b)
	b = appendRecord(b, &Message{Payload: inner}, 1)
	k.finishRecord(b[at:], 1, int64(at), 1)
	b[at+8] ^= 1 // the length is no good, so the payload is searched
	var s scanner
	var r record
	s.start(bytes.NewReader(b), 1, segmentHeader, int64(len(b)))
	if err := s.next(&r); !errors.Is(err, io.EOF) {
		t.Errorf("%v, record %d with %d bytes", err, r.number, len(r.payload))
	}
}

func FuzzSegment(f *testing.F) {
	f.Add(segmentOf(1, 10, 0, 300), uint64(1))
	f.Add(segmentOf(1, 3000, 5), uint64(1))
	f.Add(segmentOf(2, 10), uint64(1))
	f.Add([]byte{}, uint64(0))
	torn := segmentOf(1, 100, 100, 100)
	f.Add(torn[:len(torn)-50], uint64(1))
	torn[100] ^= 4
	f.Add(torn, uint64(1))
	f.Add(bytes.Repeat(recordMagic, 100), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, id uint64) {
		if _, _, _, err := parseSegmentHeader(b); err == nil && len(b) < segmentHeader {
			t.Error("half a header")
		}
		var s scanner
		var r record
		s.start(bytes.NewReader(b), id, 0, int64(len(b)))
		var good int64
		for {
			err := s.next(&r)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			good += int64(len(s.raw))
			if n := recordHeader + len(r.run) + len(r.camera) + len(r.payload); n != len(s.raw) {
				t.Fatalf("a record of %d bytes in %d", n, len(s.raw))
			}
		}
		if good+s.bad != int64(len(b)) {
			t.Errorf("%d good and %d bad bytes of %d", good, s.bad, len(b))
		}
	})
}

func FuzzCursors(f *testing.F) {
	b := make([]byte, cursorSize)
	(&cursors{turn: 3, nextID: 4, done: [Classes]uint64{5, 6, 7}}).put(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var c cursors
		if c.parse(b) {
			again := make([]byte, cursorSize)
			if c.put(again); !bytes.Equal(again, b[:cursorSize]) {
				t.Errorf("%x is read, and written as %x", b, again)
			}
		}
	})
}
