package camera

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"nightseg/camera/capture"
	"nightseg/camera/capture/ring"
	"nightseg/edge/frame"
)

// RestartPrefix begins the counters that count no lost frames but capture
// processes that were started again.
const RestartPrefix = capture.RestartPrefix

func openCapture(ctx context.Context, t target, o *Options) (opening, error) {
	co := capture.Options{
		Kind: t.kind, Address: t.address, Live: t.kind != ring.KindFile,
		Width: t.w, Height: t.h, FPS: t.fps, FourCC: t.fourCC,
	}
	if co.Live {
		if o.Rate > 0 {
			co.FPS = o.Rate
		}
		s, err := capture.Open(ctx, co)
		if err != nil {
			return opening{}, err
		}
		return opening{feed: s, length: -1}, nil
	}
	v := &video{opts: co, name: filepath.Base(t.address), loop: o.Loop, past: map[string]uint64{}}
	if err := v.open(ctx); err != nil {
		return opening{}, err
	}
	in := opening{feed: v, length: v.current.Len(), rate: o.Rate}
	if o.Loop {
		in.length = -1
	}
	if in.rate == 0 {
		in.rate = v.current.FPS()
	}
	if in.rate == 0 {
		in.rate = NominalRate
	}
	return in, nil
}

// video is a recording that may start again at its end. Its counters are those
// of all passes together.
type video struct {
	opts   capture.Options
	name   string
	loop   bool
	frames int // of this pass

	mu      sync.Mutex // guards what Counters reads
	current *capture.Source
	past    map[string]uint64
}

func (v *video) open(ctx context.Context) error {
	s, err := capture.Open(ctx, v.opts)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current != nil {
		for why, n := range v.current.Counters() {
			v.past[why] += n
		}
	}
	v.current, v.frames = s, 0
	return nil
}

// Next implements feed.
func (v *video) Next(ctx context.Context, dst *frame.Frame) error {
	err := v.current.Next(ctx, dst)
	if errors.Is(err, io.EOF) && v.loop {
		if v.frames == 0 {
			return fmt.Errorf("%s has no picture", v.name)
		}
		if err := errors.Join(v.current.Close(), v.open(ctx)); err != nil {
			return err
		}
		err = v.current.Next(ctx, dst)
	}
	if err != nil {
		return err
	}
	v.frames++
	dst.Name = v.name
	return nil
}

// Counters implements feed.
func (v *video) Counters() map[string]uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.current.Counters()
	for why, n := range v.past {
		c[why] += n
	}
	return c
}

// Close implements feed.
func (v *video) Close() error { return v.current.Close() }
