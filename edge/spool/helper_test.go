package spool

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/disk"
	"nightseg/edge/disk/disktest"
)

// spoolTest is a running spool in a bubble of fake time.
type spoolTest struct {
	*Spool
	t    *testing.T
	fs   *disktest.FS
	stop func() error
}

// clock tells the fake time as the clock of a machine that has been up an hour.
func clock() Time {
	wall := time.Duration(time.Now().UnixNano())
	return Time{Mono: wall - epoch + time.Hour, Wall: wall, Synced: true}
}

var epoch = time.Duration(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()) // when bubbles begin

func testOptions(m *disktest.FS) Options {
	return Options{
		Dir: "d", SegmentBytes: 16 << 10, MaxBytes: 4 << 20, MaxPayload: 8 << 10, Now: clock, Boot: 1,
		QueueRecords: 64, QueueBytes: 256 << 10, Window: 8, ConfirmBatch: 8,
		Open: func(string) (disk.FS, error) {
			if _, err := m.Check("folder", "", 0); err != nil {
				return nil, err
			}
			return m, nil
		},
	}
}

// start runs a spool in the bubble of the caller.
func start(t *testing.T, m *disktest.FS, o Options) *spoolTest {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	synctest.Wait()
	stopped := false
	var last error
	return &spoolTest{Spool: s, t: t, fs: m, stop: func() error {
		if !stopped {
			stopped = true
			cancel()
			last = <-ended
		}
		return last
	}}
}

// bubble runs a test with a spool in fake time, and checks that it lets go of
// its files.
func bubble(t *testing.T, f func(t *testing.T, s *spoolTest), set ...func(*Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		o := testOptions(m)
		for _, f := range set {
			f(&o)
		}
		s := start(t, m, o)
		f(t, s)
		_ = s.stop() // a test that cares has looked
		if n := m.Handles(); n != 0 {
			t.Errorf("%d files left open", n)
		}
	})
}

// pass lets fake time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// msg makes the message of a number: its content tells which it is.
func msg(c Class, seq uint64, size int) *Message {
	now := clock()
	m := &Message{
		Class: c, Run: "5F0C9A", Camera: "front", Seq: seq, Mono: now.Mono, WallOffset: now.Wall - now.Mono, Synced: true,
		Payload: content(c, seq, size),
	}
	return m
}

func content(c Class, seq uint64, size int) []byte {
	b := make([]byte, 0, size+8)
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d/%d", c, seq)
	for x := h.Sum64(); len(b) < size; x = x*6364136223846793005 + 1442695040888963407 {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b[:size]
}

func (s *spoolTest) append(c Class, seq uint64, size int) {
	s.t.Helper()
	if !s.Append(msg(c, seq, size)) {
		s.t.Errorf("%v %d: not taken", c, seq)
	}
}

func (s *spoolTest) flush() {
	s.t.Helper()
	if err := s.Flush(s.t.Context()); err != nil {
		s.t.Errorf("flush: %v", err)
	}
}

// key is what a message is told by.
type key struct {
	c   Class
	seq uint64
}

// drain takes and confirms all there is.
func (s *spoolTest) drain() (got []key) {
	s.t.Helper()
	var d Delivery
	for {
		synctest.Wait()
		if !s.Next(&d) {
			synctest.Wait()
			if !s.Next(&d) {
				return got
			}
		}
		s.check(&d)
		got = append(got, key{d.Class, d.Seq})
		s.Confirm(d.Receipt)
	}
}

func (s *spoolTest) check(d *Delivery) {
	s.t.Helper()
	if want := content(d.Class, d.Seq, len(d.Payload)); string(want) != string(d.Payload) ||
		d.Run != "5F0C9A" || d.Camera != "front" || !d.Synced {
		s.t.Errorf("%v %d: content is not what was appended: run %q camera %q", d.Class, d.Seq, d.Run, d.Camera)
	}
}

func keys(c Class, from, to uint64) (list []key) {
	for i := from; i <= to; i++ {
		list = append(list, key{c, i})
	}
	return list
}
