package camera_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/camera"
	"nightseg/edge/frame"
)

// A recording is played at its rate, all of it, also to a slow caller.
func TestPace(t *testing.T) {
	dir := t.TempDir()
	for i := range 6 {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.png", i)), painted(8, 8, grey(uint8(i))))
	}
	for name, c := range map[string]struct {
		o    camera.Options
		want []time.Duration // when each frame comes; the third is fetched 250 ms late
	}{
		"as fast as fetched": {camera.Options{Rate: 10}, []time.Duration{0, 0, 250, 250, 250, 250}},
		"10 per second":      {camera.Options{Rate: 10, Realtime: true}, []time.Duration{0, 100, 350, 450, 550, 650}},
		"50 per second":      {camera.Options{Rate: 50, Realtime: true}, []time.Duration{0, 20, 270, 290, 310, 330}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, dir, c.o)
				start := time.Now()
				var f frame.Frame
				for i, want := range c.want {
					if i == 2 {
						<-time.After(250 * time.Millisecond)
					}
					next(t, s, &f)
					if at := time.Since(start); at != want*time.Millisecond || int(f.Pix[0]) != i || f.DroppedBefore != 0 {
						t.Errorf("frame %d came at %v, want %v ms; level %d, lost %d", i, at, int64(want), f.Pix[0], f.DroppedBefore)
					}
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, camera.Options{Realtime: true})
		var f frame.Frame
		next(t, s, &f)
		start := time.Now()
		next(t, s, &f)
		if d := time.Since(start); d < time.Second/31 || d > time.Second/29 {
			t.Errorf("the second frame came after %v, want the nominal rate", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := s.Next(ctx, &f); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next with a context that ends: %v", err)
		}
	})
}

// TestPeriod: who waits for a picture knows how long that may take.
func TestPeriod(t *testing.T) {
	for _, c := range []struct {
		rate     float64
		realtime bool
		want     time.Duration
	}{{0.5, true, 2 * time.Second}, {0.5, false, 2 * time.Second}, {0, false, 0}} {
		o := camera.Options{Width: 64, Height: 48, Rate: c.rate, Realtime: c.realtime}
		s, err := camera.Open(t.Context(), "synth://?seed=1", o)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Period(); got != c.want {
			t.Errorf("%v a second, realtime %v: %v between two pictures, want %v", c.rate, c.realtime, got, c.want)
		}
		if err := errors.Join(s.Trouble(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}
