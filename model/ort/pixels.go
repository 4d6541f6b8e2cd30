//go:build cgo

package ort

import (
	"slices"

	"nightseg/model"
	onnxfile "nightseg/model/onnx"
)

// pixels are the pictures of an integer segmentation network that would round
// planes to pixels first: it is given the pixels, and no planes are made.
type pixels struct {
	form    *onnxfile.PixelInput
	picture *buffer // input of the segmentation network, with grey around the picture
	relit   *buffer // output of the relight network, without
	w       int     // bytes of a row of a picture
}

// usePixels changes a segmentation network that rounds planes to pixels so that it
// takes pixels, and the relight network before it so that it gives them. No value
// behind changes. Others stay as they are, and so do all on providers where this
// was not tried.
func (e *Engine) usePixels(src *source, g *onnxfile.Graph, p plan) (err error) {
	switch {
	case src.name == "segment" && slices.Contains([]string{model.CPU, model.OpenVINO}, p.first()):
		form := g.PixelInput(src.graph.Input.Name)
		if form == nil || !e.exact(form) {
			return nil
		}
		if e.pixels, err = e.newPixels(form); err != nil {
			return err
		}
		src.in, src.pixels = e.pixels.picture, true
		g.TakePixels(form, p.first() == model.OpenVINO)
	case src.name == "relight" && e.pixels != nil:
		src.out, src.pixels = e.pixels.relit, true
		src.output, err = g.GivePixels(src.graph.Output.Name, e.pixels.form)
	}
	return err
}

// exact reports whether a network turns the planes of every pixel back into it.
func (e *Engine) exact(form *onnxfile.PixelInput) bool {
	var pix [3 * 256]byte
	for i := range pix {
		pix[i] = byte(i / 3)
	}
	var planes [3 * 256]float32
	e.table.Planes(planes[:], pix[:])
	for i, v := range planes {
		if form.Byte(i/256, v) != byte(i%256) {
			return false
		}
	}
	return true
}

func (e *Engine) newPixels(form *onnxfile.PixelInput) (*pixels, error) {
	p := &pixels{form: form, w: 3 * e.w}
	var err error
	if p.picture, err = newBuffer("uint8", []int64{
		1, int64(form.Top + e.h + form.Bottom), int64(form.Left + e.w + form.Right), 3,
	}); err != nil {
		return nil, err
	}
	for i := range p.picture.u8 {
		p.picture.u8[i] = form.Grey
	}
	if p.relit, err = newBuffer("uint8", []int64{1, int64(e.h), int64(e.w), 3}); err != nil {
		p.picture.close()
		return nil, err
	}
	return p, nil
}

// put writes a picture into the input.
func (p *pixels) put(pix []byte) {
	stride := p.w + 3*(p.form.Left+p.form.Right)
	for at := p.form.Top*stride + 3*p.form.Left; len(pix) >= p.w; at += stride {
		copy(p.picture.u8[at:at+p.w], pix)
		pix = pix[p.w:]
	}
}

func (p *pixels) close() {
	if p != nil {
		p.picture.close()
		p.relit.close()
	}
}
