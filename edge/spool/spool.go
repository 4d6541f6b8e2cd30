package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrStopped says that Run has ended.
var ErrStopped = errors.New("the spool has stopped")

// Spool keeps messages on disk. Its methods may be called from any goroutine,
// before, during and after Run; one goroutine at a time may drain it.
type Spool struct {
	o       Options
	started atomic.Bool
	done    chan struct{} // closed when Run has ended
	wake    chan struct{} // capacity 1: there is work for Run
	ready   chan struct{} // capacity 1: there may be something to deliver
	busy    atomic.Int64  // Unix nanoseconds since when Run has been in one operation on the disk; 0: it is not

	mu        sync.Mutex // never held during an operation on the disk
	queue     queue
	lanes     [Classes]lane
	writing   [Classes]int // records that Run has taken from the queue
	stats     Stats
	reason    string        // why the disk is not well
	slowUntil time.Time     // the disk was slow
	hungry    [Classes]bool // the drainer found nothing
	turn      uint64        // calls of Rewind
	confirmed int           // since the last commit
	since     time.Time     // of the oldest of them
	flushes   []chan error
	closed    bool
	names     map[string]string // run and camera ids, so that deliveries do not allocate
}

// lane is one class between disk and drainer.
type lane struct {
	next   uint64 // number of the next record
	read   uint64 // all up to it have been read, or will never be
	oldest stamp  // of the first record that is on the disk
	out    fifo   // read and not confirmed, in order
	bytes  int    // of those
}

// finished returns the number up to which all records are confirmed or dropped.
func (l *lane) finished() uint64 {
	if l.out.len() > 0 {
		return l.out.at(0).number - 1
	}
	return l.read
}

func (l *lane) pending() uint64 {
	if l.next == 0 { // before recovery
		return 0
	}
	return l.next - 1 - l.finished()
}

// New checks the options and returns a spool that touches no disk before Run.
func New(o Options) (*Spool, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	o.setDefaults()
	if o.Boot == 0 {
		o.Boot = ReadBoot("/proc/sys/kernel/random/boot_id")
	}
	return &Spool{
		o: o, done: make(chan struct{}), wake: make(chan struct{}, 1), ready: make(chan struct{}, 1),
		queue: queue{pool: pool{most: o.QueueBytes}},
		names: map[string]string{},
	}, nil
}

// Append queues a copy of a message for the disk and returns at once. Where the
// queue is full, the oldest message of the lowest class is lost. It reports
// whether the message was queued, and does not allocate once warm.
func (s *Spool) Append(m *Message) bool {
	c := m.Class
	invalid := c >= Classes || len(m.Run) > maxName || len(m.Camera) > maxName || len(m.Payload) > s.o.MaxPayload
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case invalid:
		s.stats.Dropped[min(c, Classes-1)][DropInvalid]++
		return false
	case s.closed:
		s.stats.Dropped[c][DropStopped]++
		return false
	}
	n := recordHeader + len(m.Run) + len(m.Camera) + len(m.Payload)
	if !s.queue.room(c, n, s.o.QueueRecords, s.o.QueueBytes, s.overflow) {
		s.overflow(c)
		return false
	}
	e := s.queue.pool.get()
	e.buf = appendRecord(e.buf, m, s.o.Boot)
	s.queue.lists[c].push(e)
	s.queue.records++
	s.queue.bytes += n
	s.stats.Appended[c]++
	signal(s.wake)
	return true
}

// overflow counts a message that the queue had no room for.
func (s *Spool) overflow(c Class) {
	if s.reason != "" {
		s.stats.Dropped[c][DropDisk]++
		return
	}
	s.stats.Dropped[c][DropSlow]++
	s.slowUntil = time.Now().Add(slowFor)
}

// Ready receives when there may be something for Next.
func (s *Spool) Ready() <-chan struct{} { return s.ready }

// Next is NextOf all classes.
func (s *Spool) Next(d *Delivery) bool { return s.NextOf(Live, d) }

// NextOf fills d with the oldest message of the highest class that was not handed
// out, of least and above, and reports whether there was one. It does not wait: Ready says when to
// try again. Each message must end in Confirm or Rewind; no more than Window of
// a class are handed out before.
func (s *Spool) NextOf(least Class, d *Delivery) bool {
	now := s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range Classes - least {
		c := Classes - 1 - i
		l := &s.lanes[c]
		for j := range l.out.len() {
			e := l.out.at(j)
			if e.state != ready {
				continue
			}
			s.fill(d, c, e)
			d.Age = s.ageOf(e, now)
			if d.Age > s.o.MaxAge {
				e.state = done
				s.stats.Dropped[c][DropAge]++
				continue
			}
			e.state = taken
			return true
		}
		s.popDone(c)
		s.hungry[c] = true
	}
	signal(s.wake)
	return false
}

func (s *Spool) ageOf(e *entry, now Time) time.Duration {
	return stampOf(e.buf).age(now, s.o.Boot)
}

func (s *Spool) fill(d *Delivery, c Class, e *entry) {
	var r record
	splitRecord(e.buf, &r)
	d.Message = Message{
		Class: c, Run: s.name(r.run), Camera: s.name(r.camera), Seq: r.seq,
		Mono: r.stamp.mono, WallOffset: r.stamp.offset, Synced: r.stamp.synced, Payload: r.payload,
	}
	d.Receipt = Receipt{class: c, turn: s.turn, number: e.number}
}

// name returns an id as a string.
func (s *Spool) name(b []byte) string {
	if v, ok := s.names[string(b)]; ok {
		return v
	}
	if len(s.names) >= 1024 { // runs come and go
		clear(s.names)
	}
	v := string(b)
	s.names[v] = v
	return v
}

// Confirm says that a message has arrived. Confirmations may come in any order.
// One from before a Rewind does nothing: the message may be on its way again, and
// its payload in use.
func (s *Spool) Confirm(r Receipt) {
	if r.class >= Classes {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lanes[r.class]
	if r.turn != s.turn {
		return
	}
	for i := range l.out.len() {
		e := l.out.at(i)
		if e.number != r.number {
			continue
		}
		if e.state == taken {
			e.state = done
			s.stats.Confirmed[r.class]++
			s.popDone(r.class)
		}
		return
	}
}

// popDone takes finished entries off the front of a lane.
func (s *Spool) popDone(c Class) {
	l := &s.lanes[c]
	n := 0
	for ; l.out.len() > 0 && l.out.at(0).state == done; n++ {
		e := l.out.pop()
		l.bytes -= len(e.buf)
		s.queue.pool.put(e)
	}
	if n == 0 {
		return
	}
	if s.confirmed == 0 {
		s.since = time.Now()
	}
	s.confirmed += n
	signal(s.wake)
}

// Rewind says that the connection is gone: what was handed out and not
// confirmed is handed out again, in order.
func (s *Spool) Rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.hungry[:])
	s.turn++
	for c := range Classes {
		l := &s.lanes[c]
		for i := range l.out.len() {
			if e := l.out.at(i); e.state == taken {
				e.state = ready
				s.stats.Resent++
			}
		}
	}
	signal(s.ready)
}

// Flush waits until all that was appended and confirmed before is on the disk
// for good. It returns what keeps it from being so.
func (s *Spool) Flush(ctx context.Context) error {
	answer := make(chan error, 1)
	s.mu.Lock()
	s.flushes = append(s.flushes, answer)
	s.mu.Unlock()
	signal(s.wake)
	select {
	case err := <-answer:
		return err
	case <-s.done:
		return fmt.Errorf("spool: flush: %w", ErrStopped)
	case <-ctx.Done():
		return fmt.Errorf("spool: flush: %w", ctx.Err())
	}
}

// Run opens the folder, recovers what is there, and serves the other methods
// until ctx ends; then it writes what is queued, once, and closes the files. It
// may be called once. A disk that is not well is no error of Run but a state,
// see Degraded; what could not be written at the end is.
func (s *Spool) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return errors.New("spool: Run called twice")
	}
	defer close(s.done)
	st := newStore(s)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(st.work())
		select {
		case <-s.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return st.finish()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is already said
	}
}
