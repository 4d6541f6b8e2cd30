package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"nightseg/camera"
	"nightseg/camera/control"
	"nightseg/camera/v4l2"
	"nightseg/edge"
	"nightseg/edge/settings"
)

// Times of the control of a camera.
const (
	nightStep   = 250 * time.Millisecond
	nightSettle = 120 * time.Millisecond // pictures that were under way when it was set
	nightAgain  = 5 * time.Second        // it is set again, as another program or a plug may have changed it
	nightReopen = 2 * time.Second
)

// nightCamera is a camera whose exposure and gain are set.
type nightCamera struct {
	control.Camera
	now   control.Values
	set   func(control.Values) error
	close func() error
}

// openNight opens the controls of a V4L2 camera.
func openNight(path string) (*nightCamera, error) {
	c, err := v4l2.Open(path)
	if err != nil {
		return nil, err
	}
	n := &nightCamera{close: c.Close, set: func(v control.Values) error { return c.Set(v.Exposure, v.Gain) }}
	n.ShortestExposure, n.LongestExposure = c.Exposure()
	n.Unit, n.HasGain = v4l2.Unit, c.HasGain()
	if n.now.Exposure, n.now.Gain, err = c.Now(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return n, nil
}

// nightWish is how a camera is to be controlled.
type nightWish struct {
	settings.Night
	device string // "": it has no controls
}

// nightControl sets exposure and gain of one camera, in a goroutine of its own: a camera may
// take long to answer.
type nightControl struct {
	part   string // in the health
	health *edge.Health
	open   func(path string) (*nightCamera, error)
	wish   atomic.Pointer[nightWish]
	wake   chan struct{}

	now atomic.Pointer[control.Values] // in force; nil: not known

	mu    sync.Mutex
	sum   float64 // of the lumas since it was asked for
	n     int
	since time.Time // when what is in force was set
}

func newNightControl(c settings.Camera, h *edge.Health) *nightControl {
	n := &nightControl{part: "camera " + c.ID + " night", health: h, open: openNight, wake: make(chan struct{}, 1)}
	n.change(c)
	return n
}

// change says how the camera is to be controlled from now on. It does not wait.
func (n *nightControl) change(c settings.Camera) {
	w := &nightWish{Night: c.Night}
	w.device, _ = camera.Device(c.Source)
	if old := n.wish.Swap(w); old != nil && *old == *w {
		return
	}
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// see takes the luma of a frame.
func (n *nightControl) see(luma float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.since.IsZero() || time.Since(n.since) < nightSettle {
		return
	}
	n.sum += luma
	n.n++
}

// mean is the mean luma since the last call; ok is false where there was no frame.
func (n *nightControl) mean() (luma float64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	sum, count := n.sum, n.n
	n.sum, n.n = 0, 0
	return sum / max(float64(count), 1), count > 0
}

// values are those in force, 0 where they are not known.
func (n *nightControl) values() (exposure time.Duration, gain float32) {
	if v := n.now.Load(); v != nil {
		return v.Exposure, float32(v.Gain)
	}
	return 0, 0
}

// run controls the camera until ctx is done; then it is given back to itself.
func (n *nightControl) run(ctx context.Context) {
	for ctx.Err() == nil {
		w := n.wish.Load()
		if w.Mode == settings.NightOff || w.Mode == "" {
			n.health.Clear(n.part)
			n.wait(ctx, 0)
			continue
		}
		if err := n.hold(ctx, w); err != nil {
			n.health.Set(n.part, err.Error())
			n.health.Log(n.part, err)
			n.wait(ctx, nightReopen)
		}
	}
}

// wait waits for a change of the wish, or for d where that is not 0.
func (n *nightControl) wait(ctx context.Context, d time.Duration) {
	var over <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-ctx.Done():
	case <-n.wake:
	case <-over:
	}
}

// hold opens the camera and controls it, until it is to be let go, or another one is meant.
func (n *nightControl) hold(ctx context.Context, w *nightWish) (err error) {
	if w.device == "" {
		return errors.New("exposure and gain of V4L2 cameras alone can be set: set night.mode to off")
	}
	cam, err := n.open(w.device)
	if err != nil {
		return err
	}
	k := control.New(cam.Camera, w.control(), cam.now)
	defer func() {
		n.now.Store(nil)
		n.set(time.Time{})
		err = errors.Join(err, cam.close())
	}()
	tick := time.NewTicker(nightStep)
	defer tick.Stop()
	device, last := w.device, time.Time{}
	for changed := true; ; {
		if changed || time.Since(last) >= nightAgain {
			if err := cam.set(k.Values()); err != nil {
				return fmt.Errorf("%s: %w", device, err)
			}
			last = time.Now()
			if changed {
				v := k.Values()
				n.now.Store(&v)
				n.set(last)
			}
			n.tell(cam)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
			if w = n.wish.Load(); w.Mode == settings.NightOff || w.device != device {
				return nil
			}
			k.Apply(w.control())
			changed = true
		case <-tick.C:
			luma, ok := n.mean()
			changed = false
			if ok {
				_, changed = k.Next(luma)
			}
		}
	}
}

// set notes when the camera was set; pictures from before do not count.
func (n *nightControl) set(at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.since, n.sum, n.n = at, 0, 0
}

// tell says what of the camera cannot be controlled.
func (n *nightControl) tell(c *nightCamera) {
	why := ""
	if c.LongestExposure <= 0 {
		why = "the camera lets its gain be set, but not its exposure: what moves may smear"
	}
	n.health.Note(n.part, why)
}

// control are the settings in the words of the controller.
func (w *nightWish) control() control.Settings {
	return control.Settings{
		Exposure: time.Duration(w.Exposure * float64(time.Millisecond)), Gain: w.Gain, Target: w.Target,
		Manual: w.Mode == settings.NightManual,
	}
}
