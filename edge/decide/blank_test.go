package decide_test

import (
	"testing"

	"nightseg/edge/decide"
	"nightseg/edge/frame"
)

// TestBlank compares with asking of every pixel whether a region touches it.
func TestBlank(t *testing.T) {
	regions := []decide.Region{{0, 0.8, 1, 1}, {0.25, 0.1, 0.3, 0.35}}
	for name, m := range map[string]frame.Mask{
		"as it is":   {W: 64, H: 48, Meta: frame.Meta{SourceW: 64, SourceH: 48, ToSource: frame.Affine{A: 1, E: 1}}},
		"stretched":  {W: 64, H: 48, Meta: frame.Meta{SourceW: 1920, SourceH: 1080, ToSource: frame.Affine{A: 30, E: 22.5}}},
		"cropped":    {W: 64, H: 48, Meta: frame.Meta{SourceW: 80, SourceH: 48, ToSource: frame.Affine{A: 1, C: 8, E: 1}}},
		"letterbox":  {W: 64, H: 48, Meta: frame.Meta{SourceW: 64, SourceH: 40, ToSource: frame.Affine{A: 1, E: 1, F: -4}}},
		"mirrored":   {W: 64, H: 48, Meta: frame.Meta{SourceW: 64, SourceH: 48, ToSource: frame.Affine{A: -1, C: 64, E: 1}}},
		"on its end": {W: 48, H: 64, Meta: frame.Meta{SourceW: 64, SourceH: 48, ToSource: frame.Affine{B: 1, D: -1, F: 48}}},
	} {
		t.Run(name, func(t *testing.T) {
			m.Class = make([]uint8, m.W*m.H)
			blanker := decide.NewBlank(regions)
			blanker.Apply(&m)
			blank := 0
			for i, k := range m.Class {
				want := touched(&m, i%m.W, i/m.W, regions)
				if (k == frame.Unknown) != want {
					t.Fatalf("pixel %d, %d: class %d; touched: %v", i%m.W, i/m.W, k, want)
				}
				if want {
					blank++
				}
			}
			if share := float64(blank) / float64(len(m.Class)); share < 0.1 || share > 0.3 {
				t.Errorf("%.2f of the mask is blank", share)
			}
			if n := testing.AllocsPerRun(10, func() { blanker.Apply(&m) }); n > 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	m := frame.Mask{W: 2, H: 2, Class: make([]uint8, 4)}
	decide.NewBlank(regions).Apply(&m) // where it lies is not known
	decide.NewBlank(nil).Apply(&m)
	if m.Class[0] != 0 {
		t.Error("blank without a place")
	}
}

// touched reports whether the square of a pixel shares an area with a region.
func touched(m *frame.Mask, x, y int, regions []decide.Region) bool {
	ax, ay := m.ToSource.Apply(float64(x), float64(y))
	bx, by := m.ToSource.Apply(float64(x+1), float64(y+1))
	w, h := float64(m.SourceW), float64(m.SourceH)
	const hair = 1e-4
	share := func(a, b, from, to float64) bool { return min(max(a, b), to)-max(min(a, b), from) > hair }
	for _, r := range regions {
		if share(ax, bx, r.X0*w, r.X1*w) && share(ay, by, r.Y0*h, r.Y1*h) {
			return true
		}
	}
	return false
}
