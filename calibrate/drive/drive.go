// Package drive tells recordings apart by a hash of the frames that were seen, as
// the networks get them, so that all records of a bundle name a drive in one way.
package drive

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"nightseg/edge/frame"
)

// Hash is of the frames of a drive in their order. It must not be copied.
type Hash struct {
	all    hash.Hash
	frames int
}

// Add adds a frame and returns the hash of its size and pixels.
func (h *Hash) Add(f *frame.Frame) string {
	sum := sha256.New()
	sum.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(f.W)), uint32(f.H)))
	sum.Write(f.Pix)
	one := sum.Sum(nil)
	if h.all == nil {
		h.all = sha256.New()
	}
	h.all.Write(one)
	h.frames++
	return hex.EncodeToString(one)
}

// Frames is the number of frames that were added.
func (h *Hash) Frames() int { return h.frames }

// String is the hash of all frames so far.
func (h *Hash) String() string {
	if h.all == nil {
		h.all = sha256.New()
	}
	return hex.EncodeToString(h.all.Sum(nil))
}

// FrameHash is the hash of one frame, as Add returns it.
func FrameHash(f *frame.Frame) string { return new(Hash).Add(f) }
