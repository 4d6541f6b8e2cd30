// Package button holds push buttons: clean presses of contacts that bounce.
package button

import (
	"context"
	"time"

	"nightseg/firmware/line"
)

// Kind is what happened to a button.
type Kind string

// The kinds. A long press is told while the button is still down.
const (
	Pressed  Kind = "pressed"
	Held     Kind = "held"
	Released Kind = "released"
)

// Event is one of a button.
type Event struct {
	Button string        `json:"button"`
	Kind   Kind          `json:"kind"`
	For    time.Duration `json:"for_ns"` // how long it was down
}

// Config is a button in a board's description.
type Config struct {
	Line      string        `yaml:"line"`
	ActiveLow bool          `yaml:"active_low"`
	Pull      line.Pull     `yaml:"pull"`
	Debounce  time.Duration `yaml:"debounce"`
	Long      time.Duration `yaml:"long"`
}

// Source is a line whose changes are reported, and which can be read.
type Source interface {
	Next(ctx context.Context) (line.Edge, error)
	Active() (bool, error)
}

// Watch tells of a button's events until ctx is done, or the line fails: then it returns
// the error. The kernel debounces by its clock where the chip can; here a change counts
// when it has lasted for the debounce time, which also leaves out what the kernel's buffer
// lost.
func Watch(ctx context.Context, name string, s Source, c Config, tell func(Event)) error {
	edges := make(chan line.Edge)
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			e, err := s.Next(ctx)
			if err != nil {
				failed <- err
				return
			}
			select {
			case edges <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()
	w := &watch{name: name, c: c, source: s, tell: tell, settle: stopped(), long: stopped()}
	defer w.settle.Stop()
	defer w.long.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-edges:
			w.settle.Reset(c.Debounce)
		case <-w.settle.C:
			if err := w.settled(); err != nil {
				return err
			}
		case <-w.long.C:
			w.tell(Event{Button: name, Kind: Held, For: time.Since(w.since).Round(time.Millisecond)})
		}
	}
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// watch is the state of a button.
type watch struct {
	name         string
	c            Config
	source       Source
	tell         func(Event)
	down         bool
	since        time.Time
	settle, long *time.Timer
}

// settled looks at the line when nothing has changed for the debounce time.
func (w *watch) settled() error {
	down, err := w.source.Active()
	if err != nil || down == w.down {
		return err
	}
	w.down = down
	if !down {
		w.long.Stop()
		w.tell(Event{Button: w.name, Kind: Released, For: time.Since(w.since).Round(time.Millisecond)})
		return nil
	}
	w.since = time.Now()
	if w.c.Long > 0 {
		w.long.Reset(w.c.Long)
	}
	w.tell(Event{Button: w.name, Kind: Pressed})
	return nil
}
