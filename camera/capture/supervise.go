package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"nightseg/camera/capture/ring"
)

// verdict is how a process ended, or why it must.
type verdict struct {
	reason string // a counter, empty where final
	err    error
	final  bool // starting again would not help
	seen   bool // the device was open
}

// supervise runs one process after another until the recording is over, the
// budget is spent or the source is closed.
func (s *Source) supervise(ctx context.Context) {
	defer close(s.done)
	b := budget{lim: &s.lim, live: s.opt.Kind != ring.KindFile}
	opened := false
	for {
		begin := time.Now()
		v := s.session(ctx)
		opened = opened || v.seen
		if ctx.Err() != nil {
			s.finish(errClosed)
			return
		}
		if v.final || !opened {
			s.finish(v.err)
			return
		}
		pause, err := b.spend(s.reached(), time.Since(begin), v.err)
		if err != nil {
			s.finish(err)
			return
		}
		s.troubled(v.err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			s.count(v.reason)
		}
	}
}

// session runs one process from its start until it is reaped.
func (s *Source) session(ctx context.Context) verdict {
	if ctx.Err() != nil {
		return verdict{final: true, err: errClosed}
	}
	s.mu.Lock()
	conf := s.conf
	conf.Skip = s.restart()
	s.mu.Unlock()
	c, err := start(s.cmd, s.env, &conf, s.memory)
	if err != nil {
		return verdict{reason: CountStart, err: err}
	}
	s.mu.Lock()
	s.child = c
	s.mu.Unlock()

	stop := context.AfterFunc(ctx, c.interrupt)
	r := &reader{s: s, c: c, conf: &conf, next: conf.Skip}
	v := r.run(ctx)
	stop()
	patience := s.lim.grace
	switch v.reason {
	case CountSilent, CountStuck, CountGarbage:
		patience = 0
	}
	reaped := c.end(patience, s.lim.reap)
	v.seen = r.open
	if v.reason == CountDied {
		v.err = c.epitaph()
	}
	if !reaped {
		// In uninterruptible sleep in a driver: the next one would find the device busy
		// or worse, and share the ring with this one.
		select {
		case <-c.exited:
		case <-ctx.Done():
		}
	}
	return v
}

// restart makes the ring the property of a new process, and returns how many
// pictures of a recording that one has to leave out.
func (s *Source) restart() uint64 {
	if s.opt.Kind == ring.KindFile {
		s.queue = s.queue[:0] // it will bring them again
		return s.next
	}
	for _, p := range s.queue {
		s.counters[CountLate]++
		s.lost += p.lost + 1
	}
	s.queue = s.queue[:0]
	return 0
}

// reached returns the number of the first picture of a recording that did not
// come.
func (s *Source) reached() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.queue); n > 0 {
		return s.queue[n-1].Seq + 1
	}
	return s.next
}

// budget decides whether a source may have one more process.
type budget struct {
	lim    *limits
	live   bool
	at     uint64 // where the last death of a recording was
	inARow int
	all    int
}

// spend returns how long to wait before the next start, or why there is none.
func (b *budget) spend(at uint64, lived time.Duration, cause error) (time.Duration, error) {
	b.all++
	switch {
	case b.live && lived >= b.lim.steady, !b.live && at > b.at:
		b.inARow = 0
	}
	b.inARow++
	b.at = at
	switch {
	case b.live && b.inARow > b.lim.live:
		return 0, fmt.Errorf("given up after %d restarts in a row: %w", b.lim.live, cause)
	case !b.live && b.inARow >= b.lim.sameSpot:
		return 0, fmt.Errorf("given up at frame %d, which ended nightseg-capture %d times "+
			"(is the recording damaged there?): %w", at, b.inARow, cause)
	case !b.live && b.all >= b.lim.file:
		return 0, fmt.Errorf("given up at frame %d, after nightseg-capture ended %d times in this recording: %w",
			at, b.all, cause)
	}
	return min(b.lim.pause<<min(b.inARow-1, 16), b.lim.maxPause), nil
}

// reader follows the records of one process.
type reader struct {
	s       *Source
	c       *child
	conf    *ring.Config
	open    bool   // the device is
	next    uint64 // number of the next picture
	dropped uint64 // by the process so far
	rec     ring.Record
}

// run reads records until the process must end, or has.
func (r *reader) run(ctx context.Context) verdict {
	buf := make([]byte, 0, 4*(ring.RecordSize+ring.MaxText))
	second := false // chance: were we stopped ourselves while records came?
	limit := r.s.lim.start
	for {
		r.c.patience(limit, second)
		n, err := r.c.records.Read(buf[len(buf):cap(buf)])
		switch {
		case ctx.Err() != nil:
			return verdict{final: true, err: errClosed}
		case isTimeout(err) && !second:
			second = true
			continue
		case isTimeout(err):
			return verdict{
				reason: CountSilent,
				err:    fmt.Errorf("nightseg-capture gave no sign of life for %v", limit),
			}
		case err != nil:
			return verdict{reason: CountDied}
		}
		second, limit = false, r.s.lim.silence
		buf = buf[:len(buf)+n]
		used, v := r.records(buf)
		if v != nil {
			return *v
		}
		buf = buf[:copy(buf, buf[used:])]
	}
}

// records handles the whole records in b and returns their length.
func (r *reader) records(b []byte) (int, *verdict) {
	used := 0
	for {
		n, err := r.rec.Parse(b[used:], r.conf)
		if errors.Is(err, ring.ErrShort) {
			return used, nil
		}
		if err != nil {
			return used, &verdict{reason: CountGarbage, err: fmt.Errorf("nightseg-capture broke the protocol: %w", err)}
		}
		used += n
		if v := r.record(&r.rec); v != nil {
			return used, v
		}
	}
}

// record handles one.
func (r *reader) record(rec *ring.Record) *verdict {
	if rec.Dropped > r.dropped {
		r.s.missed(rec.Dropped - r.dropped)
		r.dropped = rec.Dropped
	}
	switch rec.Kind {
	case ring.Hello:
		return r.hello(rec)
	case ring.Picture:
		return r.picture(rec)
	case ring.Alive:
		limit := r.s.lim.read
		if !r.open {
			limit = r.s.lim.open
		}
		if rec.Busy > limit {
			return &verdict{reason: CountStuck, err: fmt.Errorf("the device did not answer for %v", limit)}
		}
	case ring.End:
		return &verdict{final: true, err: io.EOF}
	case ring.Failure:
		// A recording fails in the same way again.
		return &verdict{
			reason: CountFailed, final: r.s.opt.Kind == ring.KindFile,
			err: fmt.Errorf("nightseg-capture: %s", rec.Text),
		}
	}
	return nil
}

func (r *reader) hello(rec *ring.Record) *verdict {
	s := r.s
	s.mu.Lock()
	s.fps = rec.FPS
	if rec.Total > 0 && rec.Total < 1<<40 {
		s.total = int(rec.Total)
	}
	s.mu.Unlock()
	r.open = true
	select {
	case <-s.opened:
	default:
		close(s.opened)
	}
	return nil
}

func (r *reader) picture(rec *ring.Record) *verdict {
	garbage := func(format string, a ...any) *verdict {
		return &verdict{reason: CountGarbage, err: fmt.Errorf("nightseg-capture broke the protocol: "+format, a...)}
	}
	switch {
	case !r.open:
		return garbage("a picture before the device was open")
	case r.s.opt.Kind == ring.KindFile && rec.Seq != r.next:
		return garbage("picture %d where %d was due", rec.Seq, r.next)
	case !r.c.lend(rec.Slot):
		return garbage("a picture in slot %d, which is not free", rec.Slot)
	}
	r.next = rec.Seq + 1
	r.s.put(rec)
	return nil
}
