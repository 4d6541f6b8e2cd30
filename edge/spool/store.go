package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"nightseg/edge/disk"
)

const (
	batchRecords = 64
	batchBytes   = 256 << 10 // of one write
	triesReopen  = 6         // failures in a row, before the folder is opened anew
	expireEvery  = 30 * time.Second
)

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
