package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"nightseg/camera"
	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/settings"
	"nightseg/model"
)

// play says how a recording or a made-up drive is played.
type play uint8

const (
	playMax      play = iota // as fast as frames are fetched
	playRealtime             // at its rate, every frame
	playLive                 // as a camera does, which does not wait
)

// openCamera opens a camera of the settings so that its frames have the shape
// that the bundle wants.
func openCamera(ctx context.Context, c settings.Camera, b *model.Bundle, p play) (*camera.Source, error) {
	return camera.Open(ctx, c.Source, cameraOptions(c, b, p))
}

func cameraOptions(c settings.Camera, b *model.Bundle, p play) camera.Options {
	fit := c.Fit
	if fit == "bundle" || fit == "" {
		fit = b.Resize.Fit
	}
	return camera.Options{
		ID: c.ID, Width: b.Shapes[0][1], Height: b.Shapes[0][0],
		Fit: fit, Filter: b.Resize.Filter, Antialias: b.Resize.Antialias,
		Rotate: c.Rotate, FlipH: c.FlipH, FlipV: c.FlipV,
		Rate: c.Rate, Realtime: p != playMax, Live: p == playLive, Loop: c.Loop,
	}
}

// opened is a source that a liveCamera opened.
type opened interface {
	edge.SourceCloser
	edge.Telling
	counted
	Refit(camera.Options) error
}

// liveCamera is a camera that is opened again when it fails. Its counters are
// those of all openings together.
type liveCamera struct {
	*edge.Reopener

	mu      sync.Mutex
	current opened
	past    map[string]uint64
	want    wanted
	changes int // of want
}

// wanted is what a camera is to be opened as.
type wanted struct {
	settings.Camera
	bundle *model.Bundle
}

// newLiveCamera makes a camera of a running service; open opens it once.
func newLiveCamera(
	w wanted, open func(context.Context, wanted) (opened, error), watch edge.Watcher, h *edge.Health,
) *liveCamera {
	c := &liveCamera{past: map[string]uint64{}, want: w}
	c.Reopener = edge.NewReopener(w.ID, func(ctx context.Context) (edge.SourceCloser, error) {
		c.mu.Lock()
		want, changes := c.want, c.changes
		c.mu.Unlock()
		src, err := open(ctx, want)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.current != nil {
			addCounts(c.past, c.current.Counters())
		}
		c.current = src
		if c.changes == changes {
			return src, nil
		}
		if err := src.Refit(cameraOptions(c.want.Camera, c.want.bundle, playLive)); err != nil {
			return nil, errors.Join(err, src.Close())
		}
		return src, nil
	}, watch, h)
	return c
}

// change makes the camera what is wanted now. It is opened anew only where that is
// another source, or another rate to ask of it; what is seen of it changes between
// two frames.
func (c *liveCamera) change(w wanted) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.want
	c.want = w
	c.changes++
	if w.Source != old.Source || w.Rate != old.Rate || w.Loop != old.Loop {
		c.Restart()
		return nil
	}
	if c.current == nil {
		return nil
	}
	return c.current.Refit(cameraOptions(w.Camera, w.bundle, playLive))
}

// Counters returns the frames that the camera lost, by reason.
func (c *liveCamera) Counters() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := make(map[string]uint64, len(c.past))
	addCounts(sum, c.past)
	if c.current != nil {
		addCounts(sum, c.current.Counters())
	}
	return sum
}

func addCounts(to, from map[string]uint64) {
	for why, n := range from {
		to[why] += n
	}
}

// marked is a source that ends after so many frames, and marks its frames with
// the camera, the run, and the state of the service.
type marked struct {
	edge.Source
	left     int // 0: no limit
	done     int
	camera   string
	run      string
	degraded *atomic.Bool // may be nil
}

// Next implements edge.Source.
func (s *marked) Next(ctx context.Context, dst *frame.Frame) error {
	if s.left > 0 && s.done == s.left {
		return io.EOF
	}
	if err := s.Source.Next(ctx, dst); err != nil {
		return err
	}
	s.done++
	dst.Camera, dst.Run = s.camera, s.run
	if s.degraded != nil && s.degraded.Load() {
		dst.Flags |= frame.FlagDegraded
	}
	return nil
}

// awaitSubscriber waits until someone has subscribed to the masks of a camera
// at the broker of this process, for at most d.
func awaitSubscriber(ctx context.Context, l *link, camera string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	topic := l.client.Topics().Mask(camera)
	for !l.broker.Subscribed(topic) {
		select {
		case <-ctx.Done():
			return fail(exitFailed, "nobody subscribed to %s at %s within %v", topic, l.url, d)
		case <-tick.C:
		}
	}
	return nil
}
