package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"nightseg/edge/disk"
)

// Reason says why a message was dropped.
type Reason uint8

// The reasons.
const (
	DropFull    Reason = iota // MaxBytes, or only higher classes in it
	DropAge                   // MaxAge
	DropDisk                  // the disk takes nothing, and memory is full
	DropSlow                  // the disk is slower than the messages come
	DropInvalid               // too large, or not of this format
	DropStopped               // Run has ended
	Reasons
)

var reasonNames = [Reasons]string{"full", "age", "disk", "slow", "invalid", "stopped"}

// String returns the reason's name in reports.
func (r Reason) String() string {
	if r < Reasons {
		return reasonNames[r]
	}
	return "invalid"
}

// Stats are what is kept now, and the totals since New.
type Stats struct {
	Records [Classes]uint64 // not confirmed; lost ones count until they are missed
	Queued  int             // of those, in memory only
	Bytes   int64           // of all files
	Files   int             // segments
	Oldest  time.Duration   // age of the oldest message that is not confirmed

	Appended  [Classes]uint64 // taken by Append
	Confirmed [Classes]uint64
	Dropped   [Classes][Reasons]uint64

	Lost         uint64 // records that were on the disk and are not any more
	CorruptBytes uint64 // bytes that were no good record
	Aside        int    // files set aside
	Foreign      int    // files in the folder that are not ours
	Resent       uint64 // deliveries that were rewound
	Faults       uint64 // failed operations on the disk
	Syncs        uint64 // fsyncs of files and of the folder: wear
	Written      uint64 // bytes given to the disk: wear

	Degraded string // why the spool does not keep what it should, "" where it does
}

// DroppedBy returns the sum over the classes.
func (s *Stats) DroppedBy(r Reason) (n uint64) {
	for c := range Classes {
		n += s.Dropped[c][r]
	}
	return n
}

// Stats returns the figures; it does not allocate.
func (s *Spool) Stats() Stats {
	now := s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Queued = s.queue.records
	st.Degraded = s.degraded()
	for c := range Classes {
		l := &s.lanes[c]
		st.Records[c] = l.pending() + uint64(s.queue.lists[c].len()) + uint64(s.writing[c])
		if at, ok := s.oldest(c); ok {
			st.Oldest = max(st.Oldest, at.age(now, s.o.Boot))
		}
	}
	return st
}

// oldest returns the stamp of the oldest message of a class.
func (s *Spool) oldest(c Class) (stamp, bool) {
	l := &s.lanes[c]
	switch {
	case l.out.len() > 0:
		return stampOf(l.out.at(0).buf), true
	case l.pending() > 0:
		return l.oldest, true
	case s.queue.lists[c].len() > 0:
		return stampOf(s.queue.lists[c].at(0).buf), true
	}
	return stamp{}, false
}

// Degraded says why the spool does not keep what it should; "" where it does.
func (s *Spool) Degraded() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.degraded()
}

const slowFor = 10 * time.Second // "slow" is said for so long after it was

func (s *Spool) degraded() string {
	now := time.Now()
	since := s.busy.Load()
	switch {
	case s.reason != "":
		return s.reason
	case since != 0 && now.Sub(time.Unix(0, since)) > s.o.SlowAfter:
		return "spool: slow disk: one operation takes " + now.Sub(time.Unix(0, since)).Round(time.Second).String()
	case now.Before(s.slowUntil):
		return "spool: slow disk"
	}
	return ""
}

// describe puts the cause before the words of the error.
func describe(err error) string {
	what := "disk error"
	switch {
	case diskFull(err):
		what = "disk full"
	case errors.Is(err, syscall.EROFS):
		what = "read-only file system"
	case errors.Is(err, fs.ErrPermission):
		what = "not permitted"
	case errors.Is(err, disk.ErrInUse):
		what = "in use"
	}
	return fmt.Sprintf("spool: %s: %v", what, err)
}

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
