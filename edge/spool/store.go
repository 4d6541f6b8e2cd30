package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"nightseg/edge/disk"
)

const (
	batchRecords = 64
	batchBytes   = 256 << 10 // of one write
	triesReopen  = 6         // failures in a row, before the folder is opened anew
	expireEvery  = 30 * time.Second
)

// errFull says that only higher classes could make room.
var errFull = errors.New("full")

// store is what Run has of the disk; nothing else touches it.
type store struct {
	s         *Spool
	fs        disk.FS
	disk      fault // of writing
	lanes     [Classes]shelf
	nextID    uint64
	aside     []disk.Info // oldest first
	cursor    disk.File
	committed cursors
	expired   time.Time    // when expiry was last looked at
	untidy    error        // what the start could not put right
	flushes   []chan error // asked for before this round of work

	batch []*entry
	wbuf  []byte
	sums  checksums
}

// shelf is the segments of a class.
type shelf struct {
	segs    []*segment // oldest first
	active  *segment   // the last of them, where it is written to
	reading *segment
	scan    scanner
	fault   fault // of reading
	tries   int   // at the place where the scanner stands
	seen    int64 // bad bytes of this scan that were counted
}

// segment is a file of records.
type segment struct {
	name        string // of the file
	class       Class
	id          uint64
	first, last uint64 // numbers; last is first-1 in an empty one
	size        int64  // of its good part
	tail        int64  // bytes behind it that could not be cut
	stamp       stamp  // of its first record
	stamped     bool
	damaged     bool      // nothing is appended to it
	guessed     bool      // last is too high, for it could not be read
	f           disk.File // nil where it is not open
	dirty       time.Time // of the first write that was not synced; zero: none
}

func newStore(s *Spool) *store {
	return &store{s: s, batch: make([]*entry, 0, batchRecords), wbuf: make([]byte, 0, batchBytes)}
}

// work does all that is due, and returns when it wants to be called again.
func (st *store) work() time.Duration {
	defer st.s.busy.Store(0)
	st.s.mu.Lock()
	st.flushes, st.s.flushes = append(st.flushes, st.s.flushes...), st.s.flushes[:0]
	st.s.mu.Unlock()
	if st.fs != nil && st.disk.times >= triesReopen && !st.disk.waiting() && !diskFull(st.disk.err) {
		_ = st.syncAll() // what still can be
		st.close()       // it may be another disk now, or one that may be written to again
	}
	if st.fs == nil && (st.disk.waiting() || !st.open()) {
		st.answer(st.disk.err)
		return st.disk.wait()
	}
	if !st.disk.waiting() {
		st.attempt(st.writeAll())
	}
	if !st.disk.waiting() {
		// Before more is read: what is confirmed and not committed stays bounded.
		st.attempt(st.settle())
	}
	for c := range Classes {
		st.refill(Classes - 1 - c)
	}
	if !st.disk.waiting() {
		st.attempt(st.syncDue())
		st.attempt(st.expire())
	}
	st.flush()
	st.publish()
	return st.nextDue()
}

// attempt notes how an operation ended.
func (st *store) attempt(err error) {
	if err == nil {
		return
	}
	st.disk.fail(err, &st.s.o)
	st.s.mu.Lock()
	st.s.stats.Faults++
	st.s.mu.Unlock()
	st.s.o.Logger.Warn("spool: disk", "error", err, "retry", st.disk.delay)
}

// flush answers Flush.
func (st *store) flush() {
	if len(st.flushes) == 0 {
		return
	}
	err := st.disk.err
	if err == nil {
		err = errors.Join(st.syncAll(), st.commit())
		st.attempt(err)
	}
	st.answer(err)
}

func (st *store) answer(err error) {
	if err != nil {
		err = fmt.Errorf("spool: flush: %w", err)
	}
	for _, c := range st.flushes {
		c <- err // it has room
	}
	st.flushes = st.flushes[:0]
}

// mark begins an operation on the disk; how long it takes is watched.
func (st *store) mark() {
	now := time.Now()
	if since := st.s.busy.Swap(now.UnixNano()); since != 0 && now.Sub(time.Unix(0, since)) > st.s.o.SlowAfter {
		st.s.mu.Lock()
		st.s.slowUntil = now.Add(slowFor)
		st.s.mu.Unlock()
	}
}

// publish shows the state of the disk to the other methods.
func (st *store) publish() {
	st.mark()
	var bytes int64
	files := 0
	for c := range st.lanes {
		files += len(st.lanes[c].segs)
		for _, g := range st.lanes[c].segs {
			bytes += g.size + g.tail
		}
	}
	for _, a := range st.aside {
		bytes += a.Size
	}
	reason := st.disk.reason()
	for c := range st.lanes {
		if reason == "" {
			reason = st.lanes[c].fault.reason()
		}
	}
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Bytes, s.stats.Files, s.stats.Aside = bytes, files, len(st.aside)
	s.reason = reason
	for c := range st.lanes {
		if segs := st.lanes[c].segs; len(segs) > 0 {
			s.lanes[c].oldest = segs[0].stamp
		}
	}
}

// nextDue returns how long nothing is due, if nothing happens.
func (st *store) nextDue() time.Duration {
	o := &st.s.o
	due := time.Now().Add(expireEvery)
	earlier := func(t time.Time) {
		if t.Before(due) {
			due = t
		}
	}
	for c := range st.lanes {
		if f := &st.lanes[c].fault; f.waiting() {
			earlier(f.until)
		}
	}
	if st.disk.err != nil {
		earlier(st.disk.until)
		return max(time.Millisecond, time.Until(due))
	}
	for c := range Classes {
		if g := st.lanes[c].active; g != nil && !g.dirty.IsZero() {
			earlier(g.dirty.Add(st.syncAfter(c)))
		}
	}
	st.s.mu.Lock()
	if st.s.confirmed > 0 {
		earlier(st.s.since.Add(o.ConfirmEvery))
	}
	st.s.mu.Unlock()
	return max(time.Millisecond, time.Until(due))
}

// used is the bytes that the files have or may grow to, in whole pages, so that
// many small files are bounded as well.
func (st *store) used() int64 {
	n := int64(2 * page)
	for _, a := range st.aside {
		n += pages(a.Size)
	}
	for c := range st.lanes {
		for _, g := range st.lanes[c].segs {
			if g == st.lanes[c].active {
				n += st.s.o.SegmentBytes
			} else {
				n += pages(g.size + g.tail)
			}
		}
	}
	return n
}

func pages(n int64) int64 { return (n + page - 1) / page * page }

// makeRoom drops until a new segment of class c fits.
func (st *store) makeRoom(c Class) error {
	for st.used()+st.s.o.SegmentBytes > st.s.o.MaxBytes {
		if err := st.evict(c, DropFull); err != nil {
			return err
		}
	}
	return nil
}

// evict drops a file that was set aside, or the oldest segment of the lowest
// class up to c. It returns errFull where there is none.
func (st *store) evict(c Class, why Reason) error {
	if len(st.aside) > 0 {
		if err := st.remove(st.aside[0].Name); err != nil {
			return err
		}
		st.aside = st.aside[1:]
		return st.syncDir()
	}
	for low := range c + 1 {
		if len(st.lanes[low].segs) > 0 {
			return st.dropOldest(low, why)
		}
	}
	return errFull
}

// dropOldest removes the oldest segment of a class and counts what it held.
func (st *store) dropOldest(c Class, why Reason) error {
	sh := &st.lanes[c]
	g := sh.segs[0]
	if err := st.remove(g.name); err != nil {
		return err
	}
	st.forget(sh)
	s := st.s
	s.mu.Lock()
	l := &s.lanes[c]
	var n uint64
	for i := range l.out.len() {
		// What is handed out may be on its way: it stays in memory until it is confirmed.
		if e := l.out.at(i); e.state == ready && e.number <= g.last {
			e.state = done
			n++
		}
	}
	if g.last > l.read {
		if g.first > l.read+1 {
			s.stats.Lost += g.first - l.read - 1
			l.read = g.first - 1
		}
		n += g.last - l.read
		l.read = g.last
	}
	s.stats.Dropped[c][why] += n
	s.popDone(c)
	s.mu.Unlock()
	return st.syncDir()
}

// forget takes the oldest segment off a shelf and closes it.
func (st *store) forget(sh *shelf) {
	g := sh.segs[0]
	sh.segs = slices.Delete(sh.segs, 0, 1)
	if sh.active == g {
		sh.active = nil
	}
	if sh.reading == g {
		sh.reading = nil
	}
	st.release(sh, g)
}

// release closes a segment that is neither written nor read.
func (st *store) release(sh *shelf, g *segment) {
	if g.f != nil && sh.active != g && sh.reading != g {
		_ = g.f.Close() // it was synced, or is to be lost
		g.f = nil
	}
}

func (st *store) remove(name string) error {
	st.mark()
	if err := st.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (st *store) syncDir() error {
	st.mark()
	st.count(0, 1)
	return st.fs.Sync()
}

func (st *store) count(written, syncs int) {
	st.s.mu.Lock()
	st.s.stats.Written += uint64(written)
	st.s.stats.Syncs += uint64(syncs)
	st.s.mu.Unlock()
}

// expire drops segments whose records are all too old. Single ones are dropped
// when their turn comes.
func (st *store) expire() error {
	if time.Since(st.expired) < expireEvery {
		return nil
	}
	st.expired = time.Now()
	now := st.s.o.Now()
	for c := range Classes {
		sh := &st.lanes[c]
		for len(sh.segs) > 1 && sh.segs[1].stamped && sh.segs[1].stamp.age(now, st.s.o.Boot) > st.s.o.MaxAge {
			if err := st.dropOldest(c, DropAge); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish writes what is queued and lets go of everything. There is one try.
func (st *store) finish() error {
	s := st.s
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	var errs []error
	if st.fs == nil && !st.open() {
		errs = append(errs, st.disk.err)
	} else {
		errs = append(errs, st.writeAll(), st.settle(), st.syncAll(), st.commit())
	}
	s.busy.Store(0)
	st.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range Classes {
		s.stats.Dropped[c][DropDisk] += uint64(s.queue.lists[c].len())
	}
	n := s.queue.records
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("spool: %d messages not written at the end: %w", n, err)
	}
	return nil
}

// close closes all files. What is lost with them was told by Sync.
func (st *store) close() {
	for c := range st.lanes {
		sh := &st.lanes[c]
		sh.active, sh.reading = nil, nil
		for _, g := range sh.segs {
			st.release(sh, g)
		}
		sh.segs = nil
	}
	if st.cursor != nil {
		_ = st.cursor.Close()
		st.cursor = nil
	}
	if st.fs != nil {
		_ = st.fs.Close()
		st.fs = nil
	}
}
