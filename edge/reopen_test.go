package edge_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge"
	"nightseg/edge/frame"
)

type camera struct {
	source
	closed int
}

func (c *camera) Close() error { c.closed++; return nil }

type watcher struct{ frozen bool }

func (s *watcher) Frozen(*frame.Frame) bool { return s.frozen }

func TestReopenerBringsACameraBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := edge.NewHealth(nil)
		opened, refuse := 0, 2
		var cams []*camera
		r := edge.NewReopener("front", func(context.Context) (edge.SourceCloser, error) {
			opened++
			if refuse > 0 {
				refuse--
				return nil, errors.New("no such device")
			}
			c := &camera{source: source{n: 3, period: 10 * time.Millisecond}}
			cams = append(cams, c)
			return c, nil
		}, nil, h)
		var f frame.Frame
		var seqs []uint64
		for range 12 {
			if err := r.Next(t.Context(), &f); err == nil {
				seqs = append(seqs, f.Seq)
			}
		}
		for i, s := range seqs {
			if s != uint64(i) {
				t.Errorf("frame %d has Seq %d after a reopening", i, s)
			}
		}
		if len(seqs) < 6 || opened < 4 || cams[0].closed != 1 {
			t.Errorf("%d frames, opened %d times, first closed %d times", len(seqs), opened, cams[0].closed)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestReopenerPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		r := edge.NewReopener("front", func(context.Context) (edge.SourceCloser, error) {
			opened++
			return nil, errors.New("no such device")
		}, nil, edge.NewHealth(nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var f frame.Frame
		for ctx.Err() == nil {
			if err := r.Next(ctx, &f); err == nil {
				t.Fatal("a frame from a device that does not exist")
			}
		}
		if opened < 10 || opened > 30 {
			t.Errorf("opened %d times within a minute", opened)
		}
	})
}

// A service that stops while a camera is being opened is not degraded by that.
func TestReopenerStopsInTheMiddleOfOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := edge.NewHealth(nil)
		r := edge.NewReopener("front", func(ctx context.Context) (edge.SourceCloser, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, nil, h)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var f frame.Frame
		if err := r.Next(ctx, &f); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if degraded, reason := h.State(); degraded {
			t.Errorf("degraded: %s", reason)
		}
	})
}

func TestReopenerGivesAFrozenCameraUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := edge.NewHealth(nil)
		opened := 0
		w := &watcher{}
		r := edge.NewReopener("front", func(context.Context) (edge.SourceCloser, error) {
			opened++
			return &camera{source: source{n: 1 << 20, period: 50 * time.Millisecond}}, nil
		}, w, h)
		var f frame.Frame
		next := func(n int) {
			for range n {
				if err := r.Next(t.Context(), &f); err != nil {
					t.Fatal(err)
				}
				f.Mono = 0
			}
		}
		next(3)
		w.frozen = true
		next(1)
		if bad, _ := h.State(); !bad || f.Flags&frame.FlagFrozen == 0 {
			t.Error("a frozen picture is not told")
		}
		w.frozen = false
		next(1)
		if bad, reason := h.State(); bad {
			t.Errorf("still degraded: %s", reason)
		}
		if opened != 1 {
			t.Errorf("opened %d times", opened)
		}
	})
}

func TestReopenerRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := edge.NewHealth(nil)
		var opened []*camera
		var n atomic.Int32 // frames until a camera says nothing more
		n.Store(5)
		r := edge.NewReopener("front", func(ctx context.Context) (edge.SourceCloser, error) {
			if n.Load() == 0 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			c := &camera{source: source{n: int(n.Load()), period: 10 * time.Millisecond, hang: true}}
			opened = append(opened, c)
			return c, nil
		}, nil, h)
		var f frame.Frame
		next := func(n int) {
			t.Helper()
			for range n {
				if err := r.Next(t.Context(), &f); err != nil {
					t.Fatal(err)
				}
			}
		}
		next(3)
		r.Restart() // between two frames
		next(1)
		if len(opened) != 2 || opened[0].closed != 1 || f.Seq != 3 {
			t.Fatalf("opened %d times, frame %d", len(opened), f.Seq)
		}
		next(4)
		go func() {
			<-time.After(time.Minute) // on the clock of the test: Next waits for a camera that hangs
			n.Store(0)
			r.Restart()
			<-time.After(time.Minute) // ... and now in open
			n.Store(5)
			r.Restart()
		}()
		next(1)
		if len(opened) != 3 || opened[1].closed != 1 || f.Seq != 8 {
			t.Errorf("opened %d times, frame %d", len(opened), f.Seq)
		}
		if bad, reason := h.State(); bad {
			t.Errorf("degraded: %s", reason)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}
