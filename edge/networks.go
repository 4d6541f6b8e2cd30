package edge

import (
	"fmt"

	"nightseg/edge/alive"
	"nightseg/edge/frame"
)

// plan relights and hands frames to the workers. Each pass takes a frame or a
// change. A frame is taken when a worker is free for it, not before: until then
// a live loop may replace it by a newer one.
func (l *Loop) plan() {
	clock := l.stats.thread(l.opts.CPUClock)
	defer clock.end()
	mark := l.marks.plan
	defer mark.Wait()
	for {
		mark.Work()
		p := <-l.packets
		<-l.idle
		mark.Wait()
		select {
		case c := <-l.changes:
			mark.Work()
			l.packets <- p
			l.idle <- struct{}{}
			l.change(c)
		case f, ok := <-l.waiting:
			if !ok {
				return
			}
			mark.Work()
			p.src = f
			if !l.relight(clock, p) {
				l.idle <- struct{}{}
				l.release(p)
				continue
			}
			l.planned <- p
			l.work <- p
		}
	}
}

// change brings a change into force while no frame is in the networks.
func (l *Loop) change(c *pendingChange) {
	for range l.opts.Parallel {
		<-l.idle
	}
	if c.Networks != nil {
		c.Networks()
	}
	for range l.opts.Parallel {
		l.idle <- struct{}{}
	}
	l.planned <- &packet{change: c}
}

// relight lets the relighter plan a packet's frame.
func (l *Loop) relight(clock *threadClock, p *packet) bool {
	clock.start()
	scratch := <-l.frames
	shown, err := l.stages.Relight.Plan(scratch, p.src)
	if err != nil {
		l.frames <- scratch
		l.refuse(p, DropRelight, "relight", err)
		return false
	}
	if shown == p.src {
		l.frames <- scratch
	} else {
		p.shown = shown
	}
	clock.stop(StageRelight)
	return true
}

// networks is a worker: it takes packets through the networks.
func (l *Loop) networks(mark *alive.Thread) {
	clock := l.stats.thread(l.opts.CPUClock)
	defer clock.end()
	for {
		mark.Wait()
		p, ok := <-l.work
		if !ok {
			return
		}
		mark.Work()
		took := l.infer(clock, p)
		l.idle <- struct{}{}
		p.done <- took
	}
}

func (l *Loop) infer(clock *threadClock, p *packet) bool {
	shown := p.shown
	if shown == nil {
		shown = p.src
	}
	clock.start()
	if err := l.stages.Infer.Infer(&p.logits, shown); err != nil {
		l.refuse(p, DropInfer, "networks", err)
		return false
	}
	clock.stop(StageInfer)
	l.opts.Health.Clear(l.partNetworks)
	if l.opts.KeepRelit && shown.Relight == frame.RelightNetwork {
		p.relit = <-l.frames
		if err := l.stages.Infer.(Relit).Relit(p.relit); err != nil {
			l.refuse(p, DropInfer, "relit picture", err)
			return false
		}
	}
	return true
}

// refuse counts a frame that a stage could not take.
func (l *Loop) refuse(p *packet, why Drop, stage string, err error) {
	l.stats.Drop(why)
	l.opts.Health.Set(l.partNetworks, stage+": "+err.Error())
	l.opts.Health.Log(l.partNetworks, fmt.Errorf("%s: frame %d refused: %w", stage, p.src.Seq, err))
}

// release gives back a packet with its frames.
func (l *Loop) release(p *packet) {
	for _, f := range [...]*frame.Frame{p.src, p.shown, p.relit} {
		if f != nil {
			l.frames <- f
		}
	}
	p.src, p.shown, p.relit = nil, nil, nil
	l.packets <- p
}
