// Package governor decides how much work a board may do at its temperature: on the way
// up it sheds one step after the other, in an order, and takes them back in the reverse
// order. It is arithmetic alone: who measures, and what a step means, is not its business.
package governor

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Band is how hot it is.
type Band int

// The bands.
const (
	Cool Band = iota
	Warm
	Hot
	Critical
)

var bandNames = []string{"cool", "warm", "hot", "critical"}

func (b Band) String() string { return bandNames[b] }

// MarshalText implements encoding.TextMarshaler.
func (b Band) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Band) UnmarshalText(text []byte) error {
	i := slices.Index(bandNames, string(text))
	if i < 0 {
		return fmt.Errorf("%q is no band", text)
	}
	*b = Band(i)
	return nil
}

// Input is what is known at a time.
type Input struct {
	Now         time.Duration      // of the monotonic clock
	Celsius     map[string]float64 // by zone; a zone that cannot be read is left out
	OverCurrent uint64             // events since the start
}

// Change is a step that was taken, and why.
type Change struct {
	At      time.Duration `json:"-"`
	From    string        `json:"from"`
	To      Step          `json:"to"`
	Level   int           `json:"level"` // of the step: 0 is all work
	Band    Band          `json:"band"`
	Celsius float64       `json:"celsius"`
	Reason  string        `json:"reason"`
}

// State is where the governor stands.
type State struct {
	Step    Step    `json:"step"`
	Level   int     `json:"level"`
	Levels  int     `json:"levels"`
	Band    Band    `json:"band"`
	Zone    string  `json:"zone"` // the hottest
	Celsius float64 `json:"celsius"`
	Reason  string  `json:"reason,omitempty"` // why the step was taken
}

const (
	filterTau = 3 * time.Second  // of the temperature
	slopeTau  = 20 * time.Second // of its rise
	shedAhead = 60 * time.Second // a rise is followed so far ahead: heat sinks are slow
	backAhead = 3 * time.Minute  // the same, before a step is taken back
	blind     = 30 * time.Second // without any temperature: as if it were hot
	ocWindow  = time.Minute
	ocMost    = 10 // over-current events in that time that are borne
)

// Times for which a step that was too much is not tried again, doubled each time it is too
// much again; and how soon after it was taken back it counts as too much.
const (
	firstBan = 8 * time.Minute
	lastBan  = 2 * time.Hour
	trial    = time.Hour
)

const (
	warmRecover = 3               // times slower come steps back while it is warm
	coarseRise  = 3               // K that must be left for a step that is no share of the rate
	urgent      = 2 * time.Second // between two steps when the limit itself is near
	urgentAhead = 15 * time.Second
)

// ban keeps a step from being taken back.
type ban struct {
	until time.Duration
	last  time.Duration // its length
	tried time.Duration // when the step was taken back
}

// Governor decides. It is used by one goroutine.
type Governor struct {
	c     Config
	steps []Step
	fine  int // the last step that sheds nothing but rate
	bans  []ban

	level   int
	band    Band
	zone    string
	temp    float64 // filtered
	slope   float64 // °C/s
	seen    time.Duration
	known   bool
	begun   bool // a temperature was there
	changed time.Duration
	reason  string

	events   uint64
	ocFrom   time.Duration // when the window began
	ocBefore uint64
	ocKnown  bool
	ocUntil  time.Duration // steps do not come back before
	refused  bool
}

// New makes a governor of a configuration that Validate has let pass.
func New(c Config) *Governor {
	g := &Governor{c: c, steps: Steps(c.Rate)}
	g.bans = make([]ban, len(g.steps))
	for i, s := range g.steps {
		if s.Relight && !s.Small {
			g.fine = i
		}
	}
	return g
}

// State tells where the governor stands.
func (g *Governor) State() State {
	return State{
		Step: g.steps[g.level], Level: g.level, Levels: len(g.steps), Band: g.band,
		Zone: g.zone, Celsius: g.temp, Reason: g.reason,
	}
}

// MayStart says why the work may not begin yet, "" where it may. What was refused once
// must become cooler than what is let pass at first, so that it does not come and go.
func (g *Governor) MayStart(celsius map[string]float64) (reason string) {
	zone, t := g.hottest(celsius)
	limit := g.c.Warm.Up
	if g.refused {
		limit = g.c.Warm.Down
	}
	g.refused = zone != "" && t >= limit
	if !g.refused {
		return ""
	}
	return fmt.Sprintf("too hot to start: zone %s has %.1f °C; it starts below %.1f °C: let the board cool down, "+
		"look after its fan and its airing", zone, t, g.c.Warm.Down)
}

func (g *Governor) hottest(celsius map[string]float64) (zone string, t float64) {
	t = math.Inf(-1)
	for _, z := range g.c.Zones {
		if v, ok := celsius[z]; ok && v > t {
			zone, t = z, v
		}
	}
	return zone, t
}

// Observe takes what is known and decides. It returns the change, if there is one.
func (g *Governor) Observe(in Input) (c Change, changed bool) {
	overCurrent := g.overCurrent(in)
	zone, t := g.hottest(in.Celsius)
	if zone == "" {
		if g.seen == 0 {
			g.seen = in.Now
		}
		if in.Now-g.seen < blind || g.level >= g.fine || in.Now-g.changed < g.c.Shed {
			return c, false
		}
		g.known = false
		return g.to(in.Now, g.level+1, fmt.Sprintf("no temperature for %v", (in.Now-g.seen).Round(time.Second)))
	}
	g.filter(in.Now, t)
	g.zone, g.band = zone, g.bandOf()
	if !g.begun && t >= g.c.Warm.Down {
		g.begun = true
		return g.to(in.Now, len(g.steps)-1, zone+" was warm at the start")
	}
	g.begun = true
	switch since := in.Now - g.changed; {
	case g.band == Critical && g.level < len(g.steps)-1:
		return g.to(in.Now, len(g.steps)-1, fmt.Sprintf("%s is at its limit of %.1f °C", zone, g.c.Critical.Up))
	case since < g.c.Shed && !(since >= urgent && g.ahead(urgentAhead) >= g.c.Critical.Up):
		return c, false
	case g.band >= Hot && g.level < len(g.steps)-1:
		return g.to(in.Now, g.level+1, fmt.Sprintf("%s is hot, rising by %.2f °C/s", zone, g.slope))
	case overCurrent > ocMost && g.level < g.fine:
		g.ocFrom = in.Now
		g.ocBefore = in.OverCurrent
		return g.to(in.Now, g.level+1, fmt.Sprintf("%d over-current events in %v: the supply is too weak",
			overCurrent, ocWindow))
	case g.level > 0 && g.mayRecover(in.Now, since):
		return g.to(in.Now, g.level-1, fmt.Sprintf("%s is %s again", zone, g.band))
	}
	return c, false
}

// filter smooths the hottest temperature and its rise.
func (g *Governor) filter(now time.Duration, t float64) {
	dt := (now - g.seen).Seconds()
	g.seen = now
	if !g.known || dt <= 0 || dt > blind.Seconds() {
		g.known, g.temp, g.slope = true, t, 0
		return
	}
	before := g.temp
	g.temp += (t - g.temp) * (1 - math.Exp(-dt/filterTau.Seconds()))
	g.slope += ((g.temp-before)/dt - g.slope) * (1 - math.Exp(-dt/slopeTau.Seconds()))
}

// ahead is the temperature in a while, if it goes on as it does.
func (g *Governor) ahead(d time.Duration) float64 { return g.temp + g.slope*d.Seconds() }

// bandOf moves between bands with hysteresis. Hot is where the temperature is about to
// be, and not far from it yet; the others are where it is.
func (g *Governor) bandOf() Band {
	is := func(b Band, t float64, th Threshold) bool {
		if g.band >= b {
			return t >= th.Down
		}
		return t >= th.Up
	}
	switch {
	case is(Critical, g.temp, g.c.Critical):
		return Critical
	case is(Hot, g.ahead(shedAhead), g.c.Hot) && g.temp >= g.c.Warm.Down:
		return Hot
	case is(Warm, g.temp, g.c.Warm):
		return Warm
	}
	return Cool
}

// mayRecover reports whether the step above may be tried: while it is cool soon, while it
// is warm only a share of the rate, slowly, and if it was not too much before.
func (g *Governor) mayRecover(now, since time.Duration) bool {
	if now < g.ocUntil || g.band >= Hot {
		return false
	}
	coarse := g.level > g.fine || g.level == 1
	banned := now < g.bans[g.level-1].until
	if g.band == Cool {
		return since >= g.c.Recover && g.ahead(shedAhead) < g.c.Warm.Up && !(coarse && banned)
	}
	ahead := g.ahead(backAhead)
	if coarse {
		ahead += coarseRise
	}
	return !banned && since >= warmRecover*g.c.Recover && ahead < g.c.Hot.Up
}

// overCurrent counts events in the window.
func (g *Governor) overCurrent(in Input) uint64 {
	if !g.ocKnown || in.OverCurrent < g.events || in.Now-g.ocFrom > ocWindow {
		g.ocKnown, g.ocFrom, g.ocBefore = true, in.Now, in.OverCurrent
	}
	if in.OverCurrent > g.events && in.OverCurrent-g.ocBefore > ocMost {
		g.ocUntil = in.Now + ocWindow
	}
	g.events = in.OverCurrent
	return in.OverCurrent - g.ocBefore
}

// to changes the level. A step down soon after it was taken back bans the step.
func (g *Governor) to(now time.Duration, level int, reason string) (Change, bool) {
	from := g.level
	if level > from {
		b := &g.bans[from]
		if b.tried > 0 && now-b.tried < trial {
			b.last = min(max(2*b.last, firstBan), lastBan)
			b.until = now + b.last
		} else {
			b.last = 0
		}
	} else {
		g.bans[level].tried = now
	}
	g.level, g.changed, g.reason = level, now, reason
	return Change{
		At: now, From: g.steps[from].Name, To: g.steps[level], Level: level, Band: g.band,
		Celsius: g.temp, Reason: fmt.Sprintf("%s (%.1f °C)", reason, g.temp),
	}, true
}
