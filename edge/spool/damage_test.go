package spool

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/edge/disk"
	"nightseg/edge/disk/disktest"
)

// filled returns a folder with n live messages of 1000 bytes, 14 to a segment,
// and its options.
func filled(t *testing.T, n uint64) (*disktest.FS, Options) {
	m := disktest.New()
	o := testOptions(m)
	s := start(t, m, o)
	for i := uint64(1); i <= n; i++ {
		s.append(Live, i, 1000)
		synctest.Wait()
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	return m, o
}

func TestDamage(t *testing.T) {
	first, last := segmentName(Live, 1), segmentName(Live, 4)
	size := recordHeader + len("5F0C9A") + len("front") + 1000
	at := func(i int) int { return segmentHeader + (i-1)*size } // of record i of the first segment
	without := func(missing ...uint64) []key {
		return slices.DeleteFunc(keys(Live, 1, 50), func(k key) bool { return slices.Contains(missing, k.seq) })
	}
	for _, c := range []struct {
		name   string
		damage func(m *disktest.FS)
		want   []key
		after  func(t *testing.T, m *disktest.FS, st Stats)
		unseen bool // nothing tells that there were more records
	}{
		{"none", func(*disktest.FS) {}, without(), func(t *testing.T, _ *disktest.FS, st Stats) {
			if st.Lost != 0 || st.CorruptBytes != 0 || st.Aside != 0 || st.Foreign != 0 {
				t.Errorf("stats %+v", st)
			}
		}, false},
		{"a bit of a payload", func(m *disktest.FS) { (*m.Bytes(first))[at(3)+500] ^= 1 }, without(3), nil, false},
		{"a bit of a record's header", func(m *disktest.FS) { (*m.Bytes(first))[at(3)+9] ^= 0x80 }, without(3), nil, false},
		{"a bit of the number", func(m *disktest.FS) { (*m.Bytes(first))[at(3)+17] ^= 1 }, without(3), nil, false},
		{"zeros", func(m *disktest.FS) { clear((*m.Bytes(first))[at(3)+100 : at(6)+100]) }, without(3, 4, 5, 6), nil, false},
		{"the head of a segment", func(m *disktest.FS) { clear((*m.Bytes(first))[:segmentHeader]) }, without(), nil, false},
		{"the head and a record", func(m *disktest.FS) { clear((*m.Bytes(first))[:at(1)+70]) }, without(1), nil, true},
		{"the head of the last one", func(m *disktest.FS) { clear((*m.Bytes(last))[:segmentHeader]) }, without(), nil, false},
		{"a torn end", func(m *disktest.FS) {
			shorten(m.Bytes(last), 10)
		}, without(50), func(t *testing.T, m *disktest.FS, _ Stats) {
			if n := len(*m.Bytes(last)); n < segmentHeader || (n-segmentHeader)%size != 0 {
				t.Errorf("the torn end was not cut: %d bytes", n)
			}
		}, true},
		{"zeros at the end", func(m *disktest.FS) {
			b := m.Bytes(last)
			*b = append(*b, make([]byte, 5000)...)
		}, without(), nil, false},
		{"an old segment cut short", func(m *disktest.FS) {
			b := m.Bytes(first)
			*b = (*b)[:at(10)]
		}, without(10, 11, 12, 13, 14, 15), nil, false},
		{"an empty one", func(m *disktest.FS) { b := m.Bytes(last); *b = nil }, without(46, 47, 48, 49, 50), nil, true},
		{"a missing one", func(m *disktest.FS) { _ = m.Remove(segmentName(Live, 2)) }, without(seqs(16, 30)...), nil, false},
		{"a renamed one", func(m *disktest.FS) { _ = m.Rename(first, "saved.old") }, without(), nil, false},
		{"two that changed names", func(m *disktest.FS) {
			_ = m.Rename(first, "x")
			_ = m.Rename(last, first)
			_ = m.Rename("x", last)
		}, without(), nil, false},
		{"a copy", func(m *disktest.FS) {
			m.Put("copy of it", slices.Clone(*m.Bytes(first)))
		}, without(), func(t *testing.T, m *disktest.FS, st Stats) {
			if st.Aside != 1 || m.Bytes("copy of it.bad") == nil {
				t.Errorf("%v, stats %+v", m.Names(), st)
			}
		}, false},
		{"foreign files", func(m *disktest.FS) {
			m.Put("README", []byte("hello"))
			m.Put("empty", nil)
			m.Put("live-1.seg", []byte("NSSP"))
		}, without(), func(t *testing.T, m *disktest.FS, st Stats) {
			if st.Foreign != 3 || m.Bytes("README") == nil || m.Bytes("live-1.seg") == nil {
				t.Errorf("%v, stats %+v", m.Names(), st)
			}
		}, false},
		{"another version", func(m *disktest.FS) {
			b := make([]byte, 100)
			putSegmentHeader(b, Event, 9, 1)
			b[4] = 2
			m.Put(segmentName(Event, 9), b)
		}, without(), func(t *testing.T, m *disktest.FS, st Stats) {
			if st.Aside != 1 {
				t.Errorf("%v, stats %+v", m.Names(), st)
			}
		}, false},
		{"a segment of noise", func(m *disktest.FS) {
			m.Put(segmentName(Live, 3e6), bytes.Repeat([]byte("noise"), 1000))
		}, without(), func(t *testing.T, _ *disktest.FS, st Stats) {
			if st.Aside != 1 {
				t.Errorf("stats %+v", st)
			}
		}, false},
		{"an old segment with a new id", func(m *disktest.FS) {
			b := make([]byte, segmentHeader)
			putSegmentHeader(b, Live, 99, 3)
			m.Put(segmentName(Live, 99), b)
		}, without(), nil, false},
		{"no cursors", func(m *disktest.FS) { _ = m.Remove(cursorName) }, without(), nil, false},
		{"noise for cursors", func(m *disktest.FS) {
			m.Put(cursorName, bytes.Repeat([]byte{7}, 9000))
		}, without(), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, o := filled(t, 50)
				c.damage(m)
				s := start(t, m, o)
				defer s.stop()
				if got := s.drain(); !slices.Equal(got, c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
				st := s.Stats()
				if n := uint64(50 - len(c.want)); st.Lost != n && !c.unseen {
					t.Errorf("lost %d, want %d", st.Lost, n)
				}
				if st.Degraded != "" {
					t.Error(st.Degraded)
				}
				if c.after != nil {
					c.after(t, m, st)
				}
				// It goes on, and a third start finds all well.
				s.append(Live, 51, 1000)
				s.flush()
				_ = s.stop()
				s3 := start(t, m, o)
				defer s3.stop()
				if got := s3.drain(); !slices.Equal(got, keys(Live, 51, 51)) {
					t.Errorf("then got %v", got)
				}
			})
		})
	}
}

func shorten(b *[]byte, n int) { *b = (*b)[:len(*b)-n] }

func seqs(from, to uint64) (list []uint64) {
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}

// TestRandomDamage flips and clears bytes anywhere, cursors included: what is
// delivered is right, in order, once.
func TestRandomDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(60) {
			r := rand.New(rand.NewPCG(seed, 5))
			m, o := filled(t, 50)
			for range 1 + r.IntN(8) {
				names := m.Names()
				b := *m.Bytes(names[r.IntN(len(names))])
				if len(b) == 0 {
					continue
				}
				i := r.IntN(len(b))
				if r.IntN(2) == 0 {
					b[i] ^= 1 << r.IntN(8)
				} else {
					clear(b[i:min(len(b), i+r.IntN(3000))])
				}
			}
			s := start(t, m, o)
			last := uint64(0)
			got := s.drain()
			for _, k := range got {
				if k.c != Live || k.seq <= last {
					t.Errorf("seed %d: got %v", seed, got)
				}
				last = k.seq
			}
			if len(got) < 20 {
				t.Errorf("seed %d: %d delivered of 50", seed, len(got))
			}
			_ = s.stop()
		}
	})
}

// TestFilesSetAsideAreBounded sees that they go before anything else.
func TestFilesSetAsideAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		o := testOptions(m)
		o.MaxBytes = 8 * o.SegmentBytes
		for i := range 6 {
			m.Put(fmt.Sprintf("live-%016x.seg.bad", i), make([]byte, 15<<10))
		}
		s := start(t, m, o)
		defer s.stop()
		for i := uint64(1); i <= 60; i++ {
			s.append(Live, i, 1000)
			synctest.Wait()
		}
		if st := s.Stats(); st.Records[Live] != 60 || st.Aside >= 6 || st.Bytes > o.MaxBytes {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestFolder runs on the operating system's files.
func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "spool")
	o := Options{Dir: dir, SegmentBytes: 64 << 10, MaxPayload: 32 << 10, Boot: 1}
	run := func(f func(s *Spool)) {
		t.Helper()
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		stop := runReal(t, s)
		f(s)
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	run(func(s *Spool) {
		for i := uint64(1); i <= 100; i++ {
			s.Append(msgNow(Live, i, 5000))
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := disk.OpenLocked(dir); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("opened twice: %v", err)
		}
	})
	if err := unix.Mkfifo(filepath.Join(dir, segmentName(Live, 77)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, segmentName(Live, 78))); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, segmentName(Event, 79)), 0o700); err != nil {
		t.Fatal(err)
	}
	run(func(s *Spool) {
		got := drainReal(t, s, 100)
		if !slices.Equal(got, keys(Live, 1, 100)) {
			t.Errorf("got %v", got)
		}
		if st := s.Stats(); st.Foreign != 3 {
			t.Errorf("stats %+v", st)
		}
	})
}

func msgNow(c Class, seq uint64, size int) *Message {
	at := now()
	return &Message{
		Class: c, Run: "5F0C9A", Camera: "front", Seq: seq, Mono: at.Mono, WallOffset: at.Wall - at.Mono, Synced: at.Synced,
		Payload: content(c, seq, size),
	}
}

// drainReal takes n messages in real time.
func drainReal(t testing.TB, s *Spool, n int) (got []key) {
	var d Delivery
	limit := time.After(time.Minute)
	for len(got) < n {
		if s.Next(&d) {
			got = append(got, key{d.Class, d.Seq})
			s.Confirm(d.Receipt)
			continue
		}
		select {
		case <-s.Ready():
		case <-limit:
			t.Fatalf("%d of %d after a minute: %+v", len(got), n, s.Stats())
		}
	}
	return got
}
