package governor

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const limit = 95

func config() Config {
	c := Default(limit)
	c.Zones = []string{"soc"}
	return c
}

// board makes a board: of 7 to 26 W, with a heat sink that takes from 40 seconds to 40
// minutes, a sensor with noise and steps of up to 1 K, in air from 15 to 60 °C.
func board(rng *rand.Rand) *plant {
	between := func(a, b float64) float64 { return a + (b-a)*rng.Float64() }
	p := &plant{
		idle: between(2, 6), work: between(5, 20), live: between(0.5, 1.5),
		chip: between(5, 30), sink: between(40, 400), inner: between(0.3, 1.2), outer: between(1, 6),
		air: between(15, 60), leak: between(0, 0.005),
		noise: between(0, 0.3), grain: []float64{0, 0.031, 0.5, 1}[rng.IntN(4)], rng: rng,
	}
	p.tChip, p.tSink = p.air, p.air
	return p
}

// best is the first step at which a board stays below the limit for ever; ok is false
// where there is none.
func best(p *plant, steps []Step) (Step, bool) {
	for _, s := range steps {
		if p.settled(s) <= limit {
			return s, true
		}
	}
	return Step{}, false
}

// Over three hours on each of 300 boards: never above the limit; as many frames as the best
// constant step, less a tenth at most; and no swinging.
func TestBoards(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var shares, second []float64
	turns := 0
	for n := range 300 {
		p, g := board(rng), New(config())
		top, ok := best(p, g.steps)
		if !ok {
			continue
		}
		o := drive(g, p, 3*time.Hour, nil)
		share := o.work / top.Rate
		shares, second, turns = append(shares, share), append(second, o.late/top.Rate), max(turns, o.lateTurns)
		if o.hottest > limit || share < 0.9 || o.lateTurns > 8 {
			t.Errorf("board %d: hottest %.1f °C, %.3f of the frames of %q, turned %d times in the second half: %+v",
				n, o.hottest, share, top.Name, o.lateTurns, *p)
		}
	}
	slices.Sort(shares)
	slices.Sort(second)
	if len(shares) < 200 {
		t.Fatalf("%d boards only", len(shares))
	}
	t.Logf("%d boards: frames of the best constant step: least %.3f, 5 %% below %.3f, median %.3f; "+
		"in the second half least %.3f, 5 %% below %.3f; at most %d turns in 90 minutes", len(shares),
		shares[0], shares[len(shares)/20], shares[len(shares)/2], second[0], second[len(second)/20], turns)
	if second[0] < 0.85 {
		t.Errorf("in the second half %.3f", second[0])
	}
}

// nano is about an Orin Nano at 15 W in a closed box.
func nano(air float64) *plant {
	return &plant{
		idle: 4, work: 9, live: 0.8, chip: 10, sink: 120, inner: 0.8, outer: 4, air: air, leak: 0.003,
		noise: 0.1, grain: 0.031, tChip: air, tSink: air, rng: rand.New(rand.NewPCG(5, 6)),
	}
}

// What happens to a car: the sun rises over it, its fan stops, it is parked and started hot.
func TestWhenTheSurroundingsChange(t *testing.T) {
	for name, c := range map[string]struct {
		start func(p *plant)
		air   func(p *plant, at time.Duration)
		worst func(p *plant) // the hardest that comes
	}{
		"sun": {
			air:   func(p *plant, at time.Duration) { p.air = 25 + 30*min(1, at.Minutes()/30) },
			worst: func(p *plant) { p.air = 55 },
		},
		"fan stops after an hour": {
			start: func(p *plant) { p.outer = 2 },
			air: func(p *plant, at time.Duration) {
				if at > time.Hour {
					p.outer = 5
				}
			},
			worst: func(p *plant) { p.outer = 5 },
		},
		"hot from the start": {start: func(p *plant) { p.tChip, p.tSink, p.air = 87, 87, 50 }},
		"clouds": {
			air: func(p *plant, at time.Duration) {
				p.air = 45 + 10*math.Sin(2*math.Pi*at.Minutes()/20)
			},
			worst: func(p *plant) { p.air = 55 },
		},
	} {
		p, g := nano(40), New(config())
		if c.start != nil {
			c.start(p)
		}
		hard := *p
		if c.worst != nil {
			c.worst(&hard)
		}
		top, ok := best(&hard, g.steps)
		if !ok {
			t.Fatalf("%s: no step is cool enough", name)
		}
		o := drive(g, p, 3*time.Hour, c.air)
		if o.hottest > limit || o.work < 0.9*top.Rate {
			t.Errorf("%s: hottest %.1f °C, %.3f of the frames of %q", name, o.hottest, o.work/top.Rate, top.Name)
		}
		t.Logf("%s: hottest %.1f °C, %.2f of the frames of %q, %d changes", name, o.hottest, o.work/top.Rate, top.Name,
			o.changes)
	}
}

// Down the whole ladder one by one in the stated order, and back in the reverse order.
func TestOrder(t *testing.T) {
	c := config()
	g := New(c)
	var down, up []string
	now := time.Duration(0)
	hold := func(celsius float64, for_ time.Duration, names *[]string) {
		for end := now + for_; now < end; {
			now += time.Second
			if ch, ok := g.Observe(Input{Now: now, Celsius: map[string]float64{"soc": celsius}}); ok {
				*names = append(*names, ch.To.Name)
				if ch.Reason == "" || !strings.Contains(ch.Reason, "°C") {
					t.Errorf("no reason: %+v", ch)
				}
			}
		}
	}
	hold(30, 10*time.Second, &down)
	hold(c.Hot.Up+0.2, 10*time.Minute, &down)
	hold(30, 10*time.Minute, &up)
	names := make([]string, 0, len(g.steps))
	for _, s := range g.steps {
		names = append(names, s.Name)
	}
	if !slices.Equal(down, names[1:]) {
		t.Errorf("shed %q", down)
	}
	slices.Reverse(names)
	if !slices.Equal(up, names[1:]) {
		t.Errorf("back %q", up)
	}
	last := g.steps[len(g.steps)-1]
	if first := g.steps[1]; first.LiveView || first.Rate != 1 || !first.Relight {
		t.Errorf("first %+v", first)
	}
	if gamma := g.steps[len(g.steps)-2]; gamma.Relight || gamma.Small || gamma.Rate != c.Rate {
		t.Errorf("last but one %+v", gamma)
	}
	if last.LiveView || last.Relight || !last.Small {
		t.Errorf("last %+v", last)
	}
	var all []string
	hold(limit+1, 20*time.Second, &all) // no time for one by one
	if len(all) == 0 || all[len(all)-1] != last.Name {
		t.Errorf("at the limit %q", all)
	}
}

// Between two thresholds nothing happens.
func TestHysteresis(t *testing.T) {
	c := config()
	g := New(c)
	bands := func(t0, t1 float64) (list []Band) {
		for i := range 200 {
			g.Observe(Input{
				Now: time.Duration(i+1) * time.Hour, Celsius: map[string]float64{"soc": t0 + (t1-t0)*float64(i)/199},
			})
			if n := len(list); n == 0 || list[n-1] != g.band {
				list = append(list, g.band)
			}
		}
		return list
	}
	g.begun = true // else it starts at 99 °C
	up, down := []Band{Cool, Warm, Hot, Critical}, []Band{Critical, Hot, Warm, Cool}
	if got := bands(50, 99); !slices.Equal(got, up) {
		t.Errorf("up: %v", got)
	}
	g.seen = 0
	if got := bands(99, 50); !slices.Equal(got, down) {
		t.Errorf("down: %v", got)
	}
	for _, mid := range []float64{(c.Warm.Up + c.Warm.Down) / 2, (c.Hot.Up + c.Hot.Down) / 2} {
		g := New(c)
		for i, celsius := range []float64{20, mid, 100, mid} {
			before := g.band
			g.Observe(Input{Now: time.Duration(i+1) * time.Hour, Celsius: map[string]float64{"soc": celsius}})
			if i == 3 && g.band == before-3 || i == 1 && g.band == Critical {
				t.Errorf("%.1f °C: from %v to %v", mid, before, g.band)
			}
		}
	}
}

func TestStartWhenHot(t *testing.T) {
	c := config()
	g := New(c)
	at := func(celsius float64) string { return g.MayStart(map[string]float64{"soc": celsius}) }
	for _, s := range []struct {
		celsius float64
		may     bool
	}{
		{c.Warm.Up - 0.1, true},
		{c.Warm.Up, false},
		{c.Warm.Down, false}, // not again right away
		{c.Warm.Down - 0.1, true},
		{c.Warm.Up - 0.1, true},
	} {
		if reason := at(s.celsius); (reason == "") != s.may {
			t.Errorf("%.1f °C: %q", s.celsius, reason)
		}
	}
	if reason := at(99); !strings.Contains(reason, "zone soc has 99.0 °C; it starts below 85.0 °C") {
		t.Error(reason)
	}
	if reason := g.MayStart(nil); reason != "" { // a board that tells nothing must still start
		t.Error(reason)
	}
}

func TestWithoutTemperature(t *testing.T) {
	g := New(config())
	var reasons []string
	for i := range 600 {
		if c, ok := g.Observe(Input{Now: time.Duration(i+1) * time.Second}); ok {
			reasons = append(reasons, c.Reason)
		}
	}
	if len(reasons) != g.fine || g.level != g.fine || !strings.HasPrefix(reasons[0], "no temperature for 30s") {
		t.Errorf("level %d of %d: %q", g.level, g.fine, reasons)
	}
	for i := range 1200 { // the hottest of those that are there
		g.Observe(Input{Now: time.Duration(601+i) * time.Second, Celsius: map[string]float64{"soc": 40, "other": 99}})
	}
	if g.level != 0 || g.State().Zone != "soc" {
		t.Errorf("%+v with a temperature again", g.State())
	}
}

// An over-current event now and then is borne; a burst costs rate, and nothing but rate.
func TestOverCurrent(t *testing.T) {
	g := New(config())
	now, events := time.Duration(0), uint64(1000) // before the start
	hold := func(perSecond float64, seconds int) (changes []Change) {
		for i := range seconds {
			now += time.Second
			events += uint64(float64(i+1)*perSecond) - uint64(float64(i)*perSecond)
			if c, ok := g.Observe(Input{Now: now, Celsius: map[string]float64{"soc": 40}, OverCurrent: events}); ok {
				changes = append(changes, c)
			}
		}
		return changes
	}
	if c := hold(0.1, 600); len(c) > 0 {
		t.Errorf("6 events a minute: %+v", c)
	}
	c := hold(5, 60)
	if len(c) < 5 || !strings.Contains(c[0].Reason, "over-current") || g.level != len(c) {
		t.Errorf("5 events a second: %d changes", len(c))
	}
	if c := hold(5, 1200); g.level != g.fine {
		t.Errorf("level %d, not %d, after %+v", g.level, g.fine, c)
	}
	if hold(0, 1200); g.level != 0 {
		t.Errorf("level %d without events", g.level)
	}
}

func TestConfig(t *testing.T) {
	if err := config().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"zones: none":            func(c *Config) { c.Zones = nil },
		"warm: up 70 and down":   func(c *Config) { c.Warm = Threshold{70, 71} },
		"hot: up":                func(c *Config) { c.Hot.Up = c.Warm.Up },
		"critical: up":           func(c *Config) { c.Critical.Up = 300 },
		"below hot up":           func(c *Config) { c.Critical = Threshold{99, 98} },
		"shed: 0s":               func(c *Config) { c.Shed = 0 },
		"recover: 2h0m0s is not": func(c *Config) { c.Recover = 2 * time.Hour },
		"rate: NaN":              func(c *Config) { c.Rate = math.NaN() },
	} {
		c := config()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestBandInJSON(t *testing.T) {
	b, err := json.Marshal(New(config()).State())
	if err != nil || !strings.Contains(string(b), `"band":"cool"`) {
		t.Errorf("%s, %v", b, err)
	}
	var again State
	if err := json.Unmarshal(b, &again); err != nil || again != New(config()).State() {
		t.Errorf("%+v, %v", again, err)
	}
	if json.Unmarshal([]byte(`{"band":"mild"}`), &again) == nil {
		t.Error("mild is no band")
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	g := New(config())
	in := Input{Celsius: map[string]float64{"soc": 60}}
	if n := testing.AllocsPerRun(1000, func() {
		in.Now += time.Second
		g.Observe(in)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
