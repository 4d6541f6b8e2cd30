package camera_test

import (
	"fmt"
	"image/color"
	"path/filepath"
	"testing"

	"nightseg/camera"
	"nightseg/camera/jpeg"
	"nightseg/edge/frame"
)

func TestNoAllocations(t *testing.T) {
	dir := t.TempDir()
	for i := range 12 {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.jpg", i)), painted(96, 64, func(x, y int) color.RGBA {
			return color.RGBA{uint8(x), uint8(y), uint8(i), 255}
		}))
	}
	for name, c := range map[string]struct {
		source string
		o      camera.Options
		jpeg   bool
	}{
		"pictures as they are": {dir, camera.Options{Width: 96, Height: 64}, true},
		"pictures fitted": {
			dir, camera.Options{Width: 48, Height: 48, Fit: "letterbox", Rotate: 90, Antialias: true}, true,
		},
		"synth":        {"synth://?size=64x48", camera.Options{Width: 64, Height: 48}, false},
		"synth fitted": {"synth://?size=64x48", camera.Options{Width: 32, Height: 32}, false},
		"synth live": {
			"synth://?loop=4", camera.Options{Width: 64, Height: 48, Rate: 200, Realtime: true, Live: true}, false,
		},
	} {
		if c.jpeg && jpeg.Library != "libjpeg-turbo" {
			continue // the standard library's decoder allocates
		}
		s := open(t, c.source, c.o)
		ctx := t.Context()
		var frames [3]frame.Frame
		i := 0
		one := func() {
			if err := s.Next(ctx, &frames[i%3]); err != nil {
				t.Fatal(err)
			}
			i++
		}
		for range 3 {
			one()
		}
		if n := testing.AllocsPerRun(7, one); n != 0 {
			t.Errorf("%s: %v allocations per frame, want 0", name, n)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, size := range [][2]int{{640, 480}, {1280, 720}} {
		b.Run(fmt.Sprintf("jpeg%dx%d", size[0], size[1]), func(b *testing.B) {
			dir := b.TempDir()
			write(b, filepath.Join(dir, "1.jpg"), painted(size[0], size[1], func(x, y int) color.RGBA {
				return color.RGBA{uint8(x / 3), uint8(y / 2), uint8((x ^ y) & 31), 255}
			}))
			s := open(b, dir, camera.Options{Width: 640, Height: 480, Antialias: true, Loop: true})
			var f frame.Frame
			for b.Loop() {
				next(b, s, &f)
			}
		})
	}
}
