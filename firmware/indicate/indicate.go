// Package indicate shows the state of the program on one LED, by patterns that can be
// told apart at a glance.
package indicate

import (
	"context"
	"sync"
	"time"
)

// State is what the LED shows.
type State int

// The states.
const (
	Starting State = iota // on
	Running               // a short flash each two seconds
	Degraded              // two flashes each two seconds
	Fault                 // fast blinking
)

func (s State) String() string { return [...]string{"starting", "running", "degraded", "fault"}[s] }

// ParseState finds a state by its name.
func ParseState(name string) (State, bool) {
	for s := Starting; s <= Fault; s++ {
		if s.String() == name {
			return s, true
		}
	}
	return 0, false
}

const (
	flash  = 100 * time.Millisecond
	period = 2 * time.Second
)

// patterns are times on and off in turn, which are repeated.
var patterns = [...][]time.Duration{
	Starting: {period, 0},
	Running:  {flash, period - flash},
	Degraded: {flash, 2 * flash, flash, period - 4*flash},
	Fault:    {flash, flash},
}

// Output is the LED.
type Output interface {
	Set(on bool) error
}

// Indicator shows states. Set may be called by any goroutine.
type Indicator struct {
	out   Output
	wake  chan struct{}
	mu    sync.Mutex
	state State
	err   error
}

// New makes an indicator of an LED.
func New(out Output) *Indicator { return &Indicator{out: out, wake: make(chan struct{}, 1)} }

// Set changes the state that is shown. It does not wait for the LED.
func (i *Indicator) Set(s State) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.state == s {
		return
	}
	i.state = s
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// Err is what went wrong when the LED was set last, nil where nothing did.
func (i *Indicator) Err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err
}

// Run shows the state until ctx is done; then the LED is off.
func (i *Indicator) Run(ctx context.Context) {
	defer i.light(false)
	for ctx.Err() == nil {
		i.mu.Lock()
		pattern := patterns[i.state]
		i.mu.Unlock()
		for n, d := range pattern {
			if d == 0 {
				continue
			}
			i.light(n%2 == 0)
			if !i.wait(ctx, d) {
				break
			}
		}
	}
}

func (i *Indicator) light(on bool) {
	err := i.out.Set(on)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

// wait reports whether the time passed with the state as it was.
func (i *Indicator) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-i.wake:
		return false
	case <-t.C:
		return true
	}
}
