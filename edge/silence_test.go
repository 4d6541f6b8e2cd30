package edge_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge"
	"nightseg/edge/frame"
)

// plug is a camera whose pictures come when they are allowed to, and which may know
// why they do not.
type plug struct {
	camera
	pictures chan struct{}
	why      func() error
	each     time.Duration
}

func (p *plug) Next(ctx context.Context, dst *frame.Frame) error {
	select {
	case <-p.pictures:
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.source.Next(ctx, dst)
}

func (p *plug) Trouble() error        { return p.why() }
func (p *plug) Period() time.Duration { return p.each }

// TestReopenerTellsOfSilence: a camera that is waited for makes degraded within five
// seconds, with the reason where one is known, and nothing else is done about it.
func TestReopenerTellsOfSilence(t *testing.T) {
	out := errors.New("the cable is out")
	for name, c := range map[string]struct {
		each, after time.Duration
		why         error
		want        string
	}{
		"without a reason": {0, 5 * time.Second, nil, "camera front camera: no picture for 4s"},
		"with one":         {0, 5 * time.Second, out, "camera front camera: no picture for 4s: the cable is out"},
		"not yet":          {0, 3 * time.Second, out, ""},
		"rare pictures":    {10 * time.Second, 29 * time.Second, out, ""},
		"rare, but gone":   {10 * time.Second, 31 * time.Second, nil, "camera front camera: no picture for 30s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := edge.NewHealth(nil)
				p := &plug{camera: camera{source: source{n: 100}}, pictures: make(chan struct{}), each: c.each}
				p.why = func() error { return c.why }
				opened := 0
				r := edge.NewReopener("front", func(context.Context) (edge.SourceCloser, error) {
					opened++
					return p, nil
				}, nil, h)
				taken := make(chan error)
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					var f frame.Frame
					for err := error(nil); err == nil; {
						err = r.Next(ctx, &f)
						taken <- err
					}
				}()
				next := func() {
					p.pictures <- struct{}{}
					if err := <-taken; err != nil {
						t.Fatal(err)
					}
				}
				for range 3 {
					<-time.After(max(c.each, time.Second))
					next()
				}
				<-time.After(c.after)
				synctest.Wait()
				if _, reason := h.State(); reason != c.want {
					t.Errorf("the reason is %q, want %q", reason, c.want)
				}
				next()
				if bad, reason := h.State(); bad {
					t.Errorf("still degraded with a picture: %s", reason)
				}
				cancel()
				if err := <-taken; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				<-time.After(time.Minute) // nobody waits any more
				if bad, reason := h.State(); bad || opened != 1 || p.closed != 0 {
					t.Errorf("%q, opened %d times, closed %d times", reason, opened, p.closed)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestReopenerTellsOfAnotherReason: what is known of a silence may come later.
func TestReopenerTellsOfAnotherReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := edge.NewHealth(nil)
		var reasons []string
		begun := time.Now()
		p := &plug{pictures: make(chan struct{}), why: func() error {
			if time.Since(begun) < 6*time.Second {
				return nil
			}
			return errors.New("no such camera")
		}}
		r := edge.NewReopener("front", func(context.Context) (edge.SourceCloser, error) { return p, nil }, nil, h)
		ctx, cancel := context.WithTimeout(t.Context(), 11*time.Second)
		defer cancel()
		ended := make(chan error)
		go func() { ended <- r.Next(ctx, new(frame.Frame)) }()
		for _, wait := range []time.Duration{5, 5} {
			<-time.After(wait * time.Second)
			synctest.Wait()
			_, reason := h.State()
			reasons = append(reasons, reason)
		}
		<-ended
		if reasons[0] != "camera front camera: no picture for 4s" ||
			reasons[1] != "camera front camera: no picture for 4s: no such camera" {
			t.Errorf("%q", reasons)
		}
	})
}

// TestReopenerAllocatesNothing per picture.
func TestReopenerAllocatesNothing(t *testing.T) {
	p := &plug{camera: camera{source: source{n: 1 << 30}}, pictures: make(chan struct{}, 1)}
	p.why = func() error { return nil }
	r := edge.NewReopener("front", func(context.Context) (edge.SourceCloser, error) { return p, nil },
		nil, edge.NewHealth(nil))
	var f frame.Frame
	if n := testing.AllocsPerRun(1000, func() {
		p.pictures <- struct{}{}
		if err := r.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
