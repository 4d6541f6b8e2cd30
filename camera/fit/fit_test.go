package fit_test

import (
	"bytes"
	"encoding/json"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"nightseg/camera/fit"
	"nightseg/edge/frame"
)

// vector is one line of testdata/cases.json, which make_vectors.py writes and
// the trainer's tests read as well.
type vector struct {
	Name, Input, Output string
	W, H                int
	Fit, Filter         string
	Antialias           bool
	Rotate              int
	FlipH               bool `json:"flip_h"`
	FlipV               bool `json:"flip_v"`
}

func (v vector) settings() fit.Settings {
	return fit.Settings{
		W: v.W, H: v.H, Fit: v.Fit, Filter: v.Filter, Antialias: v.Antialias,
		Rotate: v.Rotate, FlipH: v.FlipH, FlipV: v.FlipV,
	}
}

func vectors(t *testing.T) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var v []vector
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v) < 20 {
		t.Fatalf("%d vectors", len(v))
	}
	return v
}

func load(t *testing.T, name string) *frame.Frame {
	t.Helper()
	r, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	m, err := png.Decode(r)
	if err != nil {
		t.Fatal(err)
	}
	f := &frame.Frame{}
	f.Reset(m.Bounds().Dx(), m.Bounds().Dy())
	for i := range f.W * f.H {
		r, g, b, _ := m.At(i%f.W, i/f.W).RGBA()
		f.Pix[3*i], f.Pix[3*i+1], f.Pix[3*i+2] = uint8(r>>8), uint8(g>>8), uint8(b>>8)
	}
	return f
}

func fitter(tb testing.TB, s fit.Settings) *fit.Fitter {
	tb.Helper()
	f, err := fit.New(s)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			src, want := load(t, v.Input), load(t, v.Output)
			src.Name = "name"
			var got frame.Frame
			if err := fitter(t, v.settings()).Fit(&got, src); err != nil {
				t.Fatal(err)
			}
			if got.W != want.W || got.H != want.H || got.Name != "name" {
				t.Fatalf("a picture of %dx%d named %q", got.W, got.H, got.Name)
			}
			for i := range want.Pix {
				if got.Pix[i] != want.Pix[i] {
					t.Fatalf("pixel (%d, %d) channel %d = %d, want %d",
						i/3%want.W, i/3/want.W, i%3, got.Pix[i], want.Pix[i])
				}
			}
		})
	}
}

// The affine must lead each mask pixel to the place in the source that it was
// made of: a picture whose colours are its coordinates says where that was.
func TestAffineLeadsBack(t *testing.T) {
	const w, h = 120, 80
	src := &frame.Frame{}
	src.Reset(w, h)
	for i := range w * h {
		src.Pix[3*i], src.Pix[3*i+1] = uint8(2*(i%w)), uint8(3*(i/w))
	}
	for _, v := range vectors(t) {
		var got frame.Frame
		if err := fitter(t, v.settings()).Fit(&got, src); err != nil {
			t.Fatal(err)
		}
		if got.SourceW != w || got.SourceH != h || got.Valid.Empty() {
			t.Fatalf("%s: meta %+v", v.Name, got.Meta)
		}
		// Away from the edge, where filters see less than they want.
		for y := got.Valid.Y0 + 2; y < got.Valid.Y1-2; y++ {
			for x := got.Valid.X0 + 2; x < got.Valid.X1-2; x++ {
				p := got.Pix[3*(y*got.W+x):]
				cx, cy := got.ToSource.Apply(float64(x)+0.5, float64(y)+0.5)
				dx, dy := float64(p[0])/2+0.5-cx, float64(p[1])/3+0.5-cy
				if math.Abs(dx) > 1.01 || math.Abs(dy) > 1.01 {
					t.Fatalf("%s: pixel (%d, %d) shows the source %.2f, %.2f away from where the affine leads",
						v.Name, x, y, dx, dy)
				}
			}
		}
		for y := range got.H {
			for x := range got.W {
				r := got.Valid
				inside := x >= r.X0 && x < r.X1 && y >= r.Y0 && y < r.Y1
				if p := got.Pix[3*(y*got.W+x):]; !inside && (p[0] != 0 || p[1] != 0 || p[2] != 0) {
					t.Fatalf("%s: padding (%d, %d) is not black", v.Name, x, y)
				}
			}
		}
	}
}

func TestSizeZeroKeepsTheSource(t *testing.T) {
	src := load(t, "wide.png")
	f := fitter(t, fit.Settings{})
	if !f.Identity(src.W, src.H) {
		t.Error("no identity")
	}
	var got frame.Frame
	if err := f.Fit(&got, src); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Pix, src.Pix) || got.Valid != (frame.Rect{X1: 64, Y1: 36}) ||
		got.ToSource != (frame.Affine{A: 1, E: 1}) {
		t.Errorf("meta %+v", got.Meta)
	}
	if fitter(t, fit.Settings{FlipH: true}).Identity(64, 36) {
		t.Error("a mirror is taken for the identity")
	}
}

// A fitter sees sources of several sizes when a camera changes its mode.
func TestSourceSizeMayChange(t *testing.T) {
	f := fitter(t, fit.Settings{W: 24, H: 18, Antialias: true})
	var got frame.Frame
	for _, name := range []string{"wide.png", "tall.png", "wide.png"} {
		if err := f.Fit(&got, load(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	if want := load(t, "out-shrink.png"); !bytes.Equal(got.Pix, want.Pix) {
		t.Error("the picture differs after another size was seen")
	}
}

func TestConstantStaysConstant(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		src := &frame.Frame{}
		src.Reset(1+rng.IntN(90), 1+rng.IntN(90))
		v := byte(rng.IntN(256))
		for i := range src.Pix {
			src.Pix[i] = v
		}
		s := fit.Settings{W: 1 + rng.IntN(90), H: 1 + rng.IntN(90), Antialias: rng.IntN(2) == 0}
		var got frame.Frame
		if err := fitter(t, s).Fit(&got, src); err != nil {
			t.Fatal(err)
		}
		for i := range got.Pix {
			if got.Pix[i] != v {
				t.Fatalf("%dx%d to %+v: byte %d = %d, want %d", src.W, src.H, s, i, got.Pix[i], v)
			}
		}
	}
}

func TestBadSettings(t *testing.T) {
	for _, s := range []fit.Settings{
		{Fit: "squeeze"},
		{Filter: "cubic"},
		{Rotate: 45},
		{W: -1, H: 3},
		{W: 3},
		{W: 1 << 20, H: 1 << 20},
	} {
		if _, err := fit.New(s); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
	var got frame.Frame
	f := fitter(t, fit.Settings{W: 4, H: 4})
	for _, src := range []*frame.Frame{{}, {W: 2, H: 2, Pix: make([]byte, 11)}, {W: -1, H: -1, Pix: make([]byte, 3)}} {
		if err := f.Fit(&got, src); err == nil {
			t.Errorf("a source of %dx%d with %d bytes was taken", src.W, src.H, len(src.Pix))
		}
	}
}

func TestNoAllocations(t *testing.T) {
	src := &frame.Frame{}
	src.Reset(128, 72)
	for _, s := range []fit.Settings{{W: 64, H: 48, Antialias: true, Rotate: 90, Fit: fit.Letterbox}, {W: 128, H: 72}} {
		f := fitter(t, s)
		var dst frame.Frame
		n := testing.AllocsPerRun(20, func() {
			if err := f.Fit(&dst, src); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%+v: %v allocations per frame, want 0", s, n)
		}
	}
}

func BenchmarkFit(b *testing.B) {
	for _, size := range [][2]int{{640, 360}, {1280, 720}, {1920, 1080}} {
		b.Run(fmtSize(size[0], size[1]), func(b *testing.B) {
			src := &frame.Frame{}
			src.Reset(size[0], size[1])
			f := fitter(b, fit.Settings{W: 640, H: 480, Antialias: true})
			var dst frame.Frame
			for b.Loop() {
				if err := f.Fit(&dst, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func fmtSize(w, h int) string {
	b, _ := json.Marshal([2]int{w, h})
	return string(b)
}
