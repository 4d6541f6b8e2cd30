package control

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// sensor is a camera as it might be: what its gain does, and how its pictures show light.
type sensor struct {
	cam   Camera
	amp   func(gain float64) float64 // of percent
	gamma float64
	light float64 // luma of a scene at 10 ms and no gain, where that is linear
	noise float64
	r     *rand.Rand
}

func (s *sensor) luma(v Values) float64 {
	e := v.Exposure.Round(100*time.Microsecond).Seconds() / 0.01
	if v.Exposure == 0 {
		e = 1
	}
	signal := min(s.light*e*s.amp(math.Round(v.Gain*2.55)/2.55)/255, 1)
	l := 255 * math.Pow(signal, 1/s.gamma)
	return min(255, max(0, l*(1+s.noise*s.r.NormFloat64())))
}

var amps = map[string]func(float64) float64{
	"dB":      func(g float64) float64 { return math.Exp2(g / 100 * 4) },
	"linear":  func(g float64) float64 { return 1 + 15*g/100 },
	"steep":   func(g float64) float64 { return math.Exp2(g / 100 * 10) },
	"shallow": func(g float64) float64 { return 1 + g/100 },
}

const unit = 100 * time.Microsecond

const step = 250 * time.Millisecond // of the one who calls Next

// TestSettles looks at cameras of all kinds in light of all kinds: each comes near the
// target, or to the end of what it may, and stays there.
func TestSettles(t *testing.T) {
	r := rand.New(rand.NewPCG(16, 2))
	slowest, most := 0, 0
	for _, name := range slices.Sorted(maps.Keys(amps)) {
		for _, g := range []float64{1, 1.8, 2.2} {
			for _, noise := range []float64{0, 0.03} {
				for range 40 {
					s := sensor{
						cam: Camera{unit, time.Duration(30+r.IntN(300)) * time.Millisecond, unit, true},
						amp: amps[name], gamma: g, noise: noise, r: r, light: math.Exp2(r.Float64()*16 - 6),
					}
					set := Settings{Exposure: time.Duration(5+r.IntN(25)) * time.Millisecond, Gain: 20 + 80*r.Float64(), Target: 60}
					about := fmt.Sprintf("%s, gamma %v, noise %v, light %.3g, %+v", name, g, noise, s.light, set)
					k := New(s.cam, set, Values{time.Duration(r.IntN(100)) * time.Millisecond, 100 * r.Float64()})
					settledAt, changes := settle(t, k, &s, about)
					slowest, most = max(slowest, settledAt), max(most, changes)
				}
			}
		}
	}
	t.Logf("settled after %v, and %d changes in the minute after that, at the most", time.Duration(slowest)*step, most)
	if slowest > 20 || most > 8 {
		t.Error("too slow, or it does not rest")
	}
}

// settle runs a controller for a minute and a half, and returns the step after which it was
// near its end, and changes in the last minute.
func settle(t *testing.T, k *Controller, s *sensor, about string) (at, changes int) {
	t.Helper()
	v := k.Values()
	turns, last := 0, 0.0
	for i := range 360 {
		luma := s.luma(v)
		next, changed := k.Next(luma)
		if next.Exposure > k.s.Exposure || next.Gain > k.s.Gain || next.Gain > 0 && next.Exposure < k.longest() {
			t.Fatalf("%s: %+v", about, next)
		}
		still := *s
		still.noise = 0
		most := 0.35
		if next.Exposure < 5*unit { // the next exposure is far away
			most = 0.5
		}
		clear := still.luma(next)
		if near := math.Abs(math.Log2(k.s.Target/max(clear, 0.1))) < most; !near && !k.atEnd(clear) {
			at = i + 1
		}
		if d := k.step; changed && i >= 120 {
			changes++
			if d*last < 0 {
				turns++
			}
			last = d
		}
		v = next
	}
	if at > 20 {
		t.Errorf("%s: luma %.1f with %+v after a minute and a half", about, s.luma(v), v)
	}
	if turns > 4 {
		t.Errorf("%s: it turned %d times in a minute", about, turns)
	}
	return at, changes
}

// atEnd reports whether there is nothing more that it may do.
func (k *Controller) atEnd(luma float64) bool {
	return k.x == 0 && luma > k.s.Target || k.x == k.exposureStops()+k.gainStops() && luma < k.s.Target
}

// TestFollows drives from a dark road through a lit town and out again.
func TestFollows(t *testing.T) {
	r := rand.New(rand.NewPCG(16, 3))
	s := sensor{
		cam: Camera{unit, 300 * time.Millisecond, unit, true}, amp: amps["linear"], gamma: 2.2, noise: 0.02, r: r,
	}
	k := New(s.cam, Settings{Exposure: 16 * time.Millisecond, Gain: 80, Target: 60}, Values{})
	v := k.Values()
	for i, p := range []struct {
		light    float64
		low, top float64 // of the luma after five seconds
	}{{0.01, 0, 30}, {2, 45, 78}, {40, 45, 78}, {1000, 45, 78}, {2, 45, 78}, {0.01, 0, 30}} {
		s.light = p.light
		for range 20 {
			v, _ = k.Next(s.luma(v))
		}
		if l := s.luma(v); l < p.low || l > p.top {
			t.Errorf("part %d, light %v: luma %.1f with %+v", i, p.light, l, v)
		}
	}
	if v.Exposure != 16*time.Millisecond || v.Gain != 80 {
		t.Errorf("in the dark %+v", v)
	}
}

// TestOneControl: cameras that have only one of the two, and none.
func TestOneControl(t *testing.T) {
	r := rand.New(rand.NewPCG(16, 4))
	for name, c := range map[string]struct {
		cam  Camera
		want func(Values) bool
	}{
		"no gain":     {Camera{unit, time.Second, unit, false}, func(v Values) bool { return v.Gain == 0 && v.Exposure > 0 }},
		"no exposure": {Camera{HasGain: true}, func(v Values) bool { return v.Exposure == 0 && v.Gain > 0 }},
		"nothing":     {Camera{}, func(v Values) bool { return v == Values{} }},
	} {
		s := sensor{cam: c.cam, amp: amps["dB"], gamma: 2.2, light: 5, r: r}
		k := New(c.cam, Settings{Exposure: 16 * time.Millisecond, Gain: 100, Target: 60}, Values{})
		v := k.Values()
		for range 40 {
			v, _ = k.Next(s.luma(v))
		}
		if l := s.luma(v); !c.want(v) || name != "nothing" && math.Abs(math.Log2(60/l)) > 0.3 {
			t.Errorf("%s: %+v, luma %.1f", name, v, l)
		}
	}
}

func TestManual(t *testing.T) {
	cam := Camera{unit, 50 * time.Millisecond, unit, true}
	k := New(cam, Settings{Exposure: 8 * time.Millisecond, Gain: 30, Target: 60, Manual: true}, Values{time.Second, 99})
	want := Values{8 * time.Millisecond, 30}
	for _, luma := range []float64{0, 255, math.NaN()} {
		if v, changed := k.Next(luma); v != want || changed {
			t.Errorf("%+v, %t", v, changed)
		}
	}
	k.Apply(Settings{Exposure: 80 * time.Millisecond, Gain: 30, Target: 60, Manual: true})
	if v := k.Values(); v.Exposure != 50*time.Millisecond {
		t.Errorf("more than the camera can: %+v", v)
	}
	k.Apply(Settings{Exposure: 4 * time.Millisecond, Gain: 10, Target: 60})
	if v := k.Values(); v.Exposure > 4*time.Millisecond || v.Gain > 10 {
		t.Errorf("bounds that came down: %+v", v)
	}
}
