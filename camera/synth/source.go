package synth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"nightseg/edge/frame"
)

// ErrNoLabels says that the labels of a frame are not (or no longer) kept.
var ErrNoLabels = errors.New("labels are not kept")

var errClosed = errors.New("source is closed")

// Source plays a drive as a camera.
//
// Without Realtime every frame of the drive is drawn as it is asked for, which
// takes tens of milliseconds. With Realtime the source plays a loop: the first
// LoopFrames frames, drawn once in the background and shown to and fro (0, 1,
// ..., last, last-1, ..., 1, 0, 1, ...), so that motion never jumps and a frame
// costs a copy. While the loop is being drawn, what is there already is shown
// to and fro.
//
// Next is for one goroutine; LabelsFor and Close may be called from others.
type Source struct {
	o      SourceOptions
	name   string
	period time.Duration
	timer  *time.Timer
	due    time.Time // of the next frame, after the first
	n      int       // number of the next frame, lost ones counted
	seq    uint64
	lost   uint32

	r    *Renderer // without Realtime
	loop *loop     // with Realtime

	mu     sync.Mutex // a frame is copied, and memory given back, under it
	closed bool
	kept   []keptLabels
}

// keptLabels are those of a frame: in the loop, or a copy.
type keptLabels struct {
	seq    uint64
	valid  bool
	at     int // number in the loop
	labels []uint8
}

// Open opens the source of a query such as "seed=1&size=640x480&time=night":
// what follows the ? of a synth:// URI.
func Open(query string, realtime bool) (*Source, error) {
	o, err := ParseQuery(query)
	if err != nil {
		return nil, err
	}
	o.Realtime = realtime
	return NewSource(o)
}

// NewSource opens a source. With Realtime it returns at once and the drive is
// drawn in the background until Close; else it bakes the drive's textures, which
// takes about a quarter of a second.
func NewSource(o SourceOptions) (*Source, error) {
	if o.Frames < 0 || o.KeepLabels < 0 {
		return nil, fmt.Errorf("synth: frames %d and kept labels %d must not be below 0", o.Frames, o.KeepLabels)
	}
	if o.LoopFrames < 0 || o.LoopFrames == 1 || o.LoopFrames > MaxLoop {
		return nil, fmt.Errorf("synth: loop of %d frames: it has 2 to %d, or 0 for %d", o.LoopFrames, MaxLoop, DefaultLoop)
	}
	o.Params = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("synth: %w", err)
	}
	s := &Source{
		o: o, name: fmt.Sprintf("synth%06d-%s-%s", o.Seed, o.layout(), o.Time),
		period: time.Duration(float64(time.Second) / o.FPS), timer: time.NewTimer(time.Hour),
		kept: make([]keptLabels, o.KeepLabels),
	}
	s.timer.Stop()
	if err := s.openDrive(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Source) openDrive() (err error) {
	o := &s.o
	if !o.Realtime {
		for i := range s.kept {
			s.kept[i].labels = make([]uint8, o.W*o.H)
		}
		s.r, err = New(o.Params)
		return err
	}
	if o.LoopFrames == 0 {
		o.LoopFrames = DefaultLoop
	}
	if s.loop, err = newLoop(o.Params, o.LoopFrames, o.KeepLabels > 0); err != nil {
		return err
	}
	o.LoopFrames = s.loop.frames
	return nil
}

// Options returns the options with their defaults filled in and the length
// that the loop has.
func (s *Source) Options() SourceOptions { return s.o }

// Drawn returns when a Realtime source has drawn its whole loop, from when on a
// frame costs a copy: networks that run beside are slowed down until then. It
// returns at once without Realtime.
func (s *Source) Drawn(ctx context.Context) error {
	if s.loop == nil {
		return nil
	}
	return s.loop.wait(ctx, s.loop.frames)
}

// Next writes the next frame into dst; io.EOF ends a drive of limited length.
// With Realtime it returns at the frame's time: frames that nobody fetched are
// skipped and counted in DroppedBefore of the next.
func (s *Source) Next(ctx context.Context, dst *frame.Frame) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	if s.isClosed() {
		return fmt.Errorf("synth: %w", errClosed)
	}
	if s.o.Frames > 0 && s.n >= s.o.Frames {
		if !s.o.Repeat {
			return io.EOF
		}
		s.n = 0
	}
	if !s.o.Realtime {
		return s.nextDrawn(dst)
	}
	if err := s.loop.wait(ctx, firstFrames); err != nil {
		if s.isClosed() {
			return fmt.Errorf("synth: %w", errClosed)
		}
		return err
	}
	if err := s.pace(ctx); err != nil {
		return err
	}
	return s.nextPlayed(dst)
}

func (s *Source) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Source) nextDrawn(dst *frame.Frame) error {
	if err := s.r.Render(dst, nil, s.n); err != nil {
		return err
	}
	s.mu.Lock()
	if len(s.kept) > 0 {
		k := &s.kept[s.seq%uint64(len(s.kept))]
		k.seq, k.valid = s.seq, true
		copy(k.labels, s.r.g.label)
	}
	s.mu.Unlock()
	s.fillMeta(dst, meanLuma(dst.Pix))
	return nil
}

func (s *Source) nextPlayed(dst *frame.Frame) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("synth: %w", errClosed)
	}
	at := s.loop.play(dst)
	if len(s.kept) > 0 {
		s.kept[s.seq%uint64(len(s.kept))] = keptLabels{seq: s.seq, valid: true, at: at}
	}
	s.mu.Unlock()
	s.fillMeta(dst, s.loop.luma[at])
	return nil
}

// pace waits for the frame's time. When that has passed by a period or more,
// the frames between are lost, and so is their place in the drive.
func (s *Source) pace(ctx context.Context) error {
	now := time.Now()
	if s.seq == 0 {
		s.due = now
	}
	late := int64(0)
	if wait := s.due.Sub(now); wait > 0 {
		s.timer.Reset(wait)
		select {
		case <-s.timer.C:
		case <-ctx.Done():
			s.timer.Stop()
			return fmt.Errorf("synth: %w", ctx.Err())
		}
	} else {
		late = int64(-wait / s.period)
	}
	s.lost = uint32(late)
	s.due = s.due.Add(time.Duration(late+1) * s.period)
	if s.seq > 0 {
		s.loop.advance(int(late) + 1)
	}
	s.n += int(late)
	return nil
}

// fillMeta describes the frame and goes on to the next.
func (s *Source) fillMeta(f *frame.Frame, luma float32) {
	f.Meta = frame.Meta{
		Seq: s.seq, SourceW: f.W, SourceH: f.H, ToSource: frame.Affine{A: 1, E: 1}, Valid: frame.Rect{X1: f.W, Y1: f.H},
		Name: s.name, Luma: luma, DroppedBefore: s.lost,
	}
	f.Stamp()
	s.lost = 0
	s.n++
	s.seq++
}

// meanLuma returns the mean Rec.709 luma of packed RGB, 0..255.
func meanLuma(pix []byte) float32 {
	var r, g, b uint64
	for i := 0; i+2 < len(pix); i += 3 {
		r, g, b = r+uint64(pix[i]), g+uint64(pix[i+1]), b+uint64(pix[i+2])
	}
	n := max(uint64(len(pix)/3), 1)
	return float32(float64(2126*r+7152*g+722*b) / float64(10000*n))
}

// LabelsFor writes the labels of a delivered frame: a class (below ClassCount)
// or Unknown per pixel, rows from the top. Only the latest KeepLabels frames
// can be asked for; others give ErrNoLabels.
func (s *Source) LabelsFor(seq uint64, dst []uint8) error {
	if len(dst) != s.o.W*s.o.H {
		return fmt.Errorf("synth: room for %d labels, %d needed", len(dst), s.o.W*s.o.H)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) == 0 || s.closed && s.loop != nil {
		return fmt.Errorf("synth: frame %d: %w", seq, ErrNoLabels)
	}
	k := &s.kept[seq%uint64(len(s.kept))]
	if !k.valid || k.seq != seq {
		return fmt.Errorf("synth: frame %d: %w", seq, ErrNoLabels)
	}
	if s.loop == nil {
		copy(dst, k.labels)
		return nil
	}
	_, packed := s.loop.parts(k.at)
	unpack(dst, packed)
	return nil
}

// Close ends the source, waits for what draws in the background (a frame's
// time at most) and gives the loop's memory back. It may be called twice.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.loop == nil {
		return nil
	}
	return s.loop.close()
}
