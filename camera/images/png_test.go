package images_test

import (
	"image"
	"image/color"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/camera/images"
	"nightseg/edge/frame"
)

func TestRedStaysRed(t *testing.T) {
	dir := t.TempDir()
	red := color.NRGBA{255, 0, 0, 255}
	rect := image.Rect(0, 0, 5, 4)
	forms := map[string]interface {
		image.Image
		Set(x, y int, c color.Color)
	}{
		"rgba": image.NewRGBA(rect), "nrgba": image.NewNRGBA(rect), "rgba64": image.NewRGBA64(rect),
		"nrgba64": image.NewNRGBA64(rect), "paletted": image.NewPaletted(rect, color.Palette{color.Black, red}),
	}
	for name, m := range forms {
		for i := range 20 {
			m.Set(i%5, i/5, red)
		}
		if strings.HasPrefix(name, "nrgba") {
			m.Set(4, 3, color.NRGBA{255, 0, 0, 90}) // makes the file one with transparency
		}
		write(t, filepath.Join(dir, name+".png"), m)
	}
	s := source(t, dir, images.Options{})
	var f frame.Frame
	for range forms {
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if r, g, b := f.Pix[3*i], f.Pix[3*i+1], f.Pix[3*i+2]; r != 255 || g != 0 || b != 0 {
				t.Fatalf("%s: pixel %d = %d, %d, %d", f.Name, i, r, g, b)
			}
		}
	}
}

func TestGreyPNG(t *testing.T) {
	dir := t.TempDir()
	g, g16 := image.NewGray(image.Rect(0, 0, 3, 3)), image.NewGray16(image.Rect(0, 0, 3, 3))
	for i := range 9 {
		g.Pix[i] = 77
		g16.SetGray16(i%3, i/3, color.Gray16{Y: 77<<8 | 13})
	}
	write(t, filepath.Join(dir, "8.png"), g)
	write(t, filepath.Join(dir, "16.png"), g16)
	s := source(t, dir, images.Options{})
	var f frame.Frame
	for range 2 {
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
		for i, v := range f.Pix {
			if v != 77 {
				t.Fatalf("%s: byte %d = %d", f.Name, i, v)
			}
		}
	}
}
