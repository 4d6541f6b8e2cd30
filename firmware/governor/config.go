package governor

import (
	"errors"
	"fmt"
	"time"
)

// Threshold is where a band begins on the way up, and where it is left on the way down.
type Threshold struct {
	Up   float64 `yaml:"up"`
	Down float64 `yaml:"down"`
}

// Config says what is too hot, in °C, and how fast to act. Bands overlap: between Down
// and Up of one, what holds depends on where the temperature came from.
type Config struct {
	Zones    []string      `yaml:"zones"`    // names of zones; the hottest counts
	Warm     Threshold     `yaml:"warm"`     // nothing that costs much comes back
	Hot      Threshold     `yaml:"hot"`      // one step after the other is shed
	Critical Threshold     `yaml:"critical"` // the limit: everything is shed at once
	Shed     time.Duration `yaml:"shed"`     // between two steps on the way up
	Recover  time.Duration `yaml:"recover"`  // between two steps back while it is cool
	Rate     float64       `yaml:"rate"`     // least share of the rate
}

// Default are the bands below a limit.
func Default(limit float64) Config {
	return Config{
		Warm: Threshold{limit - 7, limit - 10}, Hot: Threshold{limit - 0.5, limit - 2},
		Critical: Threshold{limit, limit - 1},
		Shed:     10 * time.Second, Recover: 15 * time.Second, Rate: 0.4,
	}
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Zones) == 0 {
		bad("zones: none is named")
	}
	last := Threshold{-50, -50}
	for _, b := range []struct {
		name string
		t    Threshold
	}{{"warm", c.Warm}, {"hot", c.Hot}, {"critical", c.Critical}} {
		if !(b.t.Down < b.t.Up) || !(b.t.Up > last.Up) || !(b.t.Down > last.Down) || b.t.Up > 125 {
			bad("%s: up %v and down %v: down must be below up, each above that of the band before, and up at most 125",
				b.name, b.t.Up, b.t.Down)
		}
		last = b.t
	}
	if c.Critical.Down >= c.Hot.Up {
		bad("critical: down %v must be below hot up %v: bands overlap", c.Critical.Down, c.Hot.Up)
	}
	for name, d := range map[string]time.Duration{"shed": c.Shed, "recover": c.Recover} {
		if d < time.Second || d > time.Hour {
			bad("%s: %v is not 1s to 1h", name, d)
		}
	}
	if !(c.Rate >= 0.05 && c.Rate <= 1) {
		bad("rate: %v is not 0.05 to 1", c.Rate)
	}
	return errors.Join(errs...)
}

// Step is how much of its work the program does.
type Step struct {
	Name     string  `json:"name"`
	LiveView bool    `json:"live_view"`
	Rate     float64 `json:"rate"`          // share of the frames that are segmented
	Relight  bool    `json:"relight_net"`   // else gamma does it
	Small    bool    `json:"small_network"` // a smaller input, or a smaller bundle
}

// finer is the share by which the rate falls from one step to the next. The finer, the
// nearer to its limit a board can be kept.
const finer = 0.95

// Steps are what is shed, in that order: the live view; the rate, down to its least
// share; the relighting network; the size of the network's input.
func Steps(least float64) []Step {
	s := Step{Name: "all", LiveView: true, Rate: 1, Relight: true}
	list := []Step{s}
	add := func(name string) {
		s.Name = name
		list = append(list, s)
	}
	s.LiveView = false
	add("no live view")
	for s.Rate > least {
		s.Rate = max(s.Rate*finer, least)
		add(fmt.Sprintf("rate %.0f %%", 100*s.Rate))
	}
	s.Relight = false
	add("gamma for the relighting network")
	s.Small = true
	add("smaller input")
	return list
}
