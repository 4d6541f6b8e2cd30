package decide

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"nightseg/edge/frame"
)

func decided(t testing.TB, s Settings, l *frame.Logits) []uint8 {
	t.Helper()
	d, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	var m frame.Mask
	if err := d.Decide(&m, l); err != nil {
		t.Fatal(err)
	}
	return m.Class
}

// ramp has two classes on a grid of 1x2 points, whose difference goes from +1 to
// -1, and four pixels.
func ramp() *frame.Logits {
	return &frame.Logits{C: 2, H: 1, W: 2, OutH: 1, OutW: 4, Data: []float32{1, 0, 0, 1}}
}

// By hand: half-pixel samples lie at 0, 1/4, 3/4 and 1 between the two points,
// aligned ones at 0, 1/3, 2/3 and 1; the difference of the logits is 1-2t.
func TestCornerConventions(t *testing.T) {
	for _, c := range []struct {
		align     bool
		threshold float64 // of softmax: between the samples nearest to the middle of either convention
		want      string
	}{
		{false, 0, "0011"},
		{true, 0, "0011"},
		{false, 0.6, "0011"}, // at 1/4: 1/(1+exp(-0.5)) = 0.622
		{true, 0.6, "0??1"},  // at 1/3: 1/(1+exp(-1/3)) = 0.583
		{false, 0.7, "0??1"}, // at 0: 0.731
		{true, 0.74, "????"},
	} {
		got := ""
		for _, k := range decided(t, Settings{AlignCorners: c.align, Threshold: c.threshold}, ramp()) {
			got += map[uint8]string{0: "0", 1: "1", frame.Unknown: "?"}[k]
		}
		if got != c.want {
			t.Errorf("align %v, threshold %v: %s, want %s", c.align, c.threshold, got, c.want)
		}
	}
}

// Shares e^-1 and e^-2 give the weights 1 -/+ std*sqrt(1/2).
func TestModes(t *testing.T) {
	shares := []float64{math.Exp(-1), math.Exp(-2)}
	at := func(a, b float32) *frame.Logits {
		return &frame.Logits{C: 2, H: 1, W: 1, OutH: 1, OutW: 1, Data: []float32{a, b}}
	}
	const std = 0.2 * math.Sqrt2 // weights 0.8 and 1.2: ln 1.2/0.8 = 0.405
	for _, c := range []struct {
		mode Mode
		temp float64
		l    *frame.Logits
		want uint8
	}{
		{Probability, 1, at(5, 4.6), 1}, // 5 + ln 0.8 = 4.777 < 4.6 + ln 1.2 = 4.782
		{Probability, 1, at(5, 4.59), 0},
		{Probability, 2, at(5, 4.2), 1}, // half the difference
		{Probability, 2, at(5, 4.18), 0},
		{Logit, 1, at(5, 3.4), 1}, // 4 < 4.08
		{Logit, 1, at(5, 3.3), 0}, // 4 > 3.96
		{Logit, 3, at(5, 3.3), 0},
		{Logit, 1, at(-3, -2.1), 0}, // -2.4 > -2.52: a weight pushes negative logits down
		{"", 0, at(5, 4.6), 1},      // probability is the default
	} {
		s := Settings{Mode: c.mode, Temperature: c.temp, Shares: shares, Std: std}
		if got := decided(t, s, c.l)[0]; got != c.want {
			t.Errorf("mode %q, temperature %v, logits %v: class %d, want %d", c.mode, c.temp, c.l.Data, got, c.want)
		}
	}
}

// What adding ln w means: the class with the largest w * probability wins.
func TestProbabilityModeWeighsProbabilities(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	for range 300 {
		c := 2 + r.IntN(18)
		l := frame.Logits{C: c, H: 1, W: 1, OutH: 1, OutW: 1}
		scene(r, &l, "noise")
		s := Settings{Shares: randomShares(r, c), Std: 0.1, Temperature: 0.5 + r.Float64()}
		w, err := Weights(s.Shares, s.Std)
		if err != nil {
			t.Fatal(err)
		}
		best, class := 0.0, 0
		for k, v := range l.Data {
			if p := w[k] * math.Exp(float64(v)/s.Temperature); p > best {
				best, class = p, k
			}
		}
		if got := int(decided(t, s, &l)[0]); got != class {
			t.Fatalf("class %d, want %d: logits %v, weights %v", got, class, l.Data, w)
		}
	}
}

func TestPaddingIsUnknown(t *testing.T) {
	l := &frame.Logits{C: 2, H: 3, W: 4, OutH: 24, OutW: 32}
	scene(rand.New(rand.NewPCG(1, 1)), l, "noise")
	whole := decided(t, Settings{}, l)
	for _, v := range []frame.Rect{
		{X0: 3, Y0: 5, X1: 29, Y1: 19},
		{X1: 32, Y1: 24},
		{X0: 31, Y0: 23, X1: 32, Y1: 24},
		{X0: -4, Y0: -9, X1: 100, Y1: 100},
		{X0: 40, Y0: 2, X1: 50, Y1: 9},
		{X0: -9, Y0: 2, X1: -1, Y1: 9},
		{X0: 2, Y0: 30, X1: 9, Y1: 40},
	} {
		l.Valid = v
		for i, k := range decided(t, Settings{}, l) {
			x, y := i%32, i/32
			want := whole[i]
			if x < v.X0 || x >= v.X1 || y < v.Y0 || y >= v.Y1 {
				want = frame.Unknown
			}
			if k != want {
				t.Fatalf("valid %+v: pixel (%d, %d) is %d, want %d", v, x, y, k, want)
			}
		}
	}
	l.Valid = frame.Rect{} // a source that does not say: all of it
	for i, k := range decided(t, Settings{}, l) {
		if k != whole[i] {
			t.Fatalf("without a valid part: pixel %d is %d, want %d", i, k, whole[i])
		}
	}
}

func TestMetaTravels(t *testing.T) {
	l := ramp()
	l.Meta = frame.Meta{Camera: "front", Run: "r1", Seq: 7, Name: "a.png", Valid: frame.Rect{X1: 4, Y1: 1}}
	d, err := New(Settings{})
	if err != nil {
		t.Fatal(err)
	}
	var m frame.Mask
	if err := d.Decide(&m, l); err != nil {
		t.Fatal(err)
	}
	if m.Meta != l.Meta || m.W != 4 || m.H != 1 {
		t.Errorf("mask %dx%d with meta %+v", m.W, m.H, m.Meta)
	}
}

// Std is changed while the service runs; what is refused leaves the old in force.
func TestApply(t *testing.T) {
	l := &frame.Logits{C: 2, H: 1, W: 1, OutH: 1, OutW: 1, Data: []float32{1, 0.9}}
	d, err := New(Settings{Shares: []float64{0.9, 0.1}})
	if err != nil {
		t.Fatal(err)
	}
	var m frame.Mask
	for _, c := range []struct {
		std  float64
		want uint8
	}{{0, 0}, {0.2, 1}, {0.01, 0}, {0.2, 1}} {
		s := d.Settings()
		s.Std = c.std
		if err := d.Apply(s); err != nil {
			t.Fatal(err)
		}
		if err := d.Decide(&m, l); err != nil {
			t.Fatal(err)
		}
		if m.Class[0] != c.want {
			t.Errorf("std %v: class %d, want %d", c.std, m.Class[0], c.want)
		}
	}
	s := d.Settings()
	s.Std = 2
	if err := d.Apply(s); !errors.Is(err, ErrSettings) {
		t.Fatalf("std 2: %v", err)
	}
	if got := d.Settings().Std; got != 0.2 {
		t.Errorf("after a refusal std is %v, want 0.2", got)
	}
	if err := d.Decide(&m, l); err != nil || m.Class[0] != 1 {
		t.Errorf("after a refusal: class %d, %v", m.Class[0], err)
	}
	s.Shares[0] = 0.1 // the caller's slice is the caller's
	if got := d.Settings().Shares[0]; got != 0.9 {
		t.Errorf("the decider's shares changed with the caller's to %v", got)
	}
}

func TestBadSettings(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		s    Settings
		word string
	}{
		{Settings{Mode: "paper"}, `mode "paper" is not probability or logit`},
		{Settings{Threshold: 1.1}, "threshold 1.1"},
		{Settings{Threshold: -0.1}, "threshold -0.1"},
		{Settings{Threshold: nan}, "threshold NaN"},
		{Settings{Temperature: -1}, "temperature -1"},
		{Settings{Temperature: nan}, "temperature NaN"},
		{Settings{Temperature: math.Inf(1)}, "temperature +Inf"},
		{Settings{Std: 0.1}, "needs class shares"},
		{Settings{Std: 3, Shares: []float64{0.9, 0.1}}, "reaches 0"},
	} {
		if _, err := New(c.s); !errors.Is(err, ErrSettings) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%+v: %v; want an error with %q", c.s, err, c.word)
		}
	}
}

func TestBadLogits(t *testing.T) {
	good := func() *frame.Logits {
		l := &frame.Logits{C: 2, H: 3, W: 4, OutH: 12, OutW: 16}
		l.Reset(2, 3, 4)
		return l
	}
	for _, c := range []struct {
		name   string
		damage func(*frame.Logits)
	}{
		{"no class", func(l *frame.Logits) { l.C, l.Data = 0, nil }},
		{"256 classes", func(l *frame.Logits) { l.Reset(256, 3, 4) }},
		{"no row", func(l *frame.Logits) { l.H, l.Data = 0, nil }},
		{"negative width", func(l *frame.Logits) { l.W = -4 }},
		{"too few values", func(l *frame.Logits) { l.Data = l.Data[1:] }},
		{"no pixel", func(l *frame.Logits) { l.OutW = 0 }},
		{"too many pixels", func(l *frame.Logits) { l.OutW, l.OutH = 1<<20, 1<<20 }},
		{"sizes that overflow", func(l *frame.Logits) { l.W, l.H = 1<<32, 1<<32 }},
		{"another number of classes than shares", func(l *frame.Logits) { l.Reset(3, 3, 4) }},
	} {
		l := good()
		c.damage(l)
		d, err := New(Settings{Shares: []float64{0.9, 0.1}, Std: 0.1})
		if err != nil {
			t.Fatal(err)
		}
		var m frame.Mask
		if err := d.Decide(&m, l); !errors.Is(err, ErrLogits) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := d.Decide(&m, good()); err != nil {
			t.Errorf("after %s a good frame fails: %v", c.name, err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, kind := range []string{"street", "noise", "spikes"} {
		for _, threshold := range []float64{0, 0.7} {
			l := frame.Logits{C: 11, H: 12, W: 16, OutH: 96, OutW: 128}
			scene(r, &l, kind)
			l.Valid = frame.Rect{X0: 3, X1: 120, Y1: 90}
			d, err := New(Settings{Shares: randomShares(r, 11), Std: 0.05, Threshold: threshold})
			if err != nil {
				t.Fatal(err)
			}
			var m frame.Mask
			if n := testing.AllocsPerRun(20, func() {
				if err := d.Decide(&m, &l); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, threshold %v: %v allocations per frame", kind, threshold, n)
			}
		}
	}
}
