// Package fit gives a camera's picture the shape that a network wants: turned
// and mirrored as the camera is mounted, then stretched, cropped or letterboxed,
// with the affine from mask to camera pixels that undoes it.
//
// The arithmetic is fixed to the byte, because the trainer must see what the
// vehicle sees. The bilinear filter with antialias is the one of the Python
// library Pillow (Image.resize with BILINEAR, called once for the rows and once
// more for the columns): a triangle as wide as the pixels of the smaller
// picture, coefficients of 22 fractional bits, each pass rounded to 8 bits.
// Without antialias the triangle keeps a width of one source pixel. The nearest
// filter is Pillow's too. A crop is cut before it is resized: no filter reads
// across its edge. Vectors in testdata are read by the tests of both languages.
package fit

import (
	"fmt"

	"nightseg/edge/frame"
)

// The ways to fit a picture, as in the manifest of a bundle.
const (
	Stretch   = "stretch"   // each axis scaled on its own
	Crop      = "crop"      // the largest centred part of the right shape
	Letterbox = "letterbox" // all of it, centred, on black
)

// The filters.
const (
	Bilinear = "bilinear"
	Nearest  = "nearest"
)

// MaxPixels bounds pictures on both sides.
const MaxPixels = 64 << 20

// maxShrink bounds by how much a side gets smaller: with more weights in a sum,
// their rounding could add up to a whole level.
const maxShrink = 4096

// Settings say how pictures are fitted.
type Settings struct {
	W, H         int    // pixels of the result; 0, 0: as the turned picture, not scaled
	Fit          string // Stretch (also when empty), Crop or Letterbox
	Filter       string // Bilinear (also when empty) or Nearest
	Antialias    bool   // of the bilinear filter, where it shrinks
	Rotate       int    // clockwise degrees: 0, 90, 180 or 270
	FlipH, FlipV bool   // mirror left and right, top and bottom, after turning
}

// Fitter fits pictures. It keeps buffers and tables for the last size that it
// saw; it is not for use by several goroutines at once.
type Fitter struct {
	set     Settings
	w, h    int // of the source that the plan is for
	plan    plan
	turned  []byte
	columns table
	rows    table
	between []byte
	pair    []uint64
}

// plan is what to do with sources of one size.
type plan struct {
	ow, oh   int        // turned picture
	crop     frame.Rect // part of it that is used
	outW     int
	outH     int
	inner    frame.Rect // where it goes
	affine   frame.Affine
	identity bool
}

// New makes a fitter, or says which setting is wrong.
func New(s Settings) (*Fitter, error) {
	if s.Fit == "" {
		s.Fit = Stretch
	}
	if s.Filter == "" {
		s.Filter = Bilinear
	}
	switch {
	case s.Fit != Stretch && s.Fit != Crop && s.Fit != Letterbox:
		return nil, fmt.Errorf("fit: %q is no way to fit; known: stretch, crop, letterbox", s.Fit)
	case s.Filter != Bilinear && s.Filter != Nearest:
		return nil, fmt.Errorf("fit: %q is no filter; known: bilinear, nearest", s.Filter)
	case s.Rotate != 0 && s.Rotate != 90 && s.Rotate != 180 && s.Rotate != 270:
		return nil, fmt.Errorf("fit: cannot rotate by %d degrees; allowed: 0, 90, 180, 270", s.Rotate)
	case s.W < 0 || s.H < 0 || (s.W == 0) != (s.H == 0):
		return nil, fmt.Errorf("fit: cannot make a picture of %dx%d", s.W, s.H)
	case s.W > 0 && s.W > MaxPixels/s.H:
		return nil, fmt.Errorf("fit: %dx%d is above %d megapixels", s.W, s.H, MaxPixels>>20)
	}
	return &Fitter{set: s}, nil
}

// Identity reports whether pictures of w x h pass unchanged.
func (f *Fitter) Identity(w, h int) bool {
	return w > 0 && h > 0 && f.prepare(w, h) == nil && f.plan.identity
}

// Describe fills the part of the meta that says how a source of w x h pixels
// was fitted: SourceW, SourceH, ToSource and Valid.
func (f *Fitter) Describe(m *frame.Meta, w, h int) error {
	if err := f.prepare(w, h); err != nil {
		return err
	}
	m.SourceW, m.SourceH = w, h
	m.ToSource, m.Valid = f.plan.affine, f.plan.inner
	return nil
}

// Fit fills dst with the fitted picture of src, and its meta with the meta of
// src, fitting included. src and dst must be different frames.
func (f *Fitter) Fit(dst, src *frame.Frame) error {
	if len(src.Pix) != 3*src.W*src.H {
		return fmt.Errorf("fit: a source of %dx%d with %d bytes", src.W, src.H, len(src.Pix))
	}
	dst.Meta = src.Meta
	if err := f.Describe(&dst.Meta, src.W, src.H); err != nil {
		return err
	}
	p := &f.plan
	dst.Reset(p.outW, p.outH)
	if p.identity {
		copy(dst.Pix, src.Pix)
		return nil
	}
	pix := src.Pix
	if f.set.Rotate != 0 || f.set.FlipH || f.set.FlipV {
		f.turned = grow(f.turned, len(pix))
		turn(f.turned, pix, src.W, src.H, f.set)
		pix = f.turned
	}
	if p.inner != (frame.Rect{X1: p.outW, Y1: p.outH}) {
		clear(dst.Pix)
	}
	f.resize(dst.Pix, pix)
	return nil
}

// prepare makes plan and tables for sources of w x h.
func (f *Fitter) prepare(w, h int) error {
	if f.w == w && f.h == h && w > 0 {
		return nil
	}
	if w <= 0 || h <= 0 || w > MaxPixels/h {
		return fmt.Errorf("fit: cannot take a picture of %dx%d", w, h)
	}
	p := plan{ow: w, oh: h}
	if f.set.Rotate == 90 || f.set.Rotate == 270 {
		p.ow, p.oh = h, w
	}
	p.outW, p.outH = f.set.W, f.set.H
	if p.outW == 0 {
		p.outW, p.outH = p.ow, p.oh
	}
	p.crop = frame.Rect{X1: p.ow, Y1: p.oh}
	p.inner = frame.Rect{X1: p.outW, Y1: p.outH}
	switch f.set.Fit {
	case Crop:
		p.crop = largest(p.ow, p.oh, p.outW, p.outH)
	case Letterbox:
		p.inner = largest(p.outW, p.outH, p.ow, p.oh)
	}
	if p.crop.X1-p.crop.X0 > maxShrink*(p.inner.X1-p.inner.X0) || p.crop.Y1-p.crop.Y0 > maxShrink*(p.inner.Y1-p.inner.Y0) {
		return fmt.Errorf("fit: %dx%d is more than %d times as large as %dx%d", w, h, maxShrink, p.outW, p.outH)
	}
	p.affine = p.toSource(f.set, w, h)
	p.identity = p.ow == p.outW && p.oh == p.outH && f.set.Rotate == 0 && !f.set.FlipH && !f.set.FlipV
	f.plan, f.w, f.h = p, w, h
	wide := f.set.Antialias
	make1 := (*table).bilinear
	if f.set.Filter == Nearest {
		make1 = (*table).nearest
	}
	make1(&f.columns, p.crop.X1-p.crop.X0, p.inner.X1-p.inner.X0, wide)
	make1(&f.rows, p.crop.Y1-p.crop.Y0, p.inner.Y1-p.inner.Y0, wide)
	return nil
}

// largest is the largest centred rectangle in w x h with the shape of sw x sh,
// its sides rounded to whole pixels, halves up, odd remainders to the right and
// the bottom.
func largest(w, h, sw, sh int) frame.Rect {
	rw, rh := w, h
	if w*sh > h*sw {
		rw = min(max((2*h*sw+sh)/(2*sh), 1), w)
	} else {
		rh = min(max((2*w*sh+sw)/(2*sw), 1), h)
	}
	x, y := (w-rw)/2, (h-rh)/2
	return frame.Rect{X0: x, Y0: y, X1: x + rw, Y1: y + rh}
}

// toSource is the way back: out of the inner rectangle, into the crop, and the
// mirrors and the turn undone.
func (p *plan) toSource(s Settings, w, h int) frame.Affine {
	sx := float64(p.crop.X1-p.crop.X0) / float64(p.inner.X1-p.inner.X0)
	sy := float64(p.crop.Y1-p.crop.Y0) / float64(p.inner.Y1-p.inner.Y0)
	a := frame.Affine{
		A: sx, C: float64(p.crop.X0) - float64(sx*float64(p.inner.X0)),
		E: sy, F: float64(p.crop.Y0) - float64(sy*float64(p.inner.Y0)),
	}
	if s.FlipH {
		a.A, a.B, a.C = -a.A, -a.B, float64(p.ow)-a.C
	}
	if s.FlipV {
		a.D, a.E, a.F = -a.D, -a.E, float64(p.oh)-a.F
	}
	switch s.Rotate { // a turned position (x, y) was at ...
	case 90: // (y, h-x)
		a = frame.Affine{A: a.D, B: a.E, C: a.F, D: -a.A, E: -a.B, F: float64(h) - a.C}
	case 180: // (w-x, h-y)
		a = frame.Affine{A: -a.A, B: -a.B, C: float64(w) - a.C, D: -a.D, E: -a.E, F: float64(h) - a.F}
	case 270: // (w-y, x)
		a = frame.Affine{A: -a.D, B: -a.E, C: float64(w) - a.F, D: a.A, E: a.B, F: a.C}
	}
	// No negative zeros: they would show in messages.
	return frame.Affine{A: a.A + 0, B: a.B + 0, C: a.C + 0, D: a.D + 0, E: a.E + 0, F: a.F + 0}
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
