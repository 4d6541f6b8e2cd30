package edge_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge"
	"nightseg/edge/alive"
	"nightseg/edge/frame"
)

// aliveLoop is a loop in a bubble, with a manager that counts its signs of life.
type aliveLoop struct {
	mu    sync.Mutex
	signs int
	last  string // of the status
	stop  func()
}

func (a *aliveLoop) heard(state string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for line := range strings.SplitSeq(state, "\n") {
		if line == "WATCHDOG=1" {
			a.signs++
		}
		if text, ok := strings.CutPrefix(line, "STATUS="); ok {
			a.last = text
		}
	}
	return nil
}

// later lets five minutes pass, and returns the signs of life in it and the last status.
func (a *aliveLoop) later() (int, string) {
	a.mu.Lock()
	a.signs = 0
	a.mu.Unlock()
	<-time.After(5 * time.Minute)
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.signs, a.last
}

func runAlive(t *testing.T, s edge.Stages, o edge.Options) *aliveLoop {
	t.Helper()
	a := &aliveLoop{}
	o.Alive, o.Camera = new(alive.Group), "front"
	l := newLoop(t, s, o)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		alive.NewManager(a.heard, 45*time.Second).Run(ctx, o.Alive, func() string { return "running" })
	})
	a.stop = func() {
		cancel()
		wg.Wait()
	}
	<-time.After(61 * time.Second) // not when a sign of life is due
	return a
}

// each5s is how often a sign of life is due in five minutes, with a watchdog of 45 s.
const each5s = 60

// awaited is a source whose camera gives one picture and then nothing more.
type awaited struct{ source }

func (s *awaited) Next(ctx context.Context, dst *frame.Frame) error {
	if s.seq == 0 {
		return s.source.Next(ctx, dst)
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestAliveWithoutCamera(t *testing.T) {
	gone := errors.New("unplugged")
	for name, src := range map[string]edge.Source{
		"gives nothing": &awaited{source{n: 2}},
		"never comes": edge.NewReopener("front", func(context.Context) (edge.SourceCloser, error) {
			return nil, gone
		}, nil, edge.NewHealth(nil)),
		"fails": &failing{err: gone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := runAlive(t, stages(src, &nets{}, &sink{}), edge.Options{})
				if n, status := a.later(); n != each5s || status != "running" {
					t.Errorf("%d signs of life in five minutes, status %q", n, status)
				}
				a.stop()
			})
		})
	}
}

// failing is a source that has nothing but faults.
type failing struct{ err error }

func (f *failing) Next(context.Context, *frame.Frame) error { return f.err }

func TestAliveWithoutBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{fail: errors.New("no broker")}
		a := runAlive(t, stages(&source{n: 1 << 30, period: time.Second}, &nets{period: 100 * time.Millisecond}, s),
			edge.Options{})
		if n, status := a.later(); n != each5s || status != "running" {
			t.Errorf("%d signs of life in five minutes, status %q", n, status)
		}
		if s.count() < 300 {
			t.Errorf("%d masks were offered", s.count())
		}
		a.stop()
	})
}

func TestNoSignOfLifeWhenStuck(t *testing.T) {
	camera := func() *source { return &source{n: 1 << 30, period: 200 * time.Millisecond} }
	for name, c := range map[string]struct {
		make     func(hang chan struct{}) edge.Stages
		parallel int
		names    string
	}{
		"engine": {
			func(hang chan struct{}) edge.Stages {
				s := stages(camera(), &nets{}, &sink{})
				s.Infer = hungNets{hang}
				return s
			}, 1, "camera front networks",
		},
		"one of two engines": {
			func(hang chan struct{}) edge.Stages {
				s := stages(camera(), &nets{}, &sink{})
				s.Infer = &halfHungNets{hang: hang}
				return s
			}, 2, "camera front networks",
		},
		"relighter": {
			func(hang chan struct{}) edge.Stages {
				s := stages(camera(), &nets{}, &sink{})
				s.Relight = hungPlan{hang}
				return s
			}, 1, "camera front relight",
		},
		"publisher": {
			func(hang chan struct{}) edge.Stages {
				return stages(camera(), &nets{}, &sink{block: hang})
			}, 1, "camera front send",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang := make(chan struct{})
				a := runAlive(t, c.make(hang), edge.Options{Parallel: c.parallel})
				if n, status := a.later(); n != 0 || !strings.Contains(status, c.names) {
					t.Errorf("%d signs of life in five minutes, status %q", n, status)
				}
				close(hang) // it comes back before the manager loses its patience
				if n, status := a.later(); n < each5s-1 || status != "running" {
					t.Errorf("%d signs of life after it went on, status %q", n, status)
				}
				a.stop()
			})
		})
	}
}

// hungNets is an engine that answers when hang is closed.
type hungNets struct{ hang chan struct{} }

func (h hungNets) Infer(dst *frame.Logits, src *frame.Frame) error {
	<-h.hang
	return (&nets{}).Infer(dst, src)
}

// halfHungNets hangs with its tenth frame.
type halfHungNets struct {
	hang chan struct{}
	nets
}

func (h *halfHungNets) Infer(dst *frame.Logits, src *frame.Frame) error {
	if src.Seq == 10 {
		<-h.hang
	}
	return h.nets.Infer(dst, src)
}

type hungPlan struct{ hang chan struct{} }

func (h hungPlan) Plan(_, src *frame.Frame) (*frame.Frame, error) {
	<-h.hang
	return src, nil
}

// An engine that is slow, but gets on, is no engine that hangs.
func TestAliveWithASlowEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := runAlive(t, stages(&source{n: 1 << 30, period: time.Second}, &nets{period: 10 * time.Second}, &sink{}),
			edge.Options{})
		if n, status := a.later(); n != each5s {
			t.Errorf("%d signs of life in five minutes, status %q", n, status)
		}
		a.stop()
	})
}
