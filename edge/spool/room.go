package spool

import (
	"errors"
	"slices"
	"time"
)

// errFull says that only higher classes could make room.
var errFull = errors.New("full")

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
