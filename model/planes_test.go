package model

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The planes hold the normalised values, next to what the formula gives, and are the
// same bits whether eight pixels go at a time or one, or stay packed.
func TestPlanes(t *testing.T) {
	norm := Normalise{Mean: [3]float64{0.485, 0.456, 0.406}, Std: [3]float64{0.229, 0.224, 0.225}}
	n := NewNormaliser(norm)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, pixels := range []int{0, 1, 7, 8, 9, 16, 255, 1000} {
		pix := make([]byte, 3*pixels)
		for i := range pix {
			pix[i] = byte(rng.Uint32())
		}
		dst := make([]float32, 3*pixels)
		n.Planes(dst, pix)
		for i, v := range pix {
			got := dst[i%3*pixels+i/3]
			want := (float64(v)/255 - norm.Mean[i%3]) / norm.Std[i%3]
			if got != n.table[i%3][v] || math.Abs(float64(got)-want) > 5e-7 {
				t.Fatalf("%d pixels: byte %d of channel %d is %g, want %g", pixels, v, i%3, got, want)
			}
		}
		packed := make([]float32, len(dst))
		n.Pixels(packed, pix)
		for i, v := range packed {
			if want := dst[i%3*pixels+i/3]; v != want {
				t.Fatalf("%d pixels: value %d is %g packed and %g in its plane", pixels, i, v, want)
			}
		}
	}
}

func BenchmarkPlanes(b *testing.B) {
	n := NewNormaliser(Normalise{Std: [3]float64{1, 1, 1}})
	dst, pix := make([]float32, 3*480*640), make([]byte, 3*480*640)
	for b.Loop() {
		n.Planes(dst, pix)
	}
}
