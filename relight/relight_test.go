package relight_test

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"

	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/relight"
)

var _ edge.Relighter = (*relight.Planner)(nil)

// picture returns a frame of one grey level with a matching Luma.
func picture(w, h int, level byte) *frame.Frame {
	f := &frame.Frame{}
	f.Reset(w, h)
	for i := range f.Pix {
		f.Pix[i] = level
	}
	f.Luma = float32(level)
	f.Seq = 5
	return f
}

func settings(m frame.Relight, g relight.Gate) relight.Settings {
	s := relight.Default()
	s.Mode, s.Gate = m, g
	return s
}

func TestModes(t *testing.T) {
	for _, tc := range []struct {
		mode   frame.Relight
		gate   relight.Gate
		want   frame.Relight
		copies bool
	}{
		{frame.RelightNone, relight.Always, frame.RelightNone, false},
		{frame.RelightNetwork, relight.Always, frame.RelightNetwork, false},
		{frame.RelightGamma, relight.Always, frame.RelightGamma, true},
		{frame.RelightCLAHE, relight.Always, frame.RelightCLAHE, true},
		{frame.RelightGamma, relight.Never, frame.RelightNone, false},
		{frame.RelightNetwork, relight.Dark, frame.RelightNetwork, false},
	} {
		p, err := relight.New(settings(tc.mode, tc.gate))
		if err != nil {
			t.Fatal(err)
		}
		src, dst := picture(40, 30, 30), &frame.Frame{}
		got, err := p.Plan(dst, src)
		if err != nil {
			t.Fatal(err)
		}
		if got.Relight != tc.want || (got == dst) != tc.copies || got.Seq != 5 || got.W != 40 || got.H != 30 {
			t.Errorf("%v %v: mode %v, new picture %v, meta %+v", tc.mode, tc.gate, got.Relight, got == dst, got.Meta)
		}
	}
}

func TestGateHysteresis(t *testing.T) {
	s := settings(frame.RelightNetwork, relight.Dark)
	s.Dark, s.Bright = 70, 85
	p, err := relight.New(s)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		luma byte
		on   bool
	}{{100, false}, {80, false}, {69, true}, {80, true}, {85, true}, {86, false}, {75, false}, {10, true}} {
		got, err := p.Plan(&frame.Frame{}, picture(8, 8, step.luma))
		if err != nil {
			t.Fatal(err)
		}
		if on := got.Relight == frame.RelightNetwork; on != step.on {
			t.Errorf("step %d, luma %d: relighting %v, want %v", i, step.luma, on, step.on)
		}
	}
}

func TestGammaReachesTarget(t *testing.T) {
	p, err := relight.New(settings(frame.RelightGamma, relight.Always))
	if err != nil {
		t.Fatal(err)
	}
	dst := &frame.Frame{}
	got, err := p.Plan(dst, picture(64, 48, 30))
	if err != nil {
		t.Fatal(err)
	}
	if v := got.Pix[0]; math.Abs(float64(v)-90) > 3 {
		t.Errorf("a picture of level 30 got level %d, want about the target 90", v)
	}
	if math.Abs(float64(got.Gain)-3) > 0.15 {
		t.Errorf("gain %v, want about 3", got.Gain)
	}
	black, err := p.Plan(dst, picture(64, 48, 0))
	if err != nil || black.Pix[0] != 0 {
		t.Errorf("black became %d, %v", black.Pix[0], err)
	}
}

func TestGammaIsSmooth(t *testing.T) {
	p, err := relight.New(settings(frame.RelightGamma, relight.Always))
	if err != nil {
		t.Fatal(err)
	}
	dst := &frame.Frame{}
	first, _ := p.Plan(dst, picture(16, 16, 20))
	a := first.Gain
	next, _ := p.Plan(dst, picture(16, 16, 60))
	if next.Gain < 0.5*a*20/60 || next.Pix[0] < 100 {
		t.Errorf("one bright frame changed the exposure at once: level %d, gain %v after %v", next.Pix[0], next.Gain, a)
	}
}

func TestCLAHEEqualsOpenCV(t *testing.T) {
	in, err := os.ReadFile("testdata/clahe_in.bin")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/clahe_out.bin")
	if err != nil {
		t.Fatal(err)
	}
	p, err := relight.New(settings(frame.RelightCLAHE, relight.Always))
	if err != nil {
		t.Fatal(err)
	}
	src := picture(64, 48, 0)
	for i, v := range in {
		copy(src.Pix[3*i:], []byte{v, v, v})
	}
	got, err := p.Plan(&frame.Frame{}, src)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		if d := int(got.Pix[3*i]) - int(w); d < -1 || d > 1 {
			t.Fatalf("pixel %d (level %d): %d, OpenCV %d", i, in[i], got.Pix[3*i], w)
		}
	}
}

func TestCLAHEKeepsHueAndTakesOddSizes(t *testing.T) {
	p, err := relight.New(settings(frame.RelightCLAHE, relight.Always))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range [][2]int{{1, 1}, {3, 5}, {33, 17}, {640, 480}} {
		src := picture(size[0], size[1], 0)
		for i := 0; i < len(src.Pix); i += 3 {
			copy(src.Pix[i:], []byte{60, 30, 0})
		}
		got, err := p.Plan(&frame.Frame{}, src)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(got.Pix); i += 3 {
			if r, g, b := got.Pix[i], got.Pix[i+1], got.Pix[i+2]; b != 0 || (r < 255 && absDiff(int(r), 2*int(g)) > 2) {
				t.Fatalf("%v: colour 60,30,0 became %d,%d,%d", size, r, g, b)
			}
		}
	}
}

func absDiff(a, b int) int { return max(a-b, b-a) }

func TestBadSettingsAreNamedAndChangeNothing(t *testing.T) {
	p, err := relight.New(settings(frame.RelightGamma, relight.Always))
	if err != nil {
		t.Fatal(err)
	}
	err = p.Apply(relight.Settings{
		Mode: 9, Gate: "perhaps", Dark: -1, Bright: math.NaN(), Target: 0, Clip: 99, Tiles: 0,
	})
	if err == nil {
		t.Fatal("wrong settings were taken")
	}
	for _, word := range []string{"mode", "gate", "dark", "bright", "target", "clip", "tiles"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not name %s: %v", word, err)
		}
	}
	got, err := p.Plan(&frame.Frame{}, picture(8, 8, 30))
	if err != nil || got.Relight != frame.RelightGamma {
		t.Errorf("after refused settings: %v, %v", got.Relight, err)
	}
}

func TestBrokenFrame(t *testing.T) {
	p, err := relight.New(relight.Default())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Plan(&frame.Frame{}, &frame.Frame{W: 10, H: 10, Pix: make([]byte, 7)}); err == nil {
		t.Error("a frame with too few bytes was taken")
	}
	if _, err := p.Plan(&frame.Frame{}, &frame.Frame{}); err == nil {
		t.Error("an empty frame was taken")
	}
}

func TestSourceUnchangedAndNoAllocations(t *testing.T) {
	for _, m := range []frame.Relight{frame.RelightGamma, frame.RelightCLAHE, frame.RelightNetwork} {
		p, err := relight.New(settings(m, relight.Always))
		if err != nil {
			t.Fatal(err)
		}
		src, dst := picture(64, 48, 30), &frame.Frame{}
		before := bytes.Clone(src.Pix)
		n := testing.AllocsPerRun(20, func() {
			if _, err := p.Plan(dst, src); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%v: %v allocations per frame", m, n)
		}
		if !bytes.Equal(before, src.Pix) {
			t.Errorf("%v changed the camera's own picture", m)
		}
	}
}
