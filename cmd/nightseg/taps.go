package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"nightseg/edge/frame"
)

// maskHash is masks_sha256: SHA-256 over sequence number (8 bytes), width and
// height (4 bytes each, all little-endian) and the classes of each mask, in the
// order in which the masks come.
type maskHash struct {
	hash hash.Hash
	head [16]byte
}

func newMaskHash() *maskHash { return &maskHash{hash: sha256.New()} }

// Write adds a mask. It allocates nothing.
func (h *maskHash) Write(m *frame.Mask) {
	binary.LittleEndian.PutUint64(h.head[0:], m.Seq)
	binary.LittleEndian.PutUint32(h.head[8:], uint32(m.W))
	binary.LittleEndian.PutUint32(h.head[12:], uint32(m.H))
	_, _ = h.hash.Write(h.head[:]) // a hash's Write returns no error
	_, _ = h.hash.Write(m.Class)
}

// Sum returns the hash of the masks so far, in hexadecimal.
func (h *maskHash) Sum() string { return hex.EncodeToString(h.hash.Sum(nil)) }

// taps are what looks at the masks of a replay.
type taps struct {
	hash     *maskHash
	bar      *progress
	pictures *pictures // may be nil
}

// See implements edge.Tap.
func (t *taps) See(src, relit *frame.Frame, m *frame.Mask) error {
	t.hash.Write(m)
	t.bar.Add(1)
	if t.pictures == nil {
		return nil
	}
	return t.pictures.See(src, relit, m)
}
