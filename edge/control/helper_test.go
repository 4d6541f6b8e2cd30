package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/disk/disktest"
	"nightseg/edge/settings"
)

// fake is a service of which only the settings are there.
type fake struct {
	mu    sync.Mutex
	runs  settings.Desired
	calls []string

	// What the phases do beside that; nil: nothing goes wrong.
	prepare   func(context.Context, settings.Desired) []settings.FieldError
	apply     func(context.Context) error
	probation func(context.Context) (any, error)
	undo      func() error
	close     func() error
}

var _ Pipeline = (*fake)(nil)

func (f *fake) call(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
}

// said returns the calls since the last time.
func (f *fake) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := strings.Join(f.calls, " ")
	f.calls = nil
	return s
}

func (f *fake) running() settings.Desired {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runs
}

func (f *fake) swap(d settings.Desired) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs = d
}

func (f *fake) Prepare(ctx context.Context, d settings.Desired) (Step, []settings.FieldError) {
	f.call("prepare")
	if f.prepare != nil {
		if errs := f.prepare(ctx, d); len(errs) > 0 {
			return nil, errs
		}
	}
	return &fakeStep{f: f, d: d}, nil
}

type fakeStep struct {
	f      *fake
	d, old settings.Desired
}

func (s *fakeStep) Apply(ctx context.Context) error {
	s.f.call("apply")
	s.old = s.f.running()
	if s.f.apply != nil {
		if err := s.f.apply(ctx); err != nil {
			return err
		}
	}
	s.f.swap(s.d)
	return nil
}

func (s *fakeStep) Probation(ctx context.Context) (any, error) {
	s.f.call("probation")
	if s.f.probation != nil {
		return s.f.probation(ctx)
	}
	select {
	case <-time.After(time.Duration(s.d.Settings.Probation.Seconds) * time.Second):
		return map[string]int{"frames": 150}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *fakeStep) Undo(context.Context) error {
	s.f.call("undo")
	if s.f.undo != nil {
		if err := s.f.undo(); err != nil {
			return err
		}
	}
	s.f.swap(s.old)
	return nil
}

func (s *fakeStep) Close() error {
	s.f.call("close")
	if s.f.close != nil {
		return s.f.close()
	}
	return nil
}

// fileSettings is what the settings file of the tests says.
func fileSettings() settings.Settings {
	s := settings.Default()
	s.Fleet, s.Device = "test", "car1"
	s.Cameras = append(s.Cameras, settings.Camera{
		ID: "rear", Source: "rtsp://me:word@10.0.0.2/", Fit: "bundle", Night: settings.DefaultNight(),
	})
	return s
}

// bases are the settings file, an older copy and the factory settings.
func bases() []settings.Base {
	older := fileSettings()
	older.Threshold = 0.5
	return []settings.Base{
		{Settings: fileSettings(), Source: settings.FromFile},
		{Settings: older, Source: settings.FromLastGood},
		{Settings: settings.Default(), Source: settings.FromFactory},
	}
}

// rig is a controller, what it steers, and what it says.
type rig struct {
	*Controller
	t    *testing.T
	f    *fake
	stop func()

	mu     sync.Mutex
	acks   []settings.Ack
	told   settings.Reported
	reason string
	kept   int
}

// build makes a controller that does not run yet.
func build(t *testing.T, m *disktest.FS, set ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, f: &fake{}}
	o := Options{
		Bases: bases(), Dir: "settings", Run: "r1",
		Answer: func(a settings.Ack) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.acks = append(r.acks, a)
		},
		Report: func(s settings.Reported) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.told = s
		},
		Degraded: func(s string) { r.reason = s },
		Keep:     func() error { r.kept++; return nil },
		Bundle:   func() string { return "b1" },
		Open: func(string) (disk.FS, error) {
			if _, err := m.Check("folder", "", 0); err != nil {
				return nil, err
			}
			return m, nil
		},
	}
	for _, f := range set {
		f(&o)
	}
	r.Controller = New(o)
	r.f.swap(r.InForce())
	return r
}

// start makes a controller and runs it, in the bubble of the caller.
func start(t *testing.T, m *disktest.FS, set ...func(*Options)) *rig {
	t.Helper()
	r := build(t, m, set...)
	r.run()
	return r
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, r.f)
	}()
	synctest.Wait()
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		if err := r.Close(); err != nil {
			r.t.Errorf("close: %v", err)
		}
	})
}

// send hands a document over, waits until nothing more happens by itself, and
// returns the answers since the last time, as "version result".
func (r *rig) send(doc string) []string {
	<-time.After(period) // the sender is not mad
	r.Offer([]byte(doc))
	return r.pass(0)
}

// pass lets fake time pass.
func (r *rig) pass(d time.Duration) (answers []string) {
	<-time.After(d)
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.acks {
		answers = append(answers, fmt.Sprintf("%d %s", a.Version, a.Result))
	}
	r.acks = nil
	return answers
}

// last returns the last answer that pass has not taken.
func (r *rig) last() settings.Ack {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.acks) == 0 {
		r.t.Fatal("no answer")
	}
	a := r.acks[len(r.acks)-1]
	r.acks = nil
	return a
}

func (r *rig) rep() settings.Reported {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told
}

func (r *rig) want(got []string, want ...string) {
	r.t.Helper()
	if !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
		r.t.Errorf("answers %q, want %q", got, want)
	}
}

// apply takes a document through its probation.
func (r *rig) apply(version int64, more string) {
	r.t.Helper()
	got := r.send(doc(version, more))
	got = append(got, r.pass(time.Minute)...)
	r.want(got, fmt.Sprint(version, " trial"), fmt.Sprint(version, " applied"))
}

// doc makes a document; threshold is what tells versions apart.
func doc(version int64, more string) string {
	return fmt.Sprintf(`{"version":%d,"id":"me","threshold":%v%s}`, version, threshold(version), more)
}

func threshold(version int64) float64 { return float64(version) / 1000 }

// bubble runs a test in fake time.
func bubble(t *testing.T, f func(t *testing.T, m *disktest.FS)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		f(t, m)
		if n := m.Handles(); n != 0 {
			t.Errorf("%d files left open", n)
		}
	})
}

var errBroken = errors.New("broken")

func asJSON(t *testing.T, b []byte) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
