package images

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"

	"nightseg/edge/frame"
)

// maxPixels is the limit of the JPEG decoder, kept for PNG too.
const maxPixels = 64 << 20

// decodePNG fills the pixels of dst. Transparency is left out: colours are
// taken as they are written. Values of 16 bits lose the lower 8. The standard
// library's decoder allocates.
func decodePNG(dst *frame.Frame, r *bytes.Reader, b []byte) error {
	r.Reset(b)
	c, err := png.DecodeConfig(r)
	if err != nil {
		return err
	}
	if c.Width <= 0 || c.Height <= 0 || c.Width > maxPixels/c.Height {
		return fmt.Errorf("png: picture of %dx%d is above %d megapixels", c.Width, c.Height, maxPixels>>20)
	}
	r.Reset(b)
	m, err := png.Decode(r)
	if err != nil {
		return err
	}
	dst.Reset(c.Width, c.Height)
	switch m := m.(type) {
	case *image.RGBA:
		packed(dst.Pix, m.Pix, 4)
	case *image.NRGBA:
		packed(dst.Pix, m.Pix, 4)
	case *image.Gray:
		for i, v := range m.Pix {
			dst.Pix[3*i], dst.Pix[3*i+1], dst.Pix[3*i+2] = v, v, v
		}
	case *image.Gray16:
		for i := range len(m.Pix) / 2 {
			v := m.Pix[2*i]
			dst.Pix[3*i], dst.Pix[3*i+1], dst.Pix[3*i+2] = v, v, v
		}
	case *image.RGBA64:
		wide(dst.Pix, m.Pix)
	case *image.NRGBA64:
		wide(dst.Pix, m.Pix)
	case *image.Paletted:
		return indexed(dst.Pix, m)
	default:
		return fmt.Errorf("png: unknown form %T", m)
	}
	return nil
}

func packed(dst, src []byte, step int) {
	for len(dst) >= 3 && len(src) >= step {
		dst[0], dst[1], dst[2] = src[0], src[1], src[2]
		dst, src = dst[3:], src[step:]
	}
}

func wide(dst, src []byte) {
	for len(dst) >= 3 && len(src) >= 8 {
		dst[0], dst[1], dst[2] = src[0], src[2], src[4]
		dst, src = dst[3:], src[8:]
	}
}

func indexed(dst []byte, m *image.Paletted) error {
	var rgb [256][3]byte
	for i, c := range m.Palette {
		n, ok := color.NRGBAModel.Convert(c).(color.NRGBA)
		if !ok || i > 255 {
			return errors.New("png: the palette is broken")
		}
		rgb[i] = [3]byte{n.R, n.G, n.B}
	}
	for i, v := range m.Pix {
		copy(dst[3*i:], rgb[v][:])
	}
	return nil
}
