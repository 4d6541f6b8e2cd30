package relight_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nightseg/edge/frame"
	"nightseg/relight"
)

// lit is a frame with a mean luma and an ambient light.
func lit(luma, lux float32, at time.Duration) *frame.Frame {
	f := &frame.Frame{}
	f.Reset(8, 8)
	for i := range f.Pix {
		f.Pix[i] = byte(luma)
	}
	f.Luma, f.Lux, f.Mono = luma, lux, at
	return f
}

// TestLuxGoesBeforeLuma: a lamp or a long exposure lifts the picture, not the night; and
// where the sensor is silent, the picture counts as before.
func TestLuxGoesBeforeLuma(t *testing.T) {
	s := relight.Default()
	s.Mode = frame.RelightGamma
	p, err := relight.New(s)
	if err != nil {
		t.Fatal(err)
	}
	var dst frame.Frame
	for i, c := range []struct {
		luma, lux float32
		want      frame.Relight
		why       string
	}{
		{20, 0, frame.RelightGamma, "no sensor, dark picture"},
		{120, 0, frame.RelightNone, "no sensor, bright picture"},
		{120, 20, frame.RelightGamma, "night, bright picture"},
		{20, 500, frame.RelightNone, "day, dark picture"},
		{20, 100, frame.RelightNone, "between the two: as before"},
		{120, 30, frame.RelightGamma, "night"},
		{120, 100, frame.RelightGamma, "between the two: as before"},
		{78, 0, frame.RelightGamma, "the sensor falls silent: as before"},
		{120, 0, frame.RelightNone, "no sensor, bright picture"},
	} {
		f := lit(c.luma, c.lux, time.Duration(i))
		if _, err := p.Plan(&dst, f); err != nil || f.Relight != c.want {
			t.Errorf("%s: %s, %v", c.why, f.Relight, err)
		}
	}
	s.DarkLux = 0
	if err := p.Apply(s); err != nil {
		t.Fatal(err)
	}
	if f := lit(120, 1, 0); plan(t, p, f) != frame.RelightNone {
		t.Error("a dark_lux of 0 does not turn the sensor off")
	}
}

func plan(t *testing.T, p *relight.Planner, f *frame.Frame) frame.Relight {
	t.Helper()
	if _, err := p.Plan(new(frame.Frame), f); err != nil {
		t.Fatal(err)
	}
	return f.Relight
}

func TestDoubt(t *testing.T) {
	p, err := relight.New(relight.Default())
	if err != nil {
		t.Fatal(err)
	}
	var dst frame.Frame
	now := time.Hour
	// look plans a frame each half second.
	look := func(luma, lux float32, d time.Duration) string {
		t.Helper()
		for end := now + d; now < end; now += time.Second / 2 {
			if _, err := p.Plan(&dst, lit(luma, lux, now)); err != nil {
				t.Fatal(err)
			}
		}
		return p.Doubt()
	}
	const short, long = 50 * time.Second, 70 * time.Second
	for _, c := range []struct {
		luma, lux float32
		d         time.Duration
		want      string
	}{
		{5, 20000, short, ""}, // a hand over the lens
		{100, 20000, short, ""},
		{5, 20000, short, ""},
		{5, 20000, short, "says day (20000 lx), the picture night (mean luma 5)"},
		{5, 0, short, ""}, // the sensor is gone
		{140, 0.5, long, "says night (0.5 lx), the picture day (mean luma 140)"},
		{5, 20000, short, ""}, // another contradiction begins anew
		{100, 20, long, ""},   // a lit street
		{30, 300, long, ""},   // a garage
		{20, 1, long, ""},
		{140, 5000, long, ""},
	} {
		if got := look(c.luma, c.lux, c.d); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("luma %v, %v lx for %v: %q", c.luma, c.lux, c.d, got)
		}
	}
	s := relight.Default()
	s.Doubt = 0
	if err := p.Apply(s); err != nil {
		t.Fatal(err)
	}
	if got := look(5, 20000, time.Hour); got != "" {
		t.Errorf("turned off: %q", got)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = p.Plan(&dst, lit0) }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

var lit0 = lit(5, 20000, 0)

func TestSpare(t *testing.T) {
	p, err := relight.New(relight.Default())
	if err != nil {
		t.Fatal(err)
	}
	var hot atomic.Bool
	p.Spare(&hot)
	var dst frame.Frame
	for _, on := range []bool{false, true, false} {
		hot.Store(on)
		f := lit(20, 0, 0)
		shown, err := p.Plan(&dst, f)
		want := frame.RelightNetwork
		if on {
			want = frame.RelightGamma
		}
		if err != nil || shown.Relight != want || (shown == f) == on {
			t.Errorf("spared %v: %s, %v", on, shown.Relight, err)
		}
	}
}
