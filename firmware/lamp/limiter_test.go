package lamp

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// plant is a lamp as physics has it, in steps that are finer than those of the limiter.
type plant struct{ heat, most float64 }

func (p *plant) run(l Limits, level float64, d time.Duration) {
	const dt = time.Millisecond
	for ; d > 0; d -= dt {
		p.heat += (level/l.Steady - p.heat) * dt.Seconds() / l.Tau.Seconds()
		p.most = max(p.most, p.heat)
	}
}

// TestBudget asks lamps for light in all ways, and none ever bears more than it can,
// whatever it was like before; and each gives most of what it could.
func TestBudget(t *testing.T) {
	r := rand.New(rand.NewPCG(16, 1))
	for range 60 {
		l := Limits{Steady: 0.1 + 0.9*r.Float64(), Tau: time.Duration(5+r.IntN(60)) * time.Second}
		dims, always := r.IntN(2) == 0, r.IntN(3) == 0
		limit := newLimiter(l, dims)
		p := plant{heat: r.Float64()}
		wanted, sum, n := 1.0, 0.0, 0
		end := 8 * l.Tau
		for now := time.Duration(0); now < end; {
			if !always && r.IntN(50) == 0 {
				wanted = []float64{0, r.Float64(), 1}[r.IntN(3)]
			}
			level, why := limit.allow(now, wanted, math.NaN())
			if level > wanted || level < wanted && why == "" || !dims && level != 0 && level != wanted {
				t.Fatalf("%v of %v, %q", level, wanted, why)
			}
			d := time.Duration(20+r.IntN(80)) * time.Millisecond
			p.run(l, level, d)
			now += d
			if now > end/2 {
				sum, n = sum+level, n+1
			}
		}
		if p.most > 1.001 {
			t.Errorf("%+v, dims %t: heat %v", l, dims, p.most)
		}
		least := 0.97 * l.Steady
		if !dims {
			least = 0.75 * l.Steady // between cooled and 1
		}
		if got := sum / float64(n); always && got < least {
			t.Errorf("%+v, dims %t: on average %v", l, dims, got)
		}
	}
}

func TestLongest(t *testing.T) {
	l := newLimiter(Limits{Steady: 1, Tau: time.Second, Longest: time.Minute, Rest: 20 * time.Second}, true)
	var turns []time.Duration
	last := 0.0
	for now := time.Duration(0); now < 200*time.Second; now += 100 * time.Millisecond {
		level, why := l.allow(now, 1, math.NaN())
		if (level > 0) != (last > 0) {
			turns, last = append(turns, now.Round(time.Second)), level
		}
		if level == 0 && !strings.Contains(why, "rests") {
			t.Fatal(why)
		}
	}
	want := []time.Duration{0, 60, 80, 140, 160}
	for i := range want {
		if len(turns) != len(want) || turns[i] != want[i]*time.Second {
			t.Fatalf("turned at %v", turns)
		}
	}
}

func TestZone(t *testing.T) {
	l := newLimiter(Limits{Steady: 1, Tau: time.Second, Zone: "lamp", Hot: 70}, true)
	now := time.Duration(0)
	for _, c := range []struct {
		celsius float64
		d       time.Duration
		on      bool
		why     string
	}{
		{40, time.Second, true, ""},
		{71, time.Second, false, "71.0 °C"},
		{66, time.Second, false, "66.0 °C"},
		{64, time.Second, true, ""},
		{69, time.Second, true, ""},
		{math.NaN(), 9 * time.Second, true, ""},
		{math.NaN(), 2 * time.Second, false, "no temperature of zone lamp for 1"},
		{50, time.Second, true, ""},
	} {
		var level float64
		var why string
		for end := now + c.d; now < end; now += 50 * time.Millisecond {
			level, why = l.allow(now, 1, c.celsius)
		}
		if (level > 0) != c.on || !strings.Contains(why, c.why) {
			t.Errorf("%v °C: %v, %q", c.celsius, level, why)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Limits{Steady: 0.6, Tau: time.Minute}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Limits){
		"steady":  func(l *Limits) { l.Steady = math.NaN() },
		"tau":     func(l *Limits) { l.Tau = 0 },
		"longest": func(l *Limits) { l.Longest = time.Millisecond },
		"rest":    func(l *Limits) { l.Longest = time.Minute },
		"hot":     func(l *Limits) { l.Zone = "x" },
	} {
		l := good
		spoil(&l)
		if err := l.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestFollower goes through an evening, a night with lit streets, and a morning.
func TestFollower(t *testing.T) {
	type part struct {
		level float64
		d     time.Duration
		on    bool
	}
	dark := Dark{Below: 70, Above: 85}
	run := func(name string, follow func(*Follower, time.Duration, float64) bool, parts []part) {
		var f Follower
		now := time.Duration(0)
		for i, p := range parts {
			var on bool
			for end := now + p.d; now < end; now += 100 * time.Millisecond {
				on = follow(&f, now, p.level)
			}
			if on != p.on {
				t.Errorf("%s, part %d (%v): on %t", name, i, p.level, on)
			}
		}
	}
	run("lux", func(f *Follower, now time.Duration, v float64) bool { return f.Lux(now, v, dark) }, []part{
		{200, time.Minute, false},
		{60, 2 * time.Second, false}, // a bridge
		{200, time.Second, false},
		{60, 5 * time.Second, true},
		{80, time.Minute, true},
		{90, 9 * time.Second, true}, // a lit crossing
		{20, time.Second, true},
		{90, 12 * time.Second, false},
		{80, time.Minute, false},
	})
	// The lamp makes 40 of luma: without knowing of it, it would come and go.
	turns, lit := 0, false
	run("luma", func(f *Follower, now time.Duration, v float64) bool {
		if lit {
			v += 40
		}
		on := f.Luma(now, v, dark)
		if on != lit {
			turns++
		}
		lit = on
		return on
	}, []part{
		{150, time.Minute, false},
		{60, 5 * time.Second, true},
		{60, 5 * time.Minute, true},
		{75, 5 * time.Minute, true},
		{100, time.Minute, false},
		{100, time.Minute, false},
	})
	if turns != 2 {
		t.Errorf("it turned %d times", turns)
	}
}

func FuzzParseLevel(f *testing.F) {
	for _, s := range []string{"0", "1", "0.5\r", " .25 ", "1.01", "-0", "NaN", "0x1p-1", "", "on"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, ok := parseLevel(s); ok && !(v >= 0 && v <= 1) {
			t.Errorf("%q: %v", s, v)
		}
	})
}
