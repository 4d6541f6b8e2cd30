package spool

import (
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestBadSector cannot read one page of a segment.
func TestBadSector(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 60; i++ {
			s.append(Live, i, 1000)
			synctest.Wait()
		}
		s.flush()
		_ = s.stop()
		bad := segmentName(Live, 2)
		s.fs.SetFault(func(op, name string, n int) (int, error) {
			// n is where the read begins; reads are longer than a page but where pages are tried.
			if op == "read" && name == bad && n > 0 && n <= 5000 {
				return 0, syscall.EIO
			}
			return n, nil
		})
		s2 := start(t, s.fs, s.o)
		defer s2.stop()
		var got []key
		for range 40 {
			got = append(got, s2.drain()...)
			pass(time.Minute)
		}
		st := s2.Stats()
		if uint64(len(got))+st.Lost != 60 || st.Lost == 0 || st.Lost > 15 || st.Degraded != "" {
			t.Errorf("%d delivered, stats %+v", len(got), st)
		}
	})
}

// TestUnreadableFiles starts with files that the disk does not read.
func TestUnreadableFiles(t *testing.T) {
	for _, c := range []struct {
		name, file, op string
		want           []key
	}{
		{"an old segment", segmentName(Live, 2), "read", append(keys(Live, 1, 15), keys(Live, 31, 50)...)},
		{"one that cannot be opened", segmentName(Live, 2), "open", append(keys(Live, 1, 15), keys(Live, 31, 50)...)},
		{"the last one", segmentName(Live, 4), "read", keys(Live, 1, 45)},
		{"the cursors", cursorName, "read", keys(Live, 1, 50)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, o := filled(t, 50)
				s := start(t, m, o) // cursors come about
				var d Delivery
				if !s.Next(&d) {
					t.Fatal("nothing")
				}
				s.Rewind()
				s.append(Event, 1, 10)
				synctest.Wait()
				if !s.Next(&d) || d.Class != Event {
					t.Fatal("no event")
				}
				s.Confirm(d.Receipt)
				_ = s.stop()
				m.SetFault(func(op, name string, n int) (int, error) {
					if op == c.op && name == c.file {
						return 0, syscall.EIO
					}
					return n, nil
				})
				s = start(t, m, o)
				defer s.stop()
				if s.Degraded() == "" {
					t.Error("not degraded")
				}
				s.append(Reduced, 1, 10)
				pass(time.Minute)
				if got, want := s.drain(), append(keys(Reduced, 1, 1), c.want...); !slices.Equal(got, want) &&
					!slices.Equal(got, append(keys(Event, 1, 1), want...)) { // without cursors
					t.Errorf("got %v", got)
				}
				pass(time.Minute)
				if st := s.Stats(); st.Degraded != "" || st.Records != [Classes]uint64{} {
					t.Errorf("stats %+v", st)
				}
			})
		})
	}
}

// TestUnreadableSegment cannot read a segment that is well in all else.
func TestUnreadableSegment(t *testing.T) {
	for _, c := range []struct {
		name string
		id   uint64
		lost []key
	}{{"an old one", 3, keys(Live, 31, 45)}, {"the one that is written to", 4, keys(Live, 46, 50)}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, o := filled(t, 50)
				s := start(t, m, o)
				bad := segmentName(Live, c.id)
				m.SetFault(func(op, name string, n int) (int, error) {
					if op == "read" && name == bad {
						return 0, syscall.EIO
					}
					return n, nil
				})
				var got []key
				for range 10 {
					got = append(got, s.drain()...)
					pass(time.Minute)
				}
				s.append(Live, 51, 1000)
				got = append(got, s.drain()...)
				want := slices.DeleteFunc(keys(Live, 1, 51), func(k key) bool { return slices.Contains(c.lost, k) })
				if !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				st := s.Stats()
				if st.Lost != uint64(len(c.lost)) || st.Aside != 1 || st.Degraded != "" || m.Bytes(bad+asideSuffix) == nil {
					t.Errorf("%v, stats %+v", m.Names(), st)
				}
				if err := s.stop(); err != nil {
					t.Error(err)
				}
				if n := m.Handles(); n != 0 {
					t.Errorf("%d files open", n)
				}
			})
		})
	}
}
