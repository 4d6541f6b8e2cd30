package decide

import (
	"math"

	"nightseg/edge/frame"
)

// Region is a rectangle of the camera's picture, in fractions of its width and
// height from the top left corner: X0 < X1, Y0 < Y1, all from 0 to 1.
type Region struct{ X0, Y0, X1, Y1 float64 }

// Blank makes the pixels of regions Unknown: what the camera shows there is its
// own vehicle, or nobody's business. It is not safe for concurrent use.
type Blank struct {
	regions []Region

	of    view // that rects are for
	rects []frame.Rect
}

// view is how a mask lies on the camera's picture.
type view struct {
	w, h, sourceW, sourceH int
	to                     frame.Affine
}

// NewBlank returns a Blank of the regions.
func NewBlank(regions []Region) *Blank {
	return &Blank{regions: regions, rects: make([]frame.Rect, 0, len(regions))}
}

// Apply blanks the regions of a mask: all pixels that they touch.
func (b *Blank) Apply(m *frame.Mask) {
	if len(b.regions) == 0 {
		return
	}
	if of := (view{m.W, m.H, m.SourceW, m.SourceH, m.ToSource}); of != b.of {
		b.of = of
		b.place()
	}
	for _, r := range b.rects {
		for y := r.Y0; y < r.Y1; y++ {
			row := m.Class[y*m.W+r.X0 : y*m.W+r.X1]
			for i := range row {
				row[i] = frame.Unknown
			}
		}
	}
}

// place works out which pixels of the mask the regions touch. Cameras are turned
// by quarters only, so a rectangle stays one.
func (b *Blank) place() {
	b.rects = b.rects[:0]
	a, det := b.of.to, b.of.to.A*b.of.to.E-b.of.to.B*b.of.to.D
	if det == 0 { // a mask that does not say where it lies
		return
	}
	back := func(fx, fy float64) (x, y float64) {
		sx, sy := fx*float64(b.of.sourceW)-a.C, fy*float64(b.of.sourceH)-a.F
		return (a.E*sx - a.B*sy) / det, (a.A*sy - a.D*sx) / det
	}
	const hair = 1e-6 // of a pixel: rounding must not add a row
	for _, r := range b.regions {
		x0, y0 := back(r.X0, r.Y0)
		x1, y1 := back(r.X1, r.Y1)
		p := frame.Rect{
			X0: max(0, int(math.Floor(min(x0, x1)+hair))), Y0: max(0, int(math.Floor(min(y0, y1)+hair))),
			X1: min(b.of.w, int(math.Ceil(max(x0, x1)-hair))), Y1: min(b.of.h, int(math.Ceil(max(y0, y1)-hair))),
		}
		if !p.Empty() {
			b.rects = append(b.rects, p)
		}
	}
}
