package main

import (
	"nightseg/camera/fit"
	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/model"
)

// networks is the stage that runs an engine which can be replaced by another one
// between two frames. It is for lanes with one frame in the networks at a time.
type networks struct {
	edge.Inferer
	w, h int // pixels of the pictures that it takes

	fitter *fit.Fitter // for the frames that were under way when the size changed
	scaled frame.Frame
}

// newNetworks makes the stage for an engine of a bundle.
func newNetworks(e edge.Inferer, b *model.Bundle) (*networks, error) {
	n := &networks{Inferer: e, w: b.Shapes[0][1], h: b.Shapes[0][0]}
	var err error
	n.fitter, err = fit.New(fit.Settings{W: n.w, H: n.h, Filter: b.Resize.Filter, Antialias: b.Resize.Antialias})
	return n, err
}

// Infer implements edge.Inferer. A picture of another size, which was fitted for
// the networks before, is scaled.
func (n *networks) Infer(dst *frame.Logits, src *frame.Frame) error {
	if src.W == n.w && src.H == n.h {
		return n.Inferer.Infer(dst, src)
	}
	if err := n.fitter.Fit(&n.scaled, src); err != nil {
		return err
	}
	n.scaled.Meta = rescaled(&src.Meta, src.W, src.H, n.w, n.h)
	return n.Inferer.Infer(dst, &n.scaled)
}

// rescaled returns the meta of a frame of w x h pixels after it was scaled to
// toW x toH.
func rescaled(m *frame.Meta, w, h, toW, toH int) frame.Meta {
	out := *m
	x, y := float64(w)/float64(toW), float64(h)/float64(toH)
	a := m.ToSource
	out.ToSource = frame.Affine{A: a.A * x, B: a.B * y, C: a.C, D: a.D * x, E: a.E * y, F: a.F}
	v := m.Valid
	out.Valid = frame.Rect{X0: v.X0 * toW / w, Y0: v.Y0 * toH / h, X1: (v.X1*toW + w - 1) / w, Y1: (v.Y1*toH + h - 1) / h}
	return out
}
