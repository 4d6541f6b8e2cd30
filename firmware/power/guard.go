package power

import (
	"fmt"
	"time"
)

// GuardConfig says when a vehicle's battery is to be spared.
type GuardConfig struct {
	Rail  string        `yaml:"rail"`
	Below float64       `yaml:"below"` // volts
	For   time.Duration `yaml:"for"`   // longer than an engine takes to start
}

// Validate says what is wrong with the limits.
func (c GuardConfig) Validate() error {
	switch {
	case c.Rail == "":
		return fmt.Errorf("rail: none is named")
	case !(c.Below > 0 && c.Below <= 60):
		return fmt.Errorf("below: %v is not above 0 to 60 V", c.Below)
	case c.For < time.Second || c.For > time.Hour:
		return fmt.Errorf("for: %v is not 1s to 1h", c.For)
	}
	return nil
}

// smooth is how much a voltage must recover to be well again: a battery that was low
// comes up a little as soon as its load falls.
const smooth = 0.2

// gap is how long the voltage may be unknown before what was low begins anew: a sensor
// that is unplugged stops nothing.
const gap = 10 * time.Second

// Guard decides when the program is to stop for the battery's sake. It is used by one
// goroutine.
type Guard struct {
	c     GuardConfig
	low   bool
	since time.Duration
	last  time.Duration // voltage
}

// NewGuard makes a guard.
func NewGuard(c GuardConfig) *Guard { return &Guard{c: c} }

// Observe takes a voltage at a time of the monotonic clock and returns why the program
// is to stop now, "" while it may go on.
func (g *Guard) Observe(now time.Duration, volts float64) (stop string) {
	if now-g.last > gap || volts >= g.c.Below+smooth {
		g.low = false
	}
	g.last = now
	if volts < g.c.Below && !g.low {
		g.low, g.since = true, now
	}
	if !g.low || now-g.since < g.c.For {
		return ""
	}
	return fmt.Sprintf("the battery has been below %.1f V for %v (now %.2f V): it is kept for the engine's start",
		g.c.Below, (now - g.since).Round(time.Second), volts)
}
