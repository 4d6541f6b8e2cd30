package capture

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightseg/camera/capture/ring"
	"nightseg/edge/frame"
)

func TestRecordingIsWhole(t *testing.T) {
	s := openFakeSource(t, recording("frames=200"), quick())
	if s.FPS() != 29.97 || s.Len() != 200 {
		t.Errorf("FPS %v, length %d", s.FPS(), s.Len())
	}
	for range 2 { // the end stays the end
		if n, err := drain(t, s, 0, nil); n != 200 && n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d pictures, then %v", n, err)
		}
	}
	wantCounts(t, s, nil)
}

func TestProcessThatStartsSlowly(t *testing.T) {
	t.Setenv(lateEnv, "2500ms")
	l := quick()
	l.silence = 500 * time.Millisecond // and a second time, as a chance
	s := openFakeSource(t, recording("frames=1"), l)
	if n, err := drain(t, s, 0, nil); n != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("%d pictures, then %v", n, err)
	}
	wantCounts(t, s, nil)

	t.Setenv(lateEnv, "1h")
	l.start, l.file = 50*time.Millisecond, 2
	if _, err := tryFake(t, recording("frames=1"), l); err == nil {
		t.Error("a process that never begins is waited for")
	}
}

func TestRecordingOutlivesItsProcess(t *testing.T) {
	short := func(change func(*limits)) limits {
		l := quick()
		change(&l)
		return l
	}
	silence := short(func(l *limits) { l.silence = 500 * time.Millisecond })
	read := short(func(l *limits) { l.read = 300 * time.Millisecond })
	for _, c := range []struct {
		name, address string
		lim           limits
		signal        syscall.Signal
		at            []int
		want          map[string]uint64
	}{
		{"killed", "frames=200", quick(), syscall.SIGKILL, []int{20, 70, 120}, map[string]uint64{CountDied: 3}},
		{"killed before the first", "frames=200", quick(), syscall.SIGKILL, []int{0}, map[string]uint64{CountDied: 1}},
		{"stopped", "frames=200", silence, syscall.SIGSTOP, []int{20, 70}, map[string]uint64{CountSilent: 2}},
		{"hung", "frames=200&hang-once=50", read, 0, nil, map[string]uint64{CountStuck: 1}},
		{"crashed", "frames=200&die-once=50", quick(), 0, nil, map[string]uint64{CountDied: 1}},
		{"mad", "frames=200&garbage-once=50", quick(), 0, nil, map[string]uint64{CountGarbage: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openFakeSource(t, recording(c.address), c.lim)
			var hit []int
			n, err := drain(t, s, 0, func(n int) {
				for _, at := range c.at {
					if n == at {
						hit = append(hit, s.pid())
						signalTo(t, s.pid(), c.signal)
					}
				}
			})
			if n != 200 || !errors.Is(err, io.EOF) {
				t.Errorf("%d pictures, then %v", n, err)
			}
			wantCounts(t, s, c.want)
			for _, pid := range hit {
				if alive(pid) {
					t.Errorf("process %d was not reaped", pid)
				}
			}
		})
	}
}

func TestRecordingIsGivenUp(t *testing.T) {
	read := quick()
	read.read = 100 * time.Millisecond
	for _, c := range []struct {
		name, address string
		lim           limits
		want          []string
		counts        map[string]uint64
	}{
		{
			"death at the same frame", "frames=200&die=50", quick(),
			[]string{"frame 50", "3 times", "exit status 3", "panic: the codec crashed"},
			map[string]uint64{CountDied: 2},
		},
		{
			"hang at the same frame", "frames=200&hang=50", read,
			[]string{"frame 50", "did not answer"},
			map[string]uint64{CountStuck: 2},
		},
		{"failure", "frames=200&fail=50", quick(), []string{"the cable is out"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openFakeSource(t, recording(c.address), c.lim)
			n, err := drain(t, s, 0, nil)
			if n != 50 {
				t.Errorf("%d pictures before it, want 50", n)
			}
			for _, w := range c.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			wantCounts(t, s, c.counts)
			if again := s.Next(t.Context(), new(frame.Frame)); again == nil || again.Error() != err.Error() {
				t.Errorf("then %v", again)
			}
		})
	}
}

func camera(address string) Options {
	return Options{Kind: ring.KindRTSP, Address: address, Live: true}
}

func TestLiveKeepsTheNewest(t *testing.T) {
	g := newGate(t)
	lim := quick()
	lim.slots = 12 // one a picture: on a busy machine the way back of a slot takes as long as it likes
	s := openFakeSource(t, camera("gate="+g.path), lim)
	for n := range 10 {
		g.open(t, 1)
		eventually(t, "there", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.queue) == 1 && s.queue[0].Seq == uint64(n)
		})
	}
	var f frame.Frame
	before := frame.Mono()
	if err := s.Next(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if n := number(t, &f); n != 9 || f.DroppedBefore != 9 {
		t.Errorf("picture %d, %d lost before it; want 9 and 9", n, f.DroppedBefore)
	}
	if f.Mono > before || f.Mono < before-time.Minute {
		t.Errorf("captured at %v, asked for at %v", f.Mono, before)
	}
	g.open(t, 1)
	if err := s.Next(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if n := number(t, &f); n != 10 || f.DroppedBefore != 0 {
		t.Errorf("picture %d, %d lost before it; want 10 and 0", n, f.DroppedBefore)
	}
	wantCounts(t, s, map[string]uint64{CountLate: 9})
}

func TestLiveWithoutAFreeSlot(t *testing.T) {
	g := newGate(t)
	lim := quick()
	lim.slots = 1
	s := openFakeSource(t, camera("gate="+g.path), lim)
	g.open(t, 10)
	eventually(t, "9 pictures without a slot", func() bool { return s.Counters()[CountFull] == 9 })
	var f frame.Frame
	if err := s.Next(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if n := number(t, &f); n != 0 || f.DroppedBefore != 0 {
		t.Errorf("picture %d, %d lost before it; want 0 and 0", n, f.DroppedBefore)
	}
	// The slot is on its way back: pictures are lost until it has arrived.
	lost := uint64(9)
	for n := 10; ; n++ {
		g.open(t, 1)
		eventually(t, "picture there or lost", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.queue) > 0 || s.counters[CountFull] > lost
		})
		if s.Counters()[CountFull] > lost {
			lost++
			continue
		}
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
		if got := number(t, &f); got != n || f.DroppedBefore != uint32(lost) {
			t.Errorf("picture %d, %d lost before it; want %d and %d", got, f.DroppedBefore, n, lost)
		}
		return
	}
}

func TestLiveOutlivesItsProcess(t *testing.T) {
	g := newGate(t)
	s := openFakeSource(t, camera("fail=3&gate="+g.path), quick())
	var f frame.Frame
	next := func(want int) {
		t.Helper()
		g.open(t, 1)
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
		if n := number(t, &f); n != want {
			t.Errorf("picture %d, want %d", n, want)
		}
	}
	next(0)
	signalTo(t, s.pid(), syscall.SIGKILL)
	eventually(t, "started again", func() bool { return s.Counters()[CountDied] == 1 })
	for n := range 3 { // a new process counts anew
		next(n)
	}
	g.open(t, 1) // fails
	next(0)
	wantCounts(t, s, map[string]uint64{CountDied: 1, CountFailed: 1})
}

func TestLiveIsGivenUp(t *testing.T) {
	camFile := filepath.Join(t.TempDir(), "camera")
	if err := os.WriteFile(camFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openFakeSource(t, camera("fail=1&gone="+camFile), quick())
	if err := os.Remove(camFile); err != nil {
		t.Fatal(err)
	}
	var f frame.Frame
	var err error
	for err == nil {
		err = s.Next(t.Context(), &f)
	}
	if !strings.Contains(err.Error(), "8 restarts") || !strings.Contains(err.Error(), "no such camera") {
		t.Errorf("given up with %v", err)
	}
	if _, err := tryFake(t, camera("gone="+camFile), quick()); err == nil || !strings.Contains(err.Error(), "no such") {
		t.Errorf("opening a camera that is not there: %v", err)
	}
}

// TestTroubleIsTold while new processes are tried, and not when pictures come again.
func TestTroubleIsTold(t *testing.T) {
	camFile := filepath.Join(t.TempDir(), "camera")
	if err := os.WriteFile(camFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGate(t)
	lim := quick()
	lim.live = 1000
	s := openFakeSource(t, camera("fail=1&gone="+camFile+"&gate="+g.path), lim)
	var f frame.Frame
	next := func() {
		t.Helper()
		g.open(t, 1)
		if err := s.Next(t.Context(), &f); err != nil {
			t.Fatal(err)
		}
	}
	next()
	if err := s.Trouble(); err != nil {
		t.Errorf("trouble with a camera that is well: %v", err)
	}
	if err := os.Remove(camFile); err != nil {
		t.Fatal(err)
	}
	g.open(t, 1) // fails
	eventually(t, "the trouble", func() bool {
		err := s.Trouble()
		return err != nil && strings.Contains(err.Error(), "no such camera")
	})
	if err := os.WriteFile(camFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next()
	if err := s.Trouble(); err != nil {
		t.Errorf("trouble with a camera that is back: %v", err)
	}
}

func TestDeviceThatDoesNotOpen(t *testing.T) {
	lim := quick()
	lim.open = 200 * time.Millisecond
	_, err := tryFake(t, camera("hang-open"), lim)
	if err == nil || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("a device that hangs: %v", err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = open(ctx, camera("hang-open"), []string{exe}, []string{roleFake}, quick())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller that waits no more: %v", err)
	}
}

func TestNextHeedsItsContext(t *testing.T) {
	g := newGate(t)
	s := openFakeSource(t, camera("gate="+g.path), quick())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Next(ctx, new(frame.Frame)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no picture within the time: %v", err)
	}
	failed := make(chan error)
	go func() { failed <- s.Next(t.Context(), new(frame.Frame)) }()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed while waiting: %v", err)
	}
}
