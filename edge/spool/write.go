package spool

import (
	"errors"
	"fmt"
	"io"
	"time"

	"nightseg/edge/disk"
)

// writeAll writes what is queued now, higher classes first. What comes meanwhile
// is for the next round: the rest of the work must get its turn.
func (st *store) writeAll() error {
	evicted, wrote := false, false
	for i := range Classes {
		c := Classes - 1 - i
		for left := st.queued(c); left > 0 && st.takeBatch(c); {
			n, err := st.store(c)
			st.endBatch(c, n)
			left -= n
			if err == nil {
				wrote = true
				continue
			}
			// Others may have filled the disk. Newer messages are worth more than older
			// ones, here as with MaxBytes; but where giving up a segment does not help, no
			// more is given up.
			if diskFull(err) && !evicted && st.disk.err == nil && st.evict(c, DropDisk) == nil {
				evicted = true
				continue
			}
			return err
		}
	}
	if st.disk.err != nil {
		if !wrote {
			if err := st.probe(); err != nil {
				return err
			}
		}
		st.disk.ok()
		st.s.o.Logger.Info("spool: the disk is well again")
	}
	return nil
}

// probe finds out whether a bad disk is well again while there is nothing to
// write.
func (st *store) probe() error {
	st.mark()
	f, err := st.fs.Open(probeName, true)
	if err != nil {
		return err
	}
	err = st.writeAt(f, st.wbuf[:probeSize], 0)
	return errors.Join(err, f.Sync(), f.Close(), st.remove(probeName))
}

func (st *store) queued(c Class) int {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.s.queue.lists[c].len()
}

// takeBatch moves records of a class from the queue to batch, and reports
// whether there are any. They stay in the queue's count.
func (st *store) takeBatch(c Class) bool {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	q := &st.s.queue.lists[c]
	st.batch = st.batch[:0]
	for n := 0; q.len() > 0 && len(st.batch) < batchRecords; {
		n += len(q.at(0).buf)
		if len(st.batch) > 0 && n > batchBytes {
			break
		}
		st.batch = append(st.batch, q.pop())
	}
	st.s.writing[c] = len(st.batch)
	return len(st.batch) > 0
}

// endBatch lets go of the first n records of the batch, and puts the rest back.
func (st *store) endBatch(c Class, n int) {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing[c] = 0
	for _, e := range st.batch[:n] {
		s.queue.drop(e)
	}
	if rest := st.batch[n:]; len(rest) > 0 {
		q := &s.queue.lists[c]
		list := append(make([]*entry, 0, len(rest)+q.len()), rest...)
		*q = fifo{list: append(list, q.list[q.head:]...)}
	}
	clear(st.batch)
}

// store writes the batch, and returns how many of its records are dealt with.
func (st *store) store(c Class) (n int, err error) {
	for n < len(st.batch) {
		g, err := st.room(c, int64(len(st.batch[n].buf)))
		if errors.Is(err, errFull) {
			st.s.mu.Lock()
			st.s.stats.Dropped[c][DropFull] += uint64(len(st.batch) - n)
			st.s.mu.Unlock()
			return len(st.batch), nil
		}
		if err != nil {
			return n, err
		}
		k, err := st.writeTo(g, st.batch[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// writeTo appends to a segment as many records as fit, in one write.
func (st *store) writeTo(g *segment, batch []*entry) (n int, err error) {
	st.s.mu.Lock()
	next := st.s.lanes[g.class].next
	st.s.mu.Unlock()
	st.wbuf = st.wbuf[:0]
	for _, e := range batch {
		off := g.size + int64(len(st.wbuf))
		if off+int64(len(e.buf)) > st.s.o.SegmentBytes {
			break
		}
		st.sums.finishRecord(e.buf, g.id, off, next+uint64(n))
		st.wbuf = append(st.wbuf, e.buf...)
		n++
	}
	if err := st.writeAt(g.f, st.wbuf, g.size); err != nil {
		if terr := g.f.Truncate(g.size); terr != nil {
			// What is behind size may be anything. Readers here stop before it, and the
			// next start cuts it; nothing more is written to this file.
			sh := &st.lanes[g.class]
			sh.active, g.damaged, g.tail = nil, true, int64(len(st.wbuf))
			err = errors.Join(err, terr, st.syncSegment(g))
			st.release(sh, g)
		}
		return 0, err
	}
	if !g.stamped {
		g.stamp, g.stamped = stampOf(st.wbuf), true
	}
	if g.dirty.IsZero() {
		g.dirty = time.Now()
	}
	g.size += int64(len(st.wbuf))
	st.s.mu.Lock()
	st.s.lanes[g.class].next += uint64(n)
	g.last = st.s.lanes[g.class].next - 1
	st.s.mu.Unlock()
	return n, nil
}

func (st *store) writeAt(f disk.File, b []byte, off int64) error {
	st.mark()
	n, err := f.WriteAt(b, off)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	st.count(n, 0)
	return err
}

// room returns the segment that a record of n bytes is to go to.
func (st *store) room(c Class, n int64) (*segment, error) {
	sh := &st.lanes[c]
	if g := sh.active; g != nil {
		if g.size+n <= st.s.o.SegmentBytes {
			return g, st.reopen(g)
		}
		// It must last before a later one does: only the last segment may be torn.
		if err := st.syncSegment(g); err != nil {
			return nil, err
		}
		sh.active = nil
		st.release(sh, g)
	}
	if err := st.makeRoom(c); err != nil {
		return nil, err
	}
	return st.create(c)
}

// reopen opens a segment that an earlier run began.
func (st *store) reopen(g *segment) error {
	if g.f != nil {
		return nil
	}
	st.mark()
	f, err := st.fs.Open(g.name, false)
	if err == nil {
		g.f = f
	}
	return err
}

// create begins a segment. The files are not made longer in advance, see
// docs/spool.md.
func (st *store) create(c Class) (*segment, error) {
	st.s.mu.Lock()
	next := st.s.lanes[c].next
	st.s.mu.Unlock()
	name := segmentName(c, st.nextID)
	g := &segment{
		name: name, class: c, id: st.nextID, first: next, last: next - 1, size: segmentHeader, dirty: time.Now(),
	}
	st.nextID++
	st.mark()
	f, err := st.fs.Open(name, true)
	if err != nil {
		return nil, err
	}
	st.wbuf = st.wbuf[:segmentHeader]
	putSegmentHeader(st.wbuf, c, g.id, next)
	err = st.writeAt(f, st.wbuf, 0)
	if err == nil {
		err = st.syncDir()
	}
	if err != nil {
		if rerr := st.remove(name); rerr != nil { // it is empty, and counts until it is gone
			st.aside = append(st.aside, disk.Info{Name: name, Size: segmentHeader})
		}
		return nil, errors.Join(err, f.Close())
	}
	g.f = f
	sh := &st.lanes[c]
	sh.segs, sh.active = append(sh.segs, g), g
	return g, nil
}

func (st *store) syncAfter(c Class) time.Duration {
	if c == Event {
		return st.s.o.SyncEvents
	}
	return st.s.o.Sync
}

// syncDue syncs the segments that have waited long enough.
func (st *store) syncDue() error {
	for c := range Classes {
		if g := st.lanes[c].active; g != nil && !g.dirty.IsZero() && time.Since(g.dirty) >= st.syncAfter(c) {
			if err := st.syncSegment(g); err != nil {
				return err
			}
		}
	}
	return nil
}

func (st *store) syncAll() error {
	var errs []error
	for c := range Classes {
		if g := st.lanes[c].active; g != nil {
			errs = append(errs, st.syncSegment(g))
		}
	}
	return errors.Join(errs...)
}

// syncSegment makes a segment last. After an error the kernel may have thrown
// the bytes away and say that all is well the next time: nothing more is then
// written to this file, and readers find out what is left of it.
func (st *store) syncSegment(g *segment) error {
	if g.dirty.IsZero() || g.f == nil {
		return nil
	}
	st.mark()
	st.count(0, 1)
	g.dirty = time.Time{}
	if err := g.f.Sync(); err != nil {
		sh := &st.lanes[g.class]
		if sh.active == g {
			sh.active = nil
		}
		g.damaged = true
		st.release(sh, g)
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// settle commits confirmations when they are due, and removes segments that are
// all confirmed.
func (st *store) settle() error {
	var now [Classes]uint64
	s := st.s
	s.mu.Lock()
	due := s.confirmed >= s.o.ConfirmBatch || s.confirmed > 0 && time.Since(s.since) >= s.o.ConfirmEvery
	for c := range Classes {
		now[c] = s.lanes[c].finished()
	}
	s.mu.Unlock()
	over := false
	for c := range Classes {
		if sh := &st.lanes[c]; len(sh.segs) > 0 && sh.segs[0] != sh.active && sh.segs[0].last <= now[c] {
			over = true
			due = due || sh.segs[0].last > st.committed.done[c]
		}
	}
	if due {
		if err := st.commit(); err != nil {
			return err
		}
	}
	if !over {
		return nil
	}
	for c := range Classes {
		// By what was committed: a removal must not last without it.
		for sh := &st.lanes[c]; len(sh.segs) > 0; {
			g := sh.segs[0]
			if g == sh.active || g.last > st.committed.done[c] {
				break
			}
			if err := st.remove(g.name); err != nil {
				return err
			}
			st.forget(sh)
		}
	}
	return st.syncDir()
}

// commit writes the cursors.
func (st *store) commit() error {
	next := cursors{turn: st.committed.turn + 1, nextID: st.nextID}
	s := st.s
	s.mu.Lock()
	n := s.confirmed
	for c := range Classes {
		next.done[c] = s.lanes[c].finished()
	}
	s.mu.Unlock()
	if next.done != st.committed.done {
		if err := st.writeCursors(&next); err != nil {
			return err
		}
		st.committed = next
	}
	s.mu.Lock()
	s.confirmed -= n
	s.since = time.Now()
	s.mu.Unlock()
	return nil
}

func (st *store) writeCursors(next *cursors) error {
	if st.cursor == nil {
		f, err := st.fs.Open(cursorName, true)
		if err != nil {
			return err
		}
		st.cursor = f
		if err := st.syncDir(); err != nil {
			return err
		}
	}
	st.wbuf = st.wbuf[:cursorSize]
	next.put(st.wbuf)
	if err := st.writeAt(st.cursor, st.wbuf, int64(next.turn&1)*page); err != nil {
		return fmt.Errorf("cursors: %w", err)
	}
	st.count(0, 1)
	if err := st.cursor.Sync(); err != nil {
		return fmt.Errorf("cursors: %w", err)
	}
	return nil
}
