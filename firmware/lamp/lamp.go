// Package lamp holds a lamp that shines only while it is told to, again and again: its
// limits, when it is dark enough for it, and the loop of the program that drives it.
package lamp

import (
	"errors"
	"fmt"
	"time"

	"nightseg/firmware/output"
)

// Config is a lamp with its limits. Levels are shares of the most that its output allows.
type Config struct {
	Output output.Config `json:"output"`
	Limits
}

// Limits keep a lamp whole. Its heat is a model: with level x for long it comes to
// x/Steady of what it bears, with the time constant Tau.
type Limits struct {
	Steady  float64       `yaml:"steady" json:"steady"`             // level that may be held for ever
	Tau     time.Duration `yaml:"tau" json:"tau_ns"`                // of warming and cooling
	Longest time.Duration `yaml:"longest" json:"longest_ns"`        // on at a time; 0: no limit
	Rest    time.Duration `yaml:"rest" json:"rest_ns"`              // off after that
	Zone    string        `yaml:"zone" json:"zone,omitempty"`       // at the lamp; in Config the type of a thermal zone
	Hot     float64       `yaml:"hot" json:"hot_celsius,omitempty"` // of Zone: off from there on
}

// Validate says what is wrong with limits.
func (l Limits) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(l.Steady > 0 && l.Steady <= 1, "steady: %v is not above 0 to 1", l.Steady)
	check(l.Tau >= time.Second && l.Tau <= time.Hour, "tau: %v is not 1s to 1h", l.Tau)
	check(l.Longest == 0 || l.Longest >= time.Second && l.Longest <= 24*time.Hour,
		"longest: %v is not 0s, or 1s to 24h", l.Longest)
	check(l.Rest >= 0 && l.Rest <= time.Hour && (l.Longest == 0) == (l.Rest == 0),
		"rest: %v is not up to 1h, or longest and rest are not given both", l.Rest)
	check(l.Zone == "" && l.Hot == 0 || l.Zone != "" && l.Hot >= 30 && l.Hot <= 125,
		"hot: %v is not 30 to 125 °C, or zone and hot are not given both", l.Hot)
	return errors.Join(errs...)
}

// State is what a lamp does, as its program writes it.
type State struct {
	Level   float64  `json:"level"`  // that it has
	Wanted  float64  `json:"wanted"` // that was asked for
	Heat    float64  `json:"heat"`   // of 1, by the model
	Celsius *float64 `json:"celsius,omitempty"`
	Why     string   `json:"why,omitempty"`   // it has less than was asked for
	Error   string   `json:"error,omitempty"` // of the output
}
