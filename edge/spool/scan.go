package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	readAhead = 64 << 10
	page      = 4 << 10 // what is given up where a disk cannot read
)

// errShrunk says that the file is shorter than it was said to be: look again.
var errShrunk = errors.New("file has shrunk")

// readError is a failed read, as opposed to bad bytes that were read well.
type readError struct {
	off int64
	err error
}

func (e *readError) Error() string { return fmt.Sprintf("read at %d: %v", e.off, e.err) }
func (e *readError) Unwrap() error { return e.err }

// scanner reads the records of a segment in order and finds the next good one
// behind bad bytes. It reads each byte about once, whatever the bytes are.
type scanner struct {
	r    io.ReaderAt
	id   uint64
	off  int64 // where the next record is looked for
	end  int64 // nothing is read from here on
	good int64 // end of the last good record
	bad  int64 // bytes passed over
	raw  []byte
	buf  []byte // what is in memory of the file ...
	at   int64  // ... from here
	sums checksums
}

// start begins a segment. The scanner's memory is kept.
func (s *scanner) start(r io.ReaderAt, id uint64, off, end int64) {
	*s = scanner{r: r, id: id, off: off, end: end, good: off, buf: s.buf[:0]}
}

// next returns the next good record, io.EOF behind the last, or a *readError.
// The record is valid until the next call; raw is the whole of it.
func (s *scanner) next(rec *record) error {
	for {
		err := s.try(rec)
		if err == nil && s.raw != nil || err != nil && !errors.Is(err, errShrunk) {
			return err
		}
	}
}

// try looks at one place, and leaves raw nil where no good record is there.
func (s *scanner) try(rec *record) error {
	s.raw = nil
	if s.end-s.off < recordHeader {
		s.skipTo(max(s.off, s.end))
		return io.EOF
	}
	h, err := s.window(s.off, recordHeader)
	if err != nil {
		return err
	}
	n, ok := s.sums.bodyLen(h, s.id, s.off)
	if !ok || n > s.end-s.off-recordHeader {
		return s.resync()
	}
	b, err := s.window(s.off, recordHeader+n)
	if err != nil {
		return err
	}
	if !parseRecord(b, rec) {
		// The length is covered by the header's own checksum: the next one is behind it.
		s.skipTo(s.off + recordHeader + n)
		return nil
	}
	s.raw = b
	s.off += recordHeader + n
	s.good = s.off
	return nil
}

func (s *scanner) skipTo(off int64) {
	s.bad += off - s.off
	s.off = off
}

// skipPage goes on behind the page at which reading failed. It reports false at
// the end.
func (s *scanner) skipPage() bool {
	s.buf = s.buf[:0]
	s.skipTo(min(s.end, (s.off/page+1)*page))
	return s.off < s.end
}

// resync moves to the next place that may be a record.
func (s *scanner) resync() error {
	for p := s.off + 1; ; {
		w, err := s.rest(p)
		if err != nil {
			return err
		}
		if len(w) < recordHeader {
			s.skipTo(s.end)
			return nil
		}
		if i := bytes.Index(w, recordMagic); i >= 0 {
			s.skipTo(p + int64(i))
			return nil
		}
		p += int64(len(w) - len(recordMagic) + 1)
	}
}

// rest returns what is in memory from off on, at least a header where the file
// has one. It must not read anew for each candidate: bytes may be full of them.
func (s *scanner) rest(off int64) ([]byte, error) {
	if i := off - s.at; i >= 0 && int64(len(s.buf))-i >= recordHeader {
		return s.buf[i:], nil
	}
	if off >= s.end {
		return nil, nil
	}
	return s.window(off, min(readAhead, s.end-off))
}

// window returns n bytes from off on; off+n is at most end.
func (s *scanner) window(off, n int64) ([]byte, error) {
	if i := off - s.at; i >= 0 && i+n <= int64(len(s.buf)) {
		return s.buf[i : i+n], nil
	}
	size := min(max(n, readAhead), s.end-off)
	if int64(cap(s.buf)) < size {
		s.buf = make([]byte, size)
	}
	s.buf, s.at = s.buf[:size], off
	got, err := s.r.ReadAt(s.buf, off)
	if err != nil && !errors.Is(err, io.EOF) && int64(got) < n && n < size {
		got, err = s.r.ReadAt(s.buf[:n], off) // the bad place may be behind what is needed
	}
	if int64(got) >= n {
		s.buf = s.buf[:got] // the rest fails when it is needed
		return s.buf[:n], nil
	}
	s.buf = s.buf[:0]
	if err == nil || errors.Is(err, io.EOF) {
		s.end = off + int64(got)
		return nil, errShrunk
	}
	return nil, &readError{off, err}
}
