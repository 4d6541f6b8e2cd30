package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"nightseg/edge/frame"
)

// SourceCloser is a Source that holds a device or a process.
type SourceCloser interface {
	Source
	Close() error
}

// Watcher looks at the delivered frames for a camera that repeats its last
// picture.
type Watcher interface {
	Frozen(f *frame.Frame) bool
}

// Limits of the ladder that brings a dead camera back.
const (
	reopenAfterFaults = 10
	reopenAfterFrozen = 5 * time.Second
	reopenPauseMin    = 100 * time.Millisecond
	reopenPauseMax    = 5 * time.Second
)

// Reopener keeps a live source alive: it opens it at the first Next, again
// after it ended, after ten faults in a row, or after five seconds of a frozen
// picture, with growing pauses. While it waits four seconds for a picture the
// service is degraded. Its Next never returns io.EOF, and counts Seq
// over all openings. The caller closes it after the loop has ended.
type Reopener struct {
	open   func(ctx context.Context) (SourceCloser, error)
	watch  Watcher
	health *Health
	part   string
	quiet  silence

	src    SourceCloser
	seq    uint64
	faults int
	wait   time.Duration
	frozen time.Duration // Mono since when the picture is frozen, 0 when it is not

	mu      sync.Mutex
	ctx     context.Context // of what next waits for, so that Restart can end it
	cancel  context.CancelFunc
	restart bool
}

// NewReopener makes a Reopener for the named camera. watch may be nil.
func NewReopener(camera string, open func(context.Context) (SourceCloser, error), w Watcher, h *Health) *Reopener {
	part := partName(camera, "camera")
	return &Reopener{open: open, watch: w, health: h, part: part, quiet: silence{health: h, part: part}}
}

// Next implements Source. All calls must have the same context.
func (r *Reopener) Next(ctx context.Context, dst *frame.Frame) error {
	for {
		wait := r.begin(ctx)
		err := r.next(wait, dst)
		if err == nil || ctx.Err() != nil || wait.Err() == nil {
			return err
		} // else Restart has ended the wait
	}
}

func (r *Reopener) next(ctx context.Context, dst *frame.Frame) error {
	if r.src == nil {
		if err := r.reopen(ctx); err != nil {
			return err
		}
	}
	r.quiet.begin()
	err := r.src.Next(ctx, dst)
	r.quiet.end()
	if err != nil {
		return r.fault(ctx, err)
	}
	r.faults, r.wait = 0, 0
	dst.Seq = r.seq
	r.seq++
	r.look(dst)
	return nil
}

// Restart closes the source and opens it anew, because what open would open has
// changed. It may be called from any goroutine, and does not wait.
func (r *Reopener) Restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restart = true
	if r.cancel != nil {
		r.cancel()
	}
}

// begin does what Restart asked for, and returns the context that it ends.
func (r *Reopener) begin(ctx context.Context) context.Context {
	r.mu.Lock()
	restart := r.restart
	r.restart = false
	if restart || r.ctx == nil {
		r.ctx, r.cancel = context.WithCancel(ctx)
	}
	wait := r.ctx
	r.mu.Unlock()
	if restart {
		r.wait = 0
		if r.src != nil {
			r.shut()
		}
	}
	return wait
}

func (r *Reopener) reopen(ctx context.Context) error {
	if !pause(ctx, r.wait) {
		return ctx.Err()
	}
	r.wait = min(max(2*r.wait, reopenPauseMin), reopenPauseMax)
	src, err := r.open(ctx)
	if err != nil {
		if ctx.Err() == nil { // else it was told to give up, which is no fault of the camera
			r.health.Set(r.part, err.Error())
		}
		return fmt.Errorf("open: %w", err)
	}
	r.src, r.faults, r.frozen = src, 0, 0
	r.quiet.of(src)
	return nil
}

func (r *Reopener) fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.faults++
	ended := errors.Is(err, io.EOF)
	if ended {
		err = errors.New("the source ended; it will be opened again")
	}
	if ended || r.faults >= reopenAfterFaults {
		r.health.Set(r.part, err.Error())
		r.shut()
	}
	return err
}

// look marks frames of a frozen camera and gives it up after a while.
func (r *Reopener) look(f *frame.Frame) {
	if r.watch == nil || !r.watch.Frozen(f) {
		r.frozen = 0
		r.health.Clear(r.part)
		return
	}
	f.Flags |= frame.FlagFrozen
	if r.frozen == 0 {
		r.frozen = f.Mono
	}
	r.health.Set(r.part, "the camera repeats its last picture")
	if f.Mono-r.frozen >= reopenAfterFrozen {
		r.shut()
	}
}

func (r *Reopener) shut() {
	if err := r.src.Close(); err != nil {
		r.health.Log(r.part, fmt.Errorf("close: %w", err))
	}
	r.src = nil
}

// Close closes the source that is open, if any. It may be called twice, and
// not while Next runs.
func (r *Reopener) Close() error {
	r.mu.Lock()
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	if r.src == nil {
		return nil
	}
	err := r.src.Close()
	r.src = nil
	return err
}
