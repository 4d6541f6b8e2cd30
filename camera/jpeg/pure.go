//go:build !cgo || purejpeg

package jpeg

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"

	"nightseg/edge/frame"
)

// Library names what decodes.
const Library = "image/jpeg"

// Decoder decodes one file after the other. It is not for use by several
// goroutines at once.
type Decoder struct{ r bytes.Reader }

// New makes a decoder.
func New() (*Decoder, error) { return &Decoder{}, nil }

// Close does nothing.
func (d *Decoder) Close() error { return nil }

// Decode fills the pixels of dst from the file's bytes. The meta of dst is left
// alone. A truncated or corrupt file is an error; dst then holds no picture.
func (d *Decoder) Decode(dst *frame.Frame, b []byte) error {
	d.r.Reset(b)
	c, err := jpeg.DecodeConfig(&d.r)
	if err != nil {
		return fmt.Errorf("jpeg: %w", err)
	}
	if err := checkSize(c.Width, c.Height); err != nil {
		return fmt.Errorf("jpeg: %w", err)
	}
	d.r.Reset(b)
	m, err := jpeg.Decode(&d.r)
	if err != nil {
		return fmt.Errorf("jpeg: %w", err)
	}
	dst.Reset(c.Width, c.Height)
	switch m := m.(type) {
	case *image.YCbCr:
		for y := range dst.H {
			row := dst.Pix[3*y*dst.W:][:3*dst.W]
			for x := range dst.W {
				i, j := m.YOffset(x, y), m.COffset(x, y)
				row[3*x], row[3*x+1], row[3*x+2] = color.YCbCrToRGB(m.Y[i], m.Cb[j], m.Cr[j])
			}
		}
	default:
		for y := range dst.H {
			row := dst.Pix[3*y*dst.W:][:3*dst.W]
			for x := range dst.W {
				r, g, b, _ := m.At(x, y).RGBA()
				row[3*x], row[3*x+1], row[3*x+2] = uint8(r>>8), uint8(g>>8), uint8(b>>8)
			}
		}
	}
	return nil
}
