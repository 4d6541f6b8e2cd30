package spool

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/disk/disktest"
)

func TestOrderAndClasses(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 40; i++ {
			s.append(Live, i, 1000)
			if i%4 == 0 {
				s.append(Reduced, i/4, 900)
			}
			if i%10 == 0 {
				s.append(Event, i/10, 10)
			}
			synctest.Wait()
		}
		want := slices.Concat(keys(Event, 1, 4), keys(Reduced, 1, 10), keys(Live, 1, 40))
		if got := s.drain(); !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		st := s.Stats()
		if st.Records != [Classes]uint64{} || st.Appended != st.Confirmed || st.Lost != 0 || st.Degraded != "" {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestConfirmationsLast(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 30; i++ {
			s.append(Live, i, 2000)
			synctest.Wait()
		}
		var d, second Delivery
		for i := uint64(1); i <= 10; i++ {
			if synctest.Wait(); !s.Next(&d) || d.Seq != i {
				t.Fatalf("got %d, want %d", d.Seq, i)
			}
			if i == 2 {
				second = d
				continue
			}
			s.Confirm(d.Receipt)
			if i == 9 {
				s.Confirm(second.Receipt)
			}
		}
		s.Confirm(d.Receipt) // twice does no harm
		pass(2 * time.Second)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		s2 := start(t, s.fs, s.o)
		defer s2.stop()
		if st := s2.Stats(); st.Records[Live] != 20 {
			t.Errorf("%d records kept", st.Records[Live])
		}
		if got := s2.drain(); !slices.Equal(got, keys(Live, 11, 30)) {
			t.Errorf("got %v", got)
		}
		pass(time.Minute)
		if st := s2.Stats(); st.Files > 1 {
			t.Errorf("%d files left: %v", st.Files, s.fs.Names())
		}
	})
}

func TestRewind(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 20; i++ {
			s.append(Live, i, 100)
		}
		synctest.Wait()
		var d Delivery
		var receipts []Receipt
		for s.Next(&d) {
			receipts = append(receipts, d.Receipt)
		}
		if len(receipts) != s.o.Window {
			t.Errorf("%d handed out, window %d", len(receipts), s.o.Window)
		}
		s.Confirm(receipts[0])
		s.Confirm(receipts[3])
		s.Rewind()
		if !s.Next(&d) || d.Seq != 2 {
			t.Errorf("got %d again", d.Seq)
		}
		s.Confirm(receipts[1]) // from before, while the message is on its way again
		s.Rewind()
		want := append(keys(Live, 2, 3), keys(Live, 5, 20)...)
		if got := s.drain(); !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

func TestBytesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 20; i++ {
			s.append(Event, i, 1000)
			s.append(Reduced, i, 1000)
			synctest.Wait()
		}
		for i := uint64(1); i <= 300; i++ {
			s.append(Live, i, 1000)
			synctest.Wait()
		}
		if s.fs.Peak() > s.o.MaxBytes {
			t.Errorf("%d bytes, the bound is %d", s.fs.Peak(), s.o.MaxBytes)
		}
		st := s.Stats()
		if n := st.Dropped[Live][DropFull]; n == 0 || n != st.DroppedBy(DropFull) || st.Records[Live]+n != 300 {
			t.Errorf("stats %+v", st)
		}
		got := s.drain()
		n := st.Dropped[Live][DropFull]
		want := slices.Concat(keys(Event, 1, 20), keys(Reduced, 1, 20), keys(Live, n+1, 300))
		if !slices.Equal(got, want) {
			t.Errorf("dropped %d, got %v", n, got)
		}
	}, func(o *Options) { o.MaxBytes = 12 * o.SegmentBytes })
}

// A lower class finds no room among higher ones, and higher ones push it out.
func TestHigherClassesPushOut(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 10; i++ {
			s.append(Live, i, 1000)
			s.append(Reduced, i, 1000)
			synctest.Wait()
		}
		for i := uint64(1); i <= 100; i++ {
			s.append(Event, i, 1000)
			synctest.Wait()
		}
		st := s.Stats()
		if st.Dropped[Live][DropFull] != 10 || st.Dropped[Reduced][DropFull] != 10 || st.Dropped[Event][DropFull] == 0 {
			t.Errorf("stats %+v", st)
		}
		s.append(Live, 11, 1000)
		synctest.Wait()
		if n := s.Stats().Dropped[Live][DropFull]; n != 11 {
			t.Errorf("%d live dropped", n)
		}
		if got := s.drain(); !slices.Equal(got, keys(Event, st.Dropped[Event][DropFull]+1, 100)) {
			t.Errorf("got %v", got)
		}
	}, func(o *Options) { o.MaxBytes = 4 * o.SegmentBytes })
}

func TestAgeIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 100; i++ {
			s.append(Live, i, 1000)
			pass(time.Minute)
		}
		st := s.Stats()
		if st.Dropped[Live][DropAge] < 20 || st.Oldest > 80*time.Minute {
			t.Errorf("stats %+v", st)
		}
		got := s.drain()
		if want := keys(Live, 41, 100); !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		if n := s.Stats().Dropped[Live][DropAge]; n != 40 {
			t.Errorf("dropped %d", n)
		}
	}, func(o *Options) { o.MaxAge = time.Hour + time.Second })
}

func TestAge(t *testing.T) {
	const year = 365 * 24 * time.Hour
	at := stamp{mono: time.Hour, offset: 50 * year, boot: 1, synced: true}
	noClock := at
	noClock.synced, noClock.offset = false, 0
	for _, c := range []struct {
		name  string
		stamp stamp
		now   Time
		boot  uint64
		want  time.Duration
	}{
		{"same boot", at, Time{Mono: 3 * time.Hour}, 1, 2 * time.Hour},
		{
			"same boot, the clock came later", noClock,
			Time{Mono: 3 * time.Hour, Wall: 50 * year, Synced: true},
			1, 2 * time.Hour,
		},
		{"next boot", at, Time{Mono: time.Minute, Wall: 50*year + 3*time.Hour, Synced: true}, 2, 2 * time.Hour},
		{"next boot, no clock yet", at, Time{Mono: time.Minute, Wall: 0}, 2, time.Minute},
		{"there was no clock", noClock, Time{Mono: time.Minute, Wall: 50 * year, Synced: true}, 2, time.Minute},
		{"the clock went back", at, Time{Mono: time.Minute, Wall: year, Synced: true}, 2, 0},
	} {
		if got := c.stamp.age(c.now, c.boot); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		long := strings.Repeat("x", 256)
		for _, m := range []*Message{
			{Class: Classes}, {Run: long}, {Camera: long}, {Payload: make([]byte, s.o.MaxPayload+1)},
		} {
			if s.Append(m) {
				t.Errorf("%+v taken", m)
			}
		}
		s.Confirm(Receipt{class: 9})
		s.Confirm(Receipt{class: Live, number: 9})
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if s.Append(msg(Live, 1, 1)) {
			t.Error("taken after the end")
		}
		if st := s.Stats(); st.DroppedBy(DropInvalid) != 4 || st.DroppedBy(DropStopped) != 1 {
			t.Errorf("stats %+v", st)
		}
		if err := s.Run(t.Context()); err == nil {
			t.Error("ran twice")
		}
		if err := s.Flush(t.Context()); err == nil {
			t.Error("flushed after the end")
		}
	})
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{Dir: t.TempDir()}); err != nil {
		t.Error(err)
	}
	for name, o := range map[string]Options{
		"dir":           {},
		"max_bytes":     {Dir: "d", MaxBytes: 1 << 20},
		"segment_bytes": {Dir: "d", SegmentBytes: 1},
		"max_payload":   {Dir: "d", MaxPayload: 1 << 20},
		"queue":         {Dir: "d", QueueBytes: 1},
		"window":        {Dir: "d", Window: -1},
		"durations":     {Dir: "d", MaxAge: -1},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSyncsAreBatched counts fsyncs, which wear the disk.
func TestSyncsAreBatched(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		s.append(Live, 1, 10)
		pass(6 * time.Second)
		before := s.Stats().Syncs
		for i := uint64(2); i <= 601; i++ { // a minute at 10 per second
			s.append(Live, i, 10)
			pass(100 * time.Millisecond)
		}
		if n := s.Stats().Syncs - before; n < 10 || n > 20 {
			t.Errorf("%d fsyncs in a minute at one per 5 s", n)
		}
		s.append(Event, 1, 10)
		n := s.fs.Count()
		pass(150 * time.Millisecond)
		if !slices.ContainsFunc(s.fs.Ops()[n-1:], func(op disktest.Op) bool {
			return op.Kind == "sync" && strings.HasPrefix(op.Name, "event")
		}) {
			t.Error("an event was not synced within 150 ms")
		}
	}, func(o *Options) { o.SegmentBytes = 1 << 20 })
}

func TestEndWritesWhatIsQueued(t *testing.T) {
	bubble(t, func(t *testing.T, s *spoolTest) {
		for i := uint64(1); i <= 20; i++ {
			s.append(Live, i, 10)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		s2 := start(t, s.fs, s.o)
		if got := s2.drain(); !slices.Equal(got, keys(Live, 1, 20)) {
			t.Errorf("got %v", got)
		}
		s2.fs.SetFault(func(string, string, int) (int, error) { return 0, syscall.EIO })
		s2.append(Live, 21, 10)
		if err := s2.stop(); err == nil || !strings.Contains(err.Error(), "1 messages") {
			t.Errorf("end on a bad disk: %v", err)
		}
	})
}
