package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"nightseg/edge/disk"
)

const (
	probeName  = "probe"
	probeSize  = 64 << 10
	maxSegment = 1 << 30 // no file is read further at the start
	triesOpen  = 3       // before a file that cannot be read is left out
)

// open opens the folder and finds out what is there. It reads the heads of all
// segments, and all of the last one of each class, where a crash has left its
// marks; the others are checked when their turn comes.
func (st *store) open() bool {
	st.mark()
	f, err := st.s.o.Open(st.s.o.Dir)
	if err == nil {
		st.fs = f
		err = st.recover()
	}
	if err != nil {
		st.close()
		st.attempt(fmt.Errorf("open %s: %w", st.s.o.Dir, err))
		st.publish()
		return false
	}
	for st.used() > st.s.o.MaxBytes { // the bound may have changed
		if err := st.evict(Classes-1, DropFull); err != nil {
			st.tidy(err)
			break
		}
	}
	// Where it had failed before, a write is to show that all is well.
	st.disk.until, st.disk.times = time.Time{}, 0
	st.attempt(st.untidy)
	st.untidy = nil
	return true
}

// tidy notes that a file could not be put right. What else there is can be used.
func (st *store) tidy(err error) {
	st.untidy = errors.Join(st.untidy, err)
}

// unreadable decides about a file that the disk does not read: the whole start
// is tried again, and at last goes on without the file.
func (st *store) unreadable(err error) error {
	if st.disk.times+1 < triesOpen {
		return err
	}
	st.tidy(err)
	return nil
}

func (st *store) recover() error {
	st.aside, st.untidy = nil, nil
	list, err := st.fs.List()
	if err != nil {
		return err
	}
	if err := st.openCursors(list); err != nil {
		return err
	}
	if err := st.sort(list); err != nil {
		return err
	}
	for c := range Classes {
		if err := st.recoverClass(c); err != nil {
			return err
		}
	}
	return nil
}

// openCursors reads what was confirmed.
func (st *store) openCursors(list []disk.Info) error {
	st.committed, st.nextID = cursors{}, 1
	i := slices.IndexFunc(list, func(e disk.Info) bool { return e.Name == cursorName })
	if i < 0 {
		return nil
	}
	f, damaged, err := st.readCursorFile(list[i])
	if err != nil { // without it, everything comes again
		if err := st.unreadable(err); err != nil {
			return err
		}
		st.setAside(list[i])
		return nil
	}
	st.cursor = f
	if damaged > 0 {
		st.s.o.Logger.Warn("spool: damaged cursors: some messages may be delivered again", "slots", damaged)
		st.s.mu.Lock()
		st.s.stats.CorruptBytes += uint64(damaged * cursorSize)
		st.s.mu.Unlock()
	}
	st.nextID = max(1, st.committed.nextID)
	return nil
}

// leaveOut is unreadable for a segment. It counts in MaxBytes, and the next start
// looks at it again, if it is still there.
func (st *store) leaveOut(e disk.Info, err error) error {
	if err := st.unreadable(err); err != nil {
		return err
	}
	st.aside = append(st.aside, e)
	return nil
}

func (st *store) readCursorFile(e disk.Info) (f disk.File, damaged int, err error) {
	if !e.Regular {
		return nil, 0, fmt.Errorf("%s is not a file", cursorName)
	}
	if f, err = st.fs.Open(cursorName, false); err != nil {
		return nil, 0, err
	}
	if st.committed, damaged, err = readCursors(f); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, damaged, nil
}

// sort finds out what each file is: by its head, and only then by its name.
func (st *store) sort(list []disk.Info) error {
	slices.SortFunc(list, func(a, b disk.Info) int { return strings.Compare(a.Name, b.Name) })
	foreign := 0
	for _, e := range list {
		if e.Name == cursorName || e.Name == disk.LockName {
			continue
		}
		if e.Name == probeName {
			_ = st.remove(e.Name) // it takes little room, and the next probe removes it
			continue
		}
		if e.Regular && strings.HasSuffix(e.Name, asideSuffix) {
			st.aside = append(st.aside, e)
			continue
		}
		ours, err := st.identify(e)
		if err != nil {
			return err
		}
		if !ours {
			foreign++
		}
	}
	st.s.mu.Lock()
	st.s.stats.Foreign = foreign
	st.s.mu.Unlock()
	return nil
}

// identify puts a segment on its shelf, and reports whether the file is ours.
func (st *store) identify(e disk.Info) (ours bool, err error) {
	nameClass, nameID, named := parseSegmentName(e.Name)
	if named {
		st.nextID = max(st.nextID, nameID+1)
	}
	if !e.Regular {
		return false, nil
	}
	f, err := st.fs.Open(e.Name, false)
	if err != nil {
		if !named || errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return true, st.leaveOut(e, err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	head := make([]byte, min(e.Size, segmentHeader+recordHeader))
	n, rerr := f.ReadAt(head, 0)
	if rerr != nil && !errors.Is(rerr, io.EOF) {
		if named {
			return true, st.leaveOut(e, rerr)
		}
		return false, nil
	}
	c, id, first, err := parseSegmentHeader(head[:n])
	switch {
	case errors.Is(err, errVersion):
		st.setAside(e)
		return true, nil
	case err != nil && !named:
		return false, nil
	case err != nil: // the head is gone, and the name says whose records these are
		return true, st.headless(f, e, nameClass, nameID)
	}
	st.nextID = max(st.nextID, id+1)
	st.shelve(&segment{name: e.Name, class: c, id: id, first: first, last: first - 1, size: e.Size}, head[:n])
	return true, nil
}

// shelve takes a segment in; head is its first bytes, for the age.
func (st *store) shelve(g *segment, head []byte) {
	if len(head) >= segmentHeader+recordHeader {
		h := head[segmentHeader:]
		if _, ok := st.sums.bodyLen(h, g.id, segmentHeader); ok {
			g.stamp, g.stamped = stampOf(h), true
		}
	}
	sh := &st.lanes[g.class]
	sh.segs = append(sh.segs, g)
}

// headless takes in a segment without a good head, if it has good records.
func (st *store) headless(f disk.File, e disk.Info, c Class, id uint64) error {
	var r record
	var sc scanner
	sc.start(f, id, 0, min(e.Size, maxSegment))
	switch err := sc.next(&r); {
	case err == nil:
		st.shelve(&segment{name: e.Name, class: c, id: id, first: r.number, last: r.number, size: e.Size, damaged: true}, nil)
		return nil
	case !errors.Is(err, io.EOF):
		return st.leaveOut(e, err)
	case e.Size < segmentHeader+recordHeader: // torn when it was made
		if err := st.remove(e.Name); err != nil {
			st.tidy(err)
		}
		return nil
	}
	st.setAside(e)
	return nil
}

// recoverClass puts the segments of a class into order, and finds its numbers.
func (st *store) recoverClass(c Class) error {
	sh := &st.lanes[c]
	slices.SortFunc(sh.segs, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(misnamed(a), misnamed(b)))
	})
	keep := sh.segs[:0]
	for _, g := range sh.segs {
		// Later segments have higher numbers; what has not is a copy, or of another time.
		if n := len(keep); n > 0 && (g.id == keep[n-1].id || g.first < keep[n-1].first) {
			st.setAside(disk.Info{Name: g.name, Size: g.size})
			continue
		}
		if n := len(keep); n > 0 {
			keep[n-1].last = g.first - 1
		}
		keep = append(keep, g)
	}
	sh.segs = keep
	finished := st.committed.done[c]
	next := finished + 1
	if n := len(keep); n > 0 {
		if err := st.recoverLast(sh, keep[n-1]); err != nil {
			return err
		}
		next = max(next, keep[n-1].last+1)
		finished = max(finished, keep[0].first-1)
	}
	st.s.mu.Lock()
	l := &st.s.lanes[c]
	if l.next == 0 {
		l.read = finished
	} // else the disk was away, and what is missing now is lost
	l.next = max(l.next, next)
	st.s.mu.Unlock()
	return nil
}

// scanLast reads a segment up to the record known, or to its end, and returns
// where the last good record ends.
func (st *store) scanLast(sh *shelf, g *segment, known uint64) (good int64, err error) {
	var r record
	sh.scan.start(g.f, g.id, segmentHeader, min(g.size, maxSegment))
	for good = sh.scan.good; ; good = sh.scan.good {
		err := sh.scan.next(&r)
		if errors.Is(err, io.EOF) || err == nil && known > 0 && r.number >= known {
			return good, nil
		}
		if err != nil {
			return good, err
		}
		g.last = max(g.last, r.number)
	}
}

// misnamed is 1 for a segment that somebody has renamed or copied: its head
// counts, not its name, but the file of the right name is the first to be used.
func misnamed(g *segment) int {
	if g.name == segmentName(g.class, g.id) {
		return 0
	}
	return 1
}

// recoverLast reads all of the last segment of a class, cuts what is torn, and
// goes on writing to it where it is whole.
func (st *store) recoverLast(sh *shelf, g *segment) error {
	st.mark()
	// Records that this run could not write, nor cut, are in the queue still.
	known := st.lane(g.class).next
	if err := st.reopen(g); err != nil {
		g.guess(known)
		return st.unreadable(err)
	}
	good, err := st.scanLast(sh, g, known)
	if err != nil { // readers will try again; nothing is appended; the others can be used
		st.s.o.Logger.Warn("spool: disk", "error", err)
		g.guess(known)
		st.release(sh, g)
		return nil
	}
	torn := max(0, g.size-good)
	g.damaged = g.damaged || sh.scan.bad > torn || g.size < segmentHeader
	if torn > 0 {
		st.s.o.Logger.Warn("spool: cut a torn segment", "name", g.name, "bytes", torn)
		st.s.mu.Lock()
		st.s.stats.CorruptBytes += uint64(torn)
		st.s.mu.Unlock()
		if err := errors.Join(g.f.Truncate(good), g.f.Sync()); err != nil {
			g.damaged, g.tail = true, torn // it can be read
		}
		g.size = good
	}
	if !g.damaged && g.size < st.s.o.SegmentBytes {
		sh.active = g
	}
	st.release(sh, g)
	return nil
}

// guess sets the last number to what it can be at most. known is the next number
// of the class, where this run has been at it before.
func (g *segment) guess(known uint64) {
	g.damaged = true
	if known > 0 {
		g.last = max(g.last, known-1)
		return
	}
	g.guessed = true
	g.last = max(g.last, g.first+uint64(g.size/recordHeader))
}

// setAside renames a file that is ours but of no use, so that it can be looked
// at. It counts in MaxBytes and is the first to go. It reports
// whether the file system allowed it.
func (st *store) setAside(e disk.Info) bool {
	st.s.o.Logger.Warn("spool: set aside", "name", e.Name)
	to := e.Name + asideSuffix
	if err := st.rename(e.Name, to); err != nil {
		st.tidy(err)
		return false
	}
	st.aside = append(st.aside, disk.Info{Name: to, Size: e.Size, Regular: true})
	return true
}

func (st *store) rename(from, to string) error {
	st.mark()
	if err := st.fs.Rename(from, to); err != nil {
		return err
	}
	return st.syncDir()
}
