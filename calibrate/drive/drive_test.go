package drive

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"nightseg/edge/frame"
)

// The hash is that of the frames' hashes, and these are of size and pixels.
func TestHash(t *testing.T) {
	f := &frame.Frame{}
	f.Reset(2, 1)
	copy(f.Pix, []byte{1, 2, 3, 4, 5, 6})
	one := sha256.Sum256([]byte{2, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6})
	two := sha256.Sum256(slices.Concat(one[:], one[:]))
	var h Hash
	if h.Add(f) != hex.EncodeToString(one[:]) || h.Add(f) != FrameHash(f) || h.Frames() != 2 {
		t.Error("a frame's hash")
	}
	if h.String() != hex.EncodeToString(two[:]) {
		t.Errorf("hash %s, want %x", h.String(), two)
	}
	if again := h.String(); again != hex.EncodeToString(two[:]) {
		t.Errorf("asked again: %s", again)
	}
	f.Reset(1, 2) // the same bytes in another shape
	copy(f.Pix, []byte{1, 2, 3, 4, 5, 6})
	if FrameHash(f) == hex.EncodeToString(one[:]) {
		t.Error("two shapes, one hash")
	}
	if empty := sha256.Sum256(nil); new(Hash).String() != hex.EncodeToString(empty[:]) {
		t.Error("no frames")
	}
}
