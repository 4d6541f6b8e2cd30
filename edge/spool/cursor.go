package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"nightseg/edge/disk"
)

// The file of cursors has two slots, each in a page of its own, written in turn
// and synced each time: one of them is always whole. Writing over what is there
// needs no change in the file system's own books, the cheapest thing that a
// flash card can be asked to make last.
const (
	cursorName = "cursor"
	cursorSize = 64
)

var cursorMagic = []byte("NSCU")

// cursors is the content of a slot: what was confirmed.
type cursors struct {
	turn   uint64          // rises with each slot that is written
	nextID uint64          // no segment has had this id
	done   [Classes]uint64 // records up to this number are finished
}

func (c *cursors) put(b []byte) {
	clear(b[:cursorSize])
	copy(b, cursorMagic)
	b[4], b[5] = formatVersion, byte(Classes)
	le.PutUint64(b[8:], c.turn)
	le.PutUint64(b[16:], c.nextID)
	for i, n := range c.done {
		le.PutUint64(b[24+8*i:], n)
	}
	le.PutUint32(b[cursorSize-4:], crc32.Checksum(b[:cursorSize-4], castagnoli))
}

func (c *cursors) parse(b []byte) bool {
	if len(b) < cursorSize || !bytes.Equal(b[:4], cursorMagic) || b[4] != formatVersion || b[5] != byte(Classes) ||
		le.Uint32(b[cursorSize-4:]) != crc32.Checksum(b[:cursorSize-4], castagnoli) {
		return false
	}
	c.turn, c.nextID = le.Uint64(b[8:]), le.Uint64(b[16:])
	for i := range c.done {
		c.done[i] = le.Uint64(b[24+8*i:])
	}
	return true
}

// readCursors returns the newer good slot, and the slots that are damaged. A
// file without a good slot gives zeros: everything comes again.
func readCursors(f disk.File) (best cursors, damaged int, err error) {
	var b [page + cursorSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return best, 0, fmt.Errorf("read %s: %w", cursorName, err)
	}
	for _, at := range []int{0, page} {
		if at >= n {
			break
		}
		slot := b[at:min(n, at+cursorSize)]
		var c cursors
		switch {
		case !c.parse(slot):
			if !zero(slot) { // never written, or torn
				damaged++
			}
		case c.turn >= best.turn:
			best = c
		}
	}
	return best, damaged, nil
}

func zero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}
