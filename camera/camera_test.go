package camera_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	stdjpeg "image/jpeg"
	"image/png"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/camera"
	"nightseg/edge/frame"
)

// painted is a picture of w x h whose colour is a function of the place.
func painted(w, h int, at func(x, y int) color.RGBA) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetRGBA(x, y, at(x, y))
		}
	}
	return m
}

func plain(c color.RGBA) func(x, y int) color.RGBA { return func(int, int) color.RGBA { return c } }

func grey(v uint8) func(x, y int) color.RGBA { return plain(color.RGBA{v, v, v, 255}) }

func write(t testing.TB, path string, m image.Image) {
	t.Helper()
	var b bytes.Buffer
	var err error
	if strings.HasSuffix(path, ".png") {
		err = png.Encode(&b, m)
	} else {
		err = stdjpeg.Encode(&b, m, &stdjpeg.Options{Quality: 95})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, source string, o camera.Options) *camera.Source {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := camera.Open(t.Context(), source, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func next(t testing.TB, s *camera.Source, f *frame.Frame) {
	t.Helper()
	if err := s.Next(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// names plays to the end.
func names(t *testing.T, s *camera.Source) []string {
	t.Helper()
	var got []string
	var f frame.Frame
	for {
		err := s.Next(t.Context(), &f)
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if int(f.Seq) != len(got) {
			t.Fatalf("frame %d has seq %d", len(got), f.Seq)
		}
		got = append(got, f.Name)
	}
}

func TestRedStaysRed(t *testing.T) {
	dir := t.TempDir()
	red := painted(96, 64, plain(color.RGBA{255, 0, 0, 255}))
	write(t, filepath.Join(dir, "1.png"), red)
	write(t, filepath.Join(dir, "2.jpg"), red)
	for _, o := range []camera.Options{{}, {Width: 48, Height: 48, Fit: "crop", Antialias: true, Rotate: 90}} {
		s := open(t, dir, o)
		for range 2 {
			var f frame.Frame
			next(t, s, &f)
			for i := range f.W * f.H {
				if r, g, b := f.Pix[3*i], f.Pix[3*i+1], f.Pix[3*i+2]; r < 250 || g > 5 || b > 5 {
					t.Fatalf("%s: pixel %d = %d, %d, %d", f.Name, i, r, g, b)
				}
			}
			if want := 0.2126 * 255; math.Abs(float64(f.Luma)-want) > 2 {
				t.Errorf("%s: luma %v, want about %.1f", f.Name, f.Luma, want)
			}
		}
	}
}

// The meta of every way to fit must lead the corners of the valid part to the
// corners of the part of the source that it shows.
func TestCornersLeadBack(t *testing.T) {
	const w, h = 160, 90
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1.png"), painted(w, h, func(x, y int) color.RGBA {
		return color.RGBA{uint8(x), uint8(2 * y), 77, 255}
	}))
	var f frame.Frame
	for _, fit := range []string{"stretch", "crop", "letterbox"} {
		for _, rotate := range []int{0, 90, 180, 270} {
			for flips := range 4 {
				o := camera.Options{
					ID: "front", Width: 80, Height: 60, Fit: fit, Antialias: true,
					Rotate: rotate, FlipH: flips&1 != 0, FlipV: flips&2 != 0,
				}
				name := fmt.Sprintf("%s, %d degrees, flips %d", fit, rotate, flips)
				next(t, open(t, dir, o), &f)
				if f.W != 80 || f.H != 60 || f.SourceW != w || f.SourceH != h || f.Camera != "front" {
					t.Fatalf("%s: %dx%d, meta %+v", name, f.W, f.H, f.Meta)
				}
				checkCorners(t, name, &f, fit)
			}
		}
	}
}

func checkCorners(t *testing.T, name string, f *frame.Frame, fit string) {
	t.Helper()
	v := f.Valid
	var left, top, right, bottom float64 = 1e9, 1e9, -1e9, -1e9
	for _, corner := range [][2]int{{v.X0, v.Y0}, {v.X1, v.Y0}, {v.X0, v.Y1}, {v.X1, v.Y1}} {
		x, y := f.ToSource.Apply(float64(corner[0]), float64(corner[1]))
		left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
	}
	w, h := right-left, bottom-top
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	switch whole := near(left, 0) && near(top, 0) && near(w, float64(f.SourceW)) && near(h, float64(f.SourceH)); {
	case fit != "crop" && !whole:
		t.Errorf("%s: corners lead to %v,%v to %v,%v, not to the whole source", name, left, top, right, bottom)
	case fit == "crop" && (whole || math.Abs(left+right-float64(f.SourceW)) > 1 ||
		math.Abs(top+bottom-float64(f.SourceH)) > 1):
		t.Errorf("%s: corners lead to %v,%v to %v,%v, not to a centred part", name, left, top, right, bottom)
	}
	// The colour of a pixel a bit inside each corner says where it is from.
	for _, p := range [][2]int{
		{v.X0 + 3, v.Y0 + 3}, {v.X1 - 4, v.Y0 + 3}, {v.X0 + 3, v.Y1 - 4}, {v.X1 - 4, v.Y1 - 4},
	} {
		pix := f.Pix[3*(p[1]*f.W+p[0]):]
		x, y := f.ToSource.Apply(float64(p[0])+0.5, float64(p[1])+0.5)
		if math.Abs(float64(pix[0])+0.5-x) > 1.1 || math.Abs(float64(pix[1])/2+0.5-y) > 1.1 {
			t.Errorf("%s: pixel %v shows the source at %d, %d; the affine leads to %.1f, %.1f", name, p, pix[0], pix[1]/2, x, y)
		}
	}
}

func TestDarkZurich(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{
		"rgb_anon/val/night/GOPR0356/GOPR0356_frame_000324_rgb_anon.png",
		"rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png",
		"rgb_anon/val/night/GOPR0351/GOPR0351_frame_001000_rgb_anon.png",
		"rgb_anon/val/night/GOPR0351/GOPR0351_frame_000999_rgb_anon.png",
		"gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png",
	} {
		write(t, filepath.Join(dir, n), painted(32, 18, grey(20)))
	}
	s := open(t, dir, camera.Options{Width: 16, Height: 16})
	if s.Len() != 4 {
		t.Errorf("length %d, want 4", s.Len())
	}
	const night = "rgb_anon/val/night/"
	want := []string{
		night + "GOPR0351/GOPR0351_frame_000999_rgb_anon.png", night + "GOPR0351/GOPR0351_frame_001000_rgb_anon.png",
		night + "GOPR0356/GOPR0356_frame_000321_rgb_anon.png", night + "GOPR0356/GOPR0356_frame_000324_rgb_anon.png",
	}
	if got := names(t, s); !slices.Equal(got, want) {
		t.Errorf("order\n%q, want\n%q", got, want)
	}
}

func TestBrokenPicturesArePassedOver(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		path := filepath.Join(dir, fmt.Sprintf("%d.jpg", i))
		write(t, path, painted(32, 32, grey(40)))
		if i == 1 || i == 2 || i >= 10 && i < 25 {
			if err := os.Truncate(path, 200); err != nil {
				t.Fatal(err)
			}
		}
	}
	var log bytes.Buffer
	s := open(t, dir, camera.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	var f frame.Frame
	next(t, s, &f)
	next(t, s, &f)
	if f.Name != "3.jpg" || f.Seq != 1 || f.DroppedBefore != 2 {
		t.Errorf("after two broken pictures: %s, seq %d, lost %d", f.Name, f.Seq, f.DroppedBefore)
	}
	if !strings.Contains(log.String(), "2.jpg") {
		t.Errorf("the log does not name the picture:\n%s", log.String())
	}
	for range 6 {
		next(t, s, &f)
	}
	if err := s.Next(t.Context(), &f); err == nil || !strings.Contains(err.Error(), "10 pictures in a row") ||
		!strings.Contains(err.Error(), "19.jpg") {
		t.Errorf("ten broken pictures: %v", err)
	}
	next(t, s, &f)
	if f.Name != "25.jpg" || f.Seq != 8 || f.DroppedBefore != 15 {
		t.Errorf("then: %s, seq %d, lost %d, want 25.jpg, 8, 15", f.Name, f.Seq, f.DroppedBefore)
	}
	if c := s.Counters(); c["unreadable"] != 17 || c["missing"] != 0 {
		t.Errorf("counters %v", c)
	}
}

func TestFolderIsEmptiedWhilePlaying(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drive")
	for i := range 5 {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.png", i)), painted(8, 8, grey(40)))
	}
	s := open(t, dir, camera.Options{Width: 4, Height: 4})
	var f frame.Frame
	next(t, s, &f)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Next(t.Context(), &f); err == nil || !strings.Contains(err.Error(), "the pictures are gone: "+dir) {
		t.Errorf("folder removed: %v", err)
	}
	if err := s.Next(t.Context(), &f); !errors.Is(err, io.EOF) {
		t.Errorf("then: %v, want io.EOF", err)
	}
	if c := s.Counters(); c["missing"] != 4 {
		t.Errorf("counters %v", c)
	}
}

// A source may change its size; frames that are used again must not show it.
func TestAnySizeInOneFolder(t *testing.T) {
	dir := t.TempDir()
	sizes := [][2]int{{64, 48}, {64, 48}, {20, 10}, {64, 48}, {200, 100}, {200, 100}, {64, 48}}
	for i, size := range sizes {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.png", i)), painted(size[0], size[1], grey(uint8(100+i))))
	}
	s := open(t, dir, camera.Options{Width: 64, Height: 48, Fit: "letterbox"})
	var frames [2]frame.Frame
	for i, size := range sizes {
		f := &frames[i%2]
		f.Luma, f.Run, f.Flags = 1, "old", frame.FlagFrozen
		next(t, s, f)
		if f.W != 64 || f.H != 48 || len(f.Pix) != 3*64*48 || f.SourceW != size[0] || f.SourceH != size[1] {
			t.Fatalf("frame %d: %dx%d of %dx%d", i, f.W, f.H, f.SourceW, f.SourceH)
		}
		if v := f.Pix[3*(24*64+32)]; int(v) != 100+i || math.Abs(float64(f.Luma)-float64(100+i)) > 0.01 {
			t.Errorf("frame %d: level %d, luma %v, want %d", i, v, f.Luma, 100+i)
		}
		if f.Run != "" || f.Flags&frame.FlagFrozen != 0 || f.Mono == 0 {
			t.Errorf("frame %d: meta of another frame: %+v", i, f.Meta)
		}
	}
}

// TestRefit changes the shape of the frames while a source runs.
func TestRefit(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.png", i)), painted(64, 48, func(x, _ int) color.RGBA {
			v := uint8(2 * x)
			return color.RGBA{v, v, v, 255}
		}))
	}
	s := open(t, dir, camera.Options{Width: 64, Height: 48})
	var f frame.Frame
	next(t, s, &f)
	first := f.Pix[0]
	for i, o := range []camera.Options{
		{Width: 32, Height: 24}, {Width: 64, Height: 48, FlipH: true}, {Width: 64, Height: 48},
	} {
		if err := s.Refit(o); err != nil {
			t.Fatal(err)
		}
		next(t, s, &f)
		if f.W != o.Width || f.H != o.Height || f.SourceW != 64 || f.Seq != uint64(i+1) {
			t.Errorf("frame %d: %dx%d of %d columns", f.Seq, f.W, f.H, f.SourceW)
		}
		if mirrored := f.Pix[0] > 100; mirrored != o.FlipH {
			t.Errorf("frame %d: level %d in the corner, was %d; mirrored %v", f.Seq, f.Pix[0], first, o.FlipH)
		}
	}
	if err := s.Refit(camera.Options{Rotate: 45}); err == nil {
		t.Error("turned by 45 degrees")
	}
}

// Padding does not count for the luma.
func TestLumaOfTheValidPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.png")
	write(t, path, painted(100, 10, grey(120)))
	var f frame.Frame
	next(t, open(t, path, camera.Options{Width: 50, Height: 50, Fit: "letterbox"}), &f)
	if f.Luma != 120 || f.Valid != (frame.Rect{X1: 50, Y0: 22, Y1: 27}) {
		t.Errorf("luma %v of %+v, want 120", f.Luma, f.Valid)
	}
}

// The sample of pixels says the mean of a picture with structure.
func TestLumaIsCloseToTheMean(t *testing.T) {
	var f frame.Frame
	s := open(t, "synth://?seed=9&size=320x240&frames=1", camera.Options{FlipH: true})
	next(t, s, &f)
	sum := 0.0
	for i := 0; i < len(f.Pix); i += 3 {
		sum += 0.2126*float64(f.Pix[i]) + 0.7152*float64(f.Pix[i+1]) + 0.0722*float64(f.Pix[i+2])
	}
	if mean := sum / float64(f.W*f.H); math.Abs(float64(f.Luma)-mean) > 1 {
		t.Errorf("luma %v, mean %v", f.Luma, mean)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("NIGHTSEG_CAPTURE", filepath.Join(dir, "none"))
	if err := os.WriteFile(filepath.Join(dir, "a.mp4"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		source string
		o      camera.Options
		want   string
	}{
		"nothing there": {filepath.Join(dir, "no"), camera.Options{}, "no such file or folder; known: a folder"},
		"empty folder":  {dir, camera.Options{}, "no pictures in " + dir},
		"scheme":        {"sinth://", camera.Options{}, "did you mean synth://"},
		"query":         {"synth://?sed=1", camera.Options{}, "did you mean seed?"},
		"fit":           {"synth://", camera.Options{Fit: "squeeze"}, "squeeze"},
		"rotate":        {"synth://", camera.Options{Rotate: 45}, "45 degrees"},
		"rate":          {"synth://", camera.Options{Rate: -1}, "rate -1"},
		"no number":     {"synth://", camera.Options{Rate: math.NaN()}, "rate NaN"},
		"no program":    {filepath.Join(dir, "a.mp4"), camera.Options{}, "NIGHTSEG_CAPTURE"},
	} {
		s, err := camera.Open(t.Context(), c.source, c.o)
		if err == nil {
			err = s.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "camera: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
	_, err := camera.Open(t.Context(), "rtsp://bob:secret@127.0.0.1:1/x", camera.Options{})
	if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "bob") {
		t.Errorf("the error shows user or password: %v", err)
	}
}
