package message

import (
	"bytes"
	"image"
	"image/png"
	"math/rand/v2"
	"testing"

	"nightseg/edge/frame"
)

func TestSmoke(t *testing.T) {
	o := Origin{Fleet: "f", Device: "d", Bundle: "ab", Classes: 11}
	e, err := NewEncoder(o)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		var m, got frame.Mask
		w, h := 1+rng.IntN(70), 1+rng.IntN(40)
		m.Reset(w, h)
		n := 1 + rng.IntN(256)
		p := rng.Float64()
		for i := range m.Class {
			if i > w && rng.Float64() < p {
				m.Class[i] = m.Class[i-w]
			} else if i > 0 && rng.Float64() < p {
				m.Class[i] = m.Class[i-1]
			} else {
				m.Class[i] = byte(rng.IntN(n))
			}
		}
		m.Camera, m.Run, m.Name = "c", "r", "ä\"\\😀\n"
		for _, c := range Codecs() {
			b, err := e.Append(nil, &m, Sending{Codec: c, Published: 3})
			if err != nil {
				t.Fatal(err)
			}
			h, err := Parse(&got, b)
			if err != nil {
				t.Fatal(i, w, h, c, err)
			}
			if !bytes.Equal(got.Class, m.Class) || got.Meta != m.Meta || h.Published != 3 {
				t.Fatal(c, i, w, h)
			}
			if c == PNG {
				img, err := png.Decode(bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(img.(*image.Paletted).Pix, m.Class) {
					t.Fatal("png")
				}
			}
		}
	}
}
