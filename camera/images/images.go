// Package images is a source of recorded frames: a folder of JPEG and PNG files
// in natural order, a tree of sequences (the layout of Dark Zurich, sequences by
// name and then frame number, label folders left out), or a single picture.
package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"nightseg/edge/frame"
)

var (
	// ErrEmpty says that there is no picture in a folder.
	ErrEmpty = errors.New("no pictures")
	// ErrGone says that the folder went away, or all that was in it, while it was
	// played.
	ErrGone = errors.New("the pictures are gone")
	// ErrFile says that one picture could not be read; the next one may be fine.
	ErrFile = errors.New("unreadable picture")
)

// JPEGDecoder fills the pixels of dst from the bytes of a file and leaves its
// meta alone.
type JPEGDecoder interface {
	Decode(dst *frame.Frame, b []byte) error
}

// Options set how a folder is read.
type Options struct {
	JPEG JPEGDecoder
	Loop bool // start again at the end, with the files that are there then
}

// Source plays pictures. Next is for one goroutine; Counters for any.
type Source struct {
	path    string
	opts    Options
	entries []entry
	next    int
	file    reader
	png     bytes.Reader
	closed  bool

	unreadable atomic.Uint64
	missing    atomic.Uint64
}

// Open lists the pictures at path: a folder or one file.
func Open(path string, o Options) (*Source, error) {
	if o.JPEG == nil {
		return nil, errors.New("images: no JPEG decoder was given")
	}
	entries, err := list(path)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	return &Source{path: path, opts: o, entries: entries}, nil
}

// Len returns the number of pictures.
func (s *Source) Len() int { return len(s.entries) }

// Next decodes the next picture into dst, at its own size. A broken file is an
// error that wraps ErrFile and names it; the next call goes on with the next
// file. io.EOF comes after the last one.
func (s *Source) Next(ctx context.Context, dst *frame.Frame) error {
	if s.closed {
		return errors.New("images: the source is closed")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.next >= len(s.entries) {
		if err := s.rewind(); err != nil {
			return err
		}
	}
	e := &s.entries[s.next]
	s.next++
	dst.Meta = frame.Meta{Name: e.name}
	dst.Stamp()
	b, err := s.file.read(e.path)
	if err != nil {
		return s.fault(e, err)
	}
	if e.png {
		err = decodePNG(dst, &s.png, b)
	} else {
		err = s.opts.JPEG.Decode(dst, b)
	}
	if err != nil {
		s.unreadable.Add(1)
		return fmt.Errorf("images: %w %s: %w", ErrFile, e.name, err)
	}
	return nil
}

// rewind starts again at the end of the list, with what the folder holds now.
func (s *Source) rewind() error {
	if !s.opts.Loop {
		return io.EOF
	}
	entries, err := list(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("images: %w: %s", ErrGone, s.path)
	}
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	s.entries, s.next = entries, 0
	return nil
}

// fault counts a picture that could not be read, and all that would follow
// when no picture is left.
func (s *Source) fault(e *entry, err error) error {
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		s.unreadable.Add(1)
		return fmt.Errorf("images: %w %s: %w", ErrFile, e.name, err)
	}
	s.missing.Add(1)
	if _, listErr := list(s.path); listErr == nil {
		return fmt.Errorf("images: %w %s: it was there at the start: %w", ErrFile, e.name, err)
	}
	done, all := s.next-1, len(s.entries)
	s.missing.Add(uint64(all - s.next))
	s.next = all
	return fmt.Errorf("images: %w: %s, after %d of %d pictures", ErrGone, s.path, done, all)
}

// Counters returns how many pictures were lost, by reason.
func (s *Source) Counters() map[string]uint64 {
	return map[string]uint64{"unreadable": s.unreadable.Load(), "missing": s.missing.Load()}
}

// Close ends the source. It may be called twice.
func (s *Source) Close() error {
	s.closed = true
	return nil
}
