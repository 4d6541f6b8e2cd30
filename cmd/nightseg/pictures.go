package main

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"

	"nightseg/edge/frame"
	"nightseg/model"
)

// overlayShare is how much of the class's colour covers the picture.
const overlayShare = 0.5

// pictures writes what the loop saw and made: four PNG files per frame.
type pictures struct {
	dir     string
	palette color.Palette
}

// newPictures makes the folder.
func newPictures(dir string, b *model.Bundle) (*pictures, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	return &pictures{dir: dir, palette: paletteOf(b)}, nil
}

// paletteOf has a colour for each class id; ids that are no class are black.
func paletteOf(b *model.Bundle) color.Palette {
	p := make(color.Palette, 256)
	for i := range p {
		p[i] = color.RGBA{A: 255}
	}
	for _, c := range b.Classes {
		p[c.ID] = color.RGBA{c.Colour[0], c.Colour[1], c.Colour[2], 255}
	}
	return p
}

// See implements edge.Tap.
func (p *pictures) See(src, relit *frame.Frame, m *frame.Mask) error {
	if relit == nil {
		relit = src
	}
	v := newViews(src, relit, m, p.palette)
	for i, img := range v.images() {
		name := filepath.Join(p.dir, fmt.Sprintf("%06d_%s.png", m.Seq, viewNames[i]))
		if err := writePNG(name, img); err != nil {
			return err
		}
	}
	return nil
}

var viewNames = [...]string{"frame", "relit", "mask", "overlay"}

// views are the four pictures of one frame.
type views struct {
	frame, relit, overlay *image.RGBA
	mask                  *image.Paletted
}

func newViews(src, relit *frame.Frame, m *frame.Mask, p color.Palette) views {
	v := views{
		frame: rgba(src), relit: rgba(relit),
		mask: &image.Paletted{
			Pix: append([]uint8(nil), m.Class...), Stride: m.W, Rect: image.Rect(0, 0, m.W, m.H), Palette: p,
		},
	}
	v.overlay = blend(v.frame, v.mask)
	return v
}

func (v *views) images() [4]image.Image { return [4]image.Image{v.frame, v.relit, v.mask, v.overlay} }

// rgba copies a frame.
func rgba(f *frame.Frame) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, f.W, f.H))
	for i, j := 0, 0; i < len(f.Pix); i, j = i+3, j+4 {
		img.Pix[j], img.Pix[j+1], img.Pix[j+2], img.Pix[j+3] = f.Pix[i], f.Pix[i+1], f.Pix[i+2], 255
	}
	return img
}

// blend lays the colours of the classes over a picture of the mask's size.
// Unknown pixels stay as they are.
func blend(pic *image.RGBA, m *image.Paletted) *image.RGBA {
	out := image.NewRGBA(pic.Rect)
	for i, k := range m.Pix {
		px := pic.Pix[4*i : 4*i+4]
		c := [3]byte{px[0], px[1], px[2]}
		if r, ok := m.Palette[k].(color.RGBA); ok && k != frame.Unknown {
			for j, v := range [3]byte{r.R, r.G, r.B} {
				c[j] = byte(overlayShare*float64(v) + (1-overlayShare)*float64(c[j]))
			}
		}
		copy(out.Pix[4*i:], []byte{c[0], c[1], c[2], 255})
	}
	return out
}

func writePNG(name string, img image.Image) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	e := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := e.Encode(w, img); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return w.Flush()
}
