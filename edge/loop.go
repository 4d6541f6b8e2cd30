// Package edge is the camera loop: it takes frames from a source, has them
// relit, segmented, decided, encoded and published, and keeps count of
// everything that happens on the way.
//
// The goroutines of one Loop, all started and waited for by Run:
//
//	capture   Source.Next                         -> one-frame buffer
//	plan      Relighter.Plan                      -> the next idle worker
//	worker    Inferer.Infer; one, or Options.Parallel of them
//	send      Decider.Decide, Encoder, Publisher, in the order of the frames
//
// A live loop keeps the newest frame: when the networks are still busy, the
// waiting frame is dropped, counted, and the drop is told to the next one. A
// lossless loop makes the source wait. Frames, logits and masks are recycled;
// after the first frames nothing is allocated.
package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"nightseg/edge/alive"
	"nightseg/edge/frame"
)

// Loop is one camera's loop. Make it with New, run it once with Run.
type Loop struct {
	stages  Stages
	opts    Options
	stats   *Recorder
	changes chan *pendingChange
	done    chan struct{}

	partSource, partNetworks string // names in the health

	marks struct{ capture, plan, send *alive.Thread }

	frames  chan *frame.Frame // free
	packets chan *packet      // free
	idle    chan struct{}     // a token for each worker that has nothing to do
	waiting chan *frame.Frame
	work    chan *packet
	planned chan *packet // in the order of the frames, whether inferred yet or not
}

type pendingChange struct {
	Change
	applied chan struct{}
}

// packet is a frame on its way from the relighter to the send stage, or a change.
type packet struct {
	src    *frame.Frame // as captured
	shown  *frame.Frame // what the segmentation saw when the relighter made a new picture, else nil
	relit  *frame.Frame // what the relight network made, else nil
	logits frame.Logits
	done   chan bool // whether the networks took the frame, once they have
	change *pendingChange
}

// New joins the stages to a loop. Every stage but Tap must be given.
func New(s Stages, o Options) (*Loop, error) {
	switch {
	case s.Source == nil, s.Relight == nil, s.Infer == nil, s.Decide == nil, s.Encode == nil, s.Publish == nil:
		return nil, errors.New("edge: a stage is missing")
	case o.KeepRelit && s.Tap == nil:
		return nil, errors.New("edge: relit pictures are to be kept but there is no tap to see them")
	}
	if _, ok := s.Infer.(Relit); o.KeepRelit && !ok {
		return nil, errors.New("edge: this engine cannot show relit pictures")
	}
	o.Parallel = max(o.Parallel, 1)
	if o.KeepRelit && o.Parallel > 1 {
		return nil, errors.New("edge: relit pictures can be kept of one frame at a time only")
	}
	if o.Grace <= 0 {
		o.Grace = 2 * time.Second
	}
	if o.Health == nil {
		o.Health = NewHealth(nil)
	}
	if o.Policy == Lossless {
		o.Alive = nil
	}
	l := &Loop{
		stages:  s,
		opts:    o,
		stats:   NewRecorder(),
		changes: make(chan *pendingChange),

		partSource:   partName(o.Camera, "source"),
		partNetworks: partName(o.Camera, "networks"),

		done: make(chan struct{}),
		// Each packet has up to three; besides there are those of capture, buffer and relighter.
		frames:  make(chan *frame.Frame, 3*(o.Parallel+waitingPackets)+3),
		packets: make(chan *packet, o.Parallel+waitingPackets),
		idle:    make(chan struct{}, o.Parallel),
		waiting: make(chan *frame.Frame, 1),
		work:    make(chan *packet, o.Parallel),
		planned: make(chan *packet, o.Parallel+waitingPackets),
	}
	l.marks.capture = o.Alive.Thread(partName(o.Camera, "capture"))
	l.marks.plan = o.Alive.Thread(partName(o.Camera, "relight"))
	l.marks.send = o.Alive.Thread(partName(o.Camera, "send"))
	for range cap(l.frames) {
		l.frames <- new(frame.Frame)
	}
	for range cap(l.packets) {
		l.packets <- &packet{done: make(chan bool, 1)}
	}
	for range o.Parallel {
		l.idle <- struct{}{}
	}
	return l, nil
}

// waitingPackets is how many packets there are beside those of the workers: one
// that is being sent and one that waits for that.
const waitingPackets = 2

// Stats returns the loop's recorder.
func (l *Loop) Stats() *Recorder { return l.stats }

// Apply brings a change into force between two frames and returns when it is,
// or with an error when the loop has ended or ctx is done first.
func (l *Loop) Apply(ctx context.Context, c Change) error {
	p := &pendingChange{Change: c, applied: make(chan struct{})}
	select {
	case l.changes <- p:
	case <-l.done:
		return errors.New("edge: the loop has ended")
	case <-ctx.Done():
		return fmt.Errorf("edge: apply a change: %w", ctx.Err())
	}
	select {
	case <-p.applied:
		return nil
	case <-l.done:
		return errors.New("edge: the loop has ended")
	case <-ctx.Done():
		return fmt.Errorf("edge: apply a change: %w", ctx.Err())
	}
}

// Run runs the loop until the source ends, ctx is done, or a stage fails for
// good, and returns when all its goroutines have. The frames that were under
// way at the end are still decided and published, within Grace. A source that
// ended and a ctx that is done are no error.
func (l *Loop) Run(ctx context.Context) error {
	defer close(l.done)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	drain, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() {
		t := time.AfterFunc(l.opts.Grace, cut)
		context.AfterFunc(drain, func() { t.Stop() })
	})()

	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(l.waiting)
		l.capture(ctx)
	})
	wg.Go(func() {
		defer close(l.planned)
		defer close(l.work)
		l.plan()
	})
	for range l.opts.Parallel {
		mark := l.opts.Alive.Thread(l.partNetworks)
		wg.Go(func() { l.networks(mark) })
	}
	wg.Go(func() {
		if err := l.send(drain); err != nil {
			stop(err)
		}
		for p := range l.planned { // let the stages before end
			if p.change == nil {
				<-p.done
				l.release(p)
			}
		}
	})
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) &&
		!errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// capture fills free frames from the source and hands them on.
func (l *Loop) capture(ctx context.Context) {
	clock := l.stats.thread(l.opts.CPUClock)
	defer clock.end()
	mark := l.marks.capture
	defer mark.Wait()
	faults := 0
	for {
		mark.Work()
		f := <-l.frames
		clock.start()
		mark.Wait() // a camera may stay away: whoever reads it looks after that
		err := l.stages.Source.Next(ctx, f)
		mark.Work()
		switch {
		case err == nil:
			faults = 0
			l.opts.Health.Clear(l.partSource)
		case errors.Is(err, io.EOF) || ctx.Err() != nil:
			l.frames <- f
			return
		default:
			l.frames <- f
			l.stats.Drop(DropSource)
			faults++
			if faults > 1 || l.opts.Policy == Live {
				l.opts.Health.Set(l.partSource, err.Error())
			}
			l.opts.Health.Log(l.partSource, err)
			if !pause(ctx, faultPause(faults)) {
				return
			}
			continue
		}
		clock.stop(StageCapture)
		l.stats.captured.Add(1)
		if !l.hand(ctx, f) {
			return
		}
	}
}

// hand puts a frame into the one-frame buffer before the networks.
func (l *Loop) hand(ctx context.Context, f *frame.Frame) bool {
	if l.opts.Policy == Lossless {
		select {
		case l.waiting <- f:
			return true
		case <-ctx.Done():
			l.frames <- f
			return false
		}
	}
	select {
	case l.waiting <- f:
		return true
	default:
	}
	select {
	case old := <-l.waiting:
		f.DroppedBefore += old.DroppedBefore + 1
		l.stats.Drop(DropOverrun)
		l.frames <- old
	default: // the networks took it in between
	}
	l.waiting <- f // the buffer is empty and this is the only writer
	return true
}

// send decides, encodes and publishes until the networks have ended.
func (l *Loop) send(ctx context.Context) error {
	clock := l.stats.thread(l.opts.CPUClock)
	defer clock.end()
	var mask frame.Mask
	var payload []byte
	mark := l.marks.send
	defer mark.Wait()
	for {
		mark.Wait()
		p, ok := <-l.planned
		if !ok {
			return nil
		}
		mark.Work()
		if p.change != nil {
			if p.change.Send != nil {
				p.change.Send()
			}
			close(p.change.applied)
			continue
		}
		if !<-p.done {
			l.release(p)
			continue
		}
		var err error
		payload, err = l.sendOne(ctx, clock, &mask, payload, p)
		l.release(p)
		if err != nil {
			return err
		}
	}
}

func (l *Loop) sendOne(ctx context.Context, clock *threadClock, m *frame.Mask, buf []byte, p *packet) ([]byte, error) {
	clock.start()
	if err := l.stages.Decide.Decide(m, &p.logits); err != nil {
		l.drop(DropDecide, "decide", err)
		return buf, nil
	}
	clock.stop(StageDecide)
	l.stats.mask(m)
	clock.start()
	out, err := l.stages.Encode.Append(buf[:0], m)
	if err != nil {
		l.drop(DropEncode, "encode", err)
		return buf, nil
	}
	clock.stop(StageEncode)
	clock.start()
	if err := l.stages.Publish.Publish(ctx, m, out); err != nil {
		l.drop(DropPublish, "publish", err)
		if l.opts.Policy == Lossless {
			return out, fmt.Errorf("publish: frame %d: %w", m.Seq, err)
		}
		return out, nil
	}
	clock.stop(StagePublish)
	l.stats.published(m, len(out))
	if l.stages.Tap != nil {
		shown := p.shown
		if p.relit != nil {
			shown = p.relit
		}
		if err := l.stages.Tap.See(p.src, shown, m); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (l *Loop) drop(why Drop, stage string, err error) {
	l.stats.Drop(why)
	l.opts.Health.Log(stage, err)
}
