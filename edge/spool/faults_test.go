package spool

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/disk/disktest"
)

// flaky makes some operations fail, in ways that disks do.
func flaky(seed uint64) func(op, name string, n int) (int, error) {
	r := rand.New(rand.NewPCG(seed, 4))
	reads := r.IntN(2) == 0
	kind := []error{syscall.ENOSPC, syscall.EIO, syscall.EROFS}[r.IntN(3)]
	return func(op, _ string, n int) (int, error) {
		switch {
		case r.IntN(3) > 0 || op == "list":
			return n, nil
		case op == "read":
			if reads && errors.Is(kind, syscall.EIO) {
				return 0, kind
			}
			return n, nil
		case op == "open":
			return 0, nil
		case op == "write":
			return r.IntN(n + 1), kind
		case op == "sync" || op == "syncdir":
			return 0, syscall.EIO
		}
		return 0, kind
	}
}

// failing makes the named operations fail.
func failing(err error, ops ...string) func(op, name string, n int) (int, error) {
	return func(op, _ string, n int) (int, error) {
		if slices.Contains(ops, op) {
			return 0, err
		}
		return n, nil
	}
}

// readOnly is what fails on a disk that cannot be written to.
var readOnly = []string{"write", "create", "truncate", "remove", "rename", "sync"}

func TestBadDisk(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		ops    []string
		reason string
	}{
		{"full", syscall.ENOSPC, []string{"write", "create"}, "disk full"},
		{"read-only", syscall.EROFS, readOnly, "read-only file system"},
		{"broken", syscall.EIO, append(slices.Clone(readOnly), "syncdir"), "disk error"},
		{"short", io.ErrShortWrite, []string{"write"}, "disk error"},
		{"no sync", syscall.EIO, []string{"sync", "syncdir"}, "disk error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *spoolTest) {
				for i := uint64(1); i <= 20; i++ {
					s.append(Live, i, 1000)
				}
				s.append(Event, 1, 1000)
				s.flush()
				s.fs.SetFault(failing(c.err, c.ops...))
				for i := uint64(21); i <= 120; i++ {
					s.append(Live, i, 1000)
					if i%10 == 0 {
						s.append(Event, i/10, 1000)
					}
					pass(time.Second)
				}
				if got := s.Degraded(); !strings.Contains(got, c.reason) {
					t.Errorf("degraded: %q", got)
				}
				if err := s.Flush(t.Context()); !errors.Is(err, c.err) {
					t.Errorf("flush: %v", err)
				}
				s.fs.SetFault(nil)
				pass(31 * time.Second)
				st := s.Stats()
				if st.Degraded != "" || st.Faults == 0 || st.Queued != 0 {
					t.Errorf("not well again: %+v", st)
				}
				s.append(Live, 121, 1000)
				got := s.drain()
				if n := len(got); uint64(n) != 132-st.DroppedBy(DropDisk) || got[n-1].seq != 121 || got[0] != (key{Event, 1}) ||
					st.Dropped[Event] != [Reasons]uint64{} {
					t.Errorf("%d of 132 delivered: %v, stats %+v", n, got, st)
				}
			})
		})
	}
}

// A disk that is full is written to again as soon as older messages made room.
func TestFullDiskGivesUpOldest(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		s.fs.SetFault(func(op, name string, n int) (int, error) {
			sum := int(s.fs.Size())
			if op == "write" && sum+n > 100<<10 {
				return max(0, 100<<10-sum), syscall.ENOSPC
			}
			return n, nil
		})
		for i := uint64(1); i <= 300; i++ {
			s.append(Live, i, 1000)
			pass(time.Second)
		}
		st := s.Stats()
		if st.Dropped[Live][DropDisk]+st.Records[Live] != 300 || st.Records[Live] < 60 {
			t.Errorf("stats %+v", st)
		}
		got := s.drain()
		if want := keys(Live, st.Dropped[Live][DropDisk]+1, 300); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestSlowDisk blocks a write for a minute: nobody waits for it but Run.
func TestSlowDisk(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		s.append(Live, 1, 100)
		s.flush()
		release := make(chan struct{})
		var once atomic.Bool
		s.fs.SetFault(func(op, _ string, n int) (int, error) {
			if op == "write" && once.CompareAndSwap(false, true) {
				<-release
			}
			return n, nil
		})
		began := time.Now()
		for i := uint64(2); i <= 201; i++ {
			s.append(Live, i, 100)
			if i == 2 {
				synctest.Wait() // the write that is held up is of this one, and the queue is behind it
			}
			if i == 100 {
				s.append(Event, 1, 100)
			}
		}
		if since := time.Since(began); since != 0 {
			t.Errorf("Append took %v", since)
		}
		var d Delivery
		if !s.Next(&d) || d.Seq != 1 {
			t.Error("what was read ahead is not delivered")
		}
		pass(time.Minute)
		if got := s.Degraded(); !strings.Contains(got, "slow disk") {
			t.Errorf("degraded: %q", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("flush: %v", err)
		}
		close(release)
		pass(time.Second)
		st := s.Stats()
		if st.Dropped[Live][DropSlow] == 0 || st.DroppedBy(DropSlow) != st.Dropped[Live][DropSlow] {
			t.Errorf("stats %+v", st)
		}
		pass(time.Minute)
		if got := s.Degraded(); got != "" {
			t.Errorf("degraded: %q", got)
		}
		s.Rewind()
		if n := len(s.drain()); uint64(n) != 202-st.Dropped[Live][DropSlow] {
			t.Errorf("%d delivered, stats %+v", n, st)
		}
	})
}

// TestFolderComesLate starts without the disk.
func TestFolderComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		m.SetFault(failing(syscall.ENOENT, "folder"))
		s := start(t, m, testOptions(m))
		for i := uint64(1); i <= 10; i++ {
			s.append(Live, i, 100)
		}
		pass(time.Minute)
		if got := s.Degraded(); got == "" {
			t.Error("not degraded")
		}
		if st := s.Stats(); st.Records[Live] != 10 || st.Queued != 10 {
			t.Errorf("stats %+v", st)
		}
		m.SetFault(nil)
		pass(31 * time.Second)
		if got := s.Degraded(); got != "" {
			t.Errorf("degraded: %q", got)
		}
		if got := s.drain(); !slices.Equal(got, keys(Live, 1, 10)) {
			t.Errorf("got %v", got)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestDeliversWithoutDisk drains what could not be written.
func TestDeliversWithoutDisk(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 20; i++ {
			s.append(Live, i, 1000)
		}
		s.flush()
		s.fs.SetFault(failing(syscall.EROFS, "write", "create", "truncate", "remove", "rename", "sync", "syncdir"))
		for i := uint64(21); i <= 60; i++ {
			s.append(Live, i, 1000)
			synctest.Wait()
		}
		if got := s.drain(); !slices.Equal(got, keys(Live, 1, 60)) {
			t.Errorf("got %v", got)
		}
		s.fs.SetFault(nil)
		pass(time.Minute)
		s.append(Live, 61, 1000)
		s.flush()
		if got := s.drain(); !slices.Equal(got, keys(Live, 61, 61)) {
			t.Errorf("got %v", got)
		}
		_ = s.stop()
		s2 := start(t, s.fs, s.o)
		defer s2.stop()
		if got := s2.drain(); len(got) != 0 || s2.Stats().Lost != 0 {
			t.Errorf("after a restart: %v", got)
		}
	})
}

// TestTornWriteThatStays leaves good records behind in a segment whose write
// failed and which could not be cut: they are written again elsewhere, or
// dropped, and must not come from the old place too.
func TestTornWriteThatStays(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 3; i++ {
			s.append(Live, i, 1000)
		}
		s.flush()
		// One record holds the writer up until the ten after it are queued, so that
		// these come in one write.
		held, release := make(chan struct{}), make(chan struct{})
		s.fs.SetFault(func(op, _ string, n int) (int, error) {
			if op == "write" {
				close(held)
				<-release
			}
			return n, nil
		})
		s.append(Live, 4, 1000)
		<-held
		s.fs.SetFault(func(op, name string, n int) (int, error) {
			switch {
			case op == "write" && strings.HasPrefix(name, "live"):
				return n * 9 / 10, syscall.EIO
			case op == "write" || op == "truncate" || op == "create":
				return 0, syscall.EIO
			}
			return n, nil
		})
		for i := uint64(5); i <= 14; i++ { // nine of them reach the file
			s.append(Live, i, 1000)
		}
		close(release)
		synctest.Wait()
		if n := len(*s.fs.Bytes(segmentName(Live, 1))); n < segmentHeader+13*1000 {
			t.Errorf("a file of %d bytes: no torn write", n)
		}
		for i := uint64(15); i <= 71; i++ { // the queue has room for 64
			s.append(Live, i, 1000)
		}
		s.fs.SetFault(nil)
		pass(time.Minute)
		want := append(keys(Live, 1, 4), keys(Live, 8, 71)...)
		if st := s.Stats(); st.Dropped[Live][DropDisk] != 3 || st.Degraded != "" {
			t.Errorf("stats %+v", st)
		}
		_ = s.stop()
		s2 := start(t, s.fs, s.o)
		defer s2.stop()
		if got := s2.drain(); !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}
