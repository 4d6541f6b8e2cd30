package spool

import (
	"errors"
	"io"
	"slices"

	"nightseg/edge/disk"
)

const (
	triesPage = 3 // reads of a place before it is passed over
	triesFile = 8 // before a segment is set aside of which no more can be read
)

// refill reads ahead for the drainer.
func (st *store) refill(c Class) {
	sh := &st.lanes[c]
	if sh.fault.waiting() {
		return
	}
	var r record
	for st.wants(c) {
		err := st.nextRecord(c, &r)
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			st.readFailed(c, err)
			return
		}
		sh.fault.ok()
		sh.tries = 0
		if end {
			st.fromMemory(c)
			return
		}
		st.offer(c, &r)
	}
}

// wants reports whether the window has room.
func (st *store) wants(c Class) bool {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	l := &st.s.lanes[c]
	return l.out.len() < st.s.o.Window && l.bytes < st.s.o.WindowBytes
}

// offer puts a record that was read into the window, unless it is too old.
func (st *store) offer(c Class, r *record) {
	s := st.s
	old := r.stamp.age(s.o.Now(), s.o.Boot) > s.o.MaxAge
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lanes[c]
	if r.number > l.read+1 {
		s.stats.Lost += r.number - l.read - 1
	}
	l.read = r.number
	if old {
		s.stats.Dropped[c][DropAge]++
		return
	}
	e := s.queue.pool.get()
	e.buf = append(e.buf, st.lanes[c].scan.raw...)
	e.number = r.number
	l.out.push(e)
	l.bytes += len(e.buf)
	signal(s.ready)
}

// nextRecord returns the next record that was not read, io.EOF where there is
// none. Numbers that do not rise are not of this place, whatever their sums say.
func (st *store) nextRecord(c Class, r *record) error {
	sh := &st.lanes[c]
	for {
		l := st.lane(c)
		if l.read+1 >= l.next {
			return io.EOF
		}
		if sh.reading == nil {
			if err := st.openNext(c, l.read); err != nil {
				return err
			}
			if sh.reading == nil { // the rest is gone
				st.lose(c, l.next-1)
				return io.EOF
			}
		}
		g := sh.reading
		sh.scan.end = max(sh.scan.end, g.size)
		st.mark()
		err := sh.scan.next(r)
		st.corrupt(sh)
		switch {
		case errors.Is(err, io.EOF):
			if g != sh.active {
				sh.reading = nil
				st.release(sh, g)
			}
			if g.guessed {
				st.pass(c, g.last)
			}
			st.lose(c, g.last)
			if g == sh.active { // nothing is behind it, though numbers may be, of files that are gone
				st.lose(c, l.next-1)
			}
		case err != nil:
			return err
		case r.number > l.read && r.number <= g.last:
			return nil
		}
	}
}

// openNext opens the oldest segment that holds records after number.
func (st *store) openNext(c Class, number uint64) error {
	sh := &st.lanes[c]
	i := slices.IndexFunc(sh.segs, func(g *segment) bool { return g.last > number })
	if i < 0 {
		return nil
	}
	g := sh.segs[i]
	if err := st.reopen(g); err != nil {
		return err
	}
	sh.reading, sh.seen = g, 0
	sh.scan.start(g.f, g.id, segmentHeader, g.size)
	return nil
}

// lane returns the numbers of a lane.
func (st *store) lane(c Class) (l lane) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	l.next, l.read = st.s.lanes[c].next, st.s.lanes[c].read
	return l
}

// lose counts the records up to a number that should be there and are not.
func (st *store) lose(c Class, upTo uint64) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if l := &st.s.lanes[c]; upTo > l.read {
		st.s.stats.Lost += upTo - l.read
		l.read = upTo
	}
}

// pass goes on behind a number, without counting.
func (st *store) pass(c Class, number uint64) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	l := &st.s.lanes[c]
	l.read = max(l.read, number)
}

// corrupt counts the bytes that the scanner has passed over.
func (st *store) corrupt(sh *shelf) {
	if n := sh.scan.bad - sh.seen; n > 0 {
		sh.seen = sh.scan.bad
		st.s.mu.Lock()
		st.s.stats.CorruptBytes += uint64(n)
		st.s.mu.Unlock()
	}
}

// readFailed decides what becomes of a place that the disk does not read: it is
// tried again, then passed over where something behind it can be read, and at
// last the segment is set aside; where even that fails, the disk is gone, and
// may come back.
func (st *store) readFailed(c Class, err error) {
	sh := &st.lanes[c]
	sh.fault.fail(err, &st.s.o)
	sh.tries++
	st.s.mu.Lock()
	st.s.stats.Faults++
	st.s.mu.Unlock()
	st.s.o.Logger.Warn("spool: disk", "error", err, "retry", sh.fault.delay)
	g := sh.reading
	if g == nil {
		if sh.tries >= triesFile {
			st.giveUp(c)
		}
		return
	}
	if sh.tries < triesPage {
		return
	}
	probe := scanner{r: g.f, id: g.id, off: sh.scan.off, end: sh.scan.end}
	for probe.skipPage() {
		if _, err := probe.window(probe.off, min(page, probe.end-probe.off)); err == nil {
			sh.scan.buf = sh.scan.buf[:0]
			sh.scan.skipTo(probe.off)
			return
		}
	}
	if sh.tries >= triesFile {
		st.giveUp(c)
	}
}

// giveUp sets aside the segment that the next record should be in.
func (st *store) giveUp(c Class) {
	sh := &st.lanes[c]
	read := st.lane(c).read
	i := slices.IndexFunc(sh.segs, func(g *segment) bool { return g.last > read })
	if i < 0 {
		return
	}
	g := sh.segs[i]
	if !st.setAside(disk.Info{Name: g.name, Size: g.size}) {
		st.untidy = nil // the next try will say it again
		return
	}
	sh.segs = slices.Delete(sh.segs, i, i+1)
	if sh.active == g {
		sh.active = nil
	}
	if sh.reading == g {
		sh.reading = nil
	}
	st.release(sh, g)
	st.lose(c, g.last)
	sh.fault.ok()
	sh.tries = 0
}

// fromMemory hands records from the queue to a drainer that waits, where the
// disk takes nothing and all that is on it was read.
func (st *store) fromMemory(c Class) {
	if st.disk.err == nil {
		return
	}
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	l, q := &s.lanes[c], &s.queue.lists[c]
	if l.read+1 < l.next {
		return
	}
	for s.hungry[c] && q.len() > 0 && l.out.len() < s.o.Window && l.bytes < s.o.WindowBytes {
		e := q.pop()
		s.queue.records--
		s.queue.bytes -= len(e.buf)
		e.number = l.next
		l.read = l.next
		l.next++
		l.out.push(e)
		l.bytes += len(e.buf)
		signal(s.ready)
	}
}
