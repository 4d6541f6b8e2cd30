package alive_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nightseg/edge/alive"
)

func TestCheck(t *testing.T) {
	const limit = 3 * time.Second
	var g alive.Group
	works, waits, stands := g.Thread("works"), g.Thread("waits"), g.Thread("stands")
	stands.Work()
	for i, want := range []string{"", "", "", "stands", "stands"} {
		works.Work()
		if got := strings.Join(g.Check(time.Second, limit), " "); got != want {
			t.Errorf("look %d: %q hang, want %q", i, got, want)
		}
	}
	stands.Work() // the next piece of work
	if got := g.Check(time.Second, limit); got != nil {
		t.Errorf("%q hang after they got on", got)
	}
	stands.Wait()
	works.Wait()
	waits.Work()
	waits.Wait()
	for range 10 {
		if got := g.Check(time.Hour, limit); got != nil {
			t.Errorf("%q hang while they wait", got)
		}
	}
}

func TestNothingWithoutAGroup(t *testing.T) {
	var g *alive.Group
	thread := g.Thread("x")
	thread.Work()
	thread.Wait()
	if got := g.Check(time.Hour, time.Second); got != nil {
		t.Errorf("%q", got)
	}
	var m *alive.Manager
	m.Starting("x", time.Hour)()
	m.Run(t.Context(), g, nil)
}

// told collects what a manager hears.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (m *told) send(state string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, strings.Split(state, "\n")...)
	return nil
}

// joined returns all lines so far in one.
func (m *told) joined() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.lines, "|")
}

// take returns the lines so far that begin with prefix, and forgets all.
func (m *told) take(prefix string) (found []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		if strings.HasPrefix(l, prefix) {
			found = append(found, l)
		}
	}
	m.lines = nil
	return found
}

const watchdog = 45 * time.Second

// running runs a manager in a bubble; what it hears is in the returned value.
func running(t *testing.T, g *alive.Group, watchdog time.Duration, status func() string) (heard *told, stop func()) {
	t.Helper()
	heard = new(told)
	ctx, cancel := context.WithCancel(t.Context())
	m := alive.NewManager(heard.send, watchdog)
	var wg sync.WaitGroup
	wg.Go(func() { m.Run(ctx, g, status) })
	synctest.Wait()
	return heard, func() {
		cancel()
		wg.Wait()
	}
}

func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestRunFeedsTheWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g alive.Group
		thread := g.Thread("front networks")
		heard, stop := running(t, &g, watchdog, func() string { return "running:\n30 frames/s" })
		first := heard.joined()
		if first != "READY=1|STATUS=running: 30 frames/s|WATCHDOG=1" {
			t.Errorf("first %q", first)
		}
		heard.take("")
		after(time.Hour) // nothing is there to do
		if n := len(heard.take("WATCHDOG=1")); n != 720 {
			t.Errorf("%d signs of life in an hour, want one each 5 s", n)
		}
		thread.Work()
		after(watchdog / 3)
		heard.take("")
		after(time.Hour)
		if got := heard.take("WATCHDOG"); got != nil {
			t.Errorf("%d signs of life of a thread that hangs", len(got))
		}
		after(watchdog)
		if got := heard.take("STATUS"); len(got) == 0 || got[0] != "STATUS=hangs: front networks" {
			t.Errorf("status %q", got)
		}
		thread.Work()
		after(5 * time.Second)
		if got := heard.take("WATCHDOG"); len(got) != 1 {
			t.Errorf("%d signs of life after it got on", len(got))
		}
		stop()
		if got := heard.take("STOPPING"); len(got) != 1 {
			t.Errorf("end told %d times", len(got))
		}
	})
}

// The last sign of life must come early enough: at most the watchdog's time and a
// third of it after the last progress, the manager ends the run.
func TestRunStopsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g alive.Group
		thread := g.Thread("x")
		var last time.Time
		ctx, cancel := context.WithCancel(t.Context())
		m := alive.NewManager(func(state string) error {
			if strings.Contains(state, "WATCHDOG=1") {
				last = time.Now()
			}
			return nil
		}, watchdog)
		var wg sync.WaitGroup
		wg.Go(func() { m.Run(ctx, &g, func() string { return "" }) })
		after(7 * time.Second)
		thread.Work()
		begin := time.Now()
		after(time.Hour)
		if d := last.Sub(begin); d <= 0 || d > watchdog/3 {
			t.Errorf("the last sign of life came %v after the last progress", d)
		}
		cancel()
		wg.Wait()
	})
}

func TestRunWithoutAWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g alive.Group
		g.Thread("x").Work()
		var text atomic.Value
		text.Store("running")
		heard, stop := running(t, &g, 0, func() string { return text.Load().(string) })
		text.Store(strings.Repeat("é", 1000))
		after(time.Minute)
		got := heard.take("STATUS")
		if len(got) != 13 || len(got[12]) > 420 || !strings.HasSuffix(got[12], "é ...") {
			t.Errorf("%d lines, last %q", len(got), got[len(got)-1])
		}
		stop()
	})
}

func TestStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := new(told)
		m := alive.NewManager(heard.send, watchdog)
		stop := m.Starting("loading networks", 10*time.Minute)
		synctest.Wait()
		if got := heard.joined(); got != "STATUS=starting: loading networks|EXTEND_TIMEOUT_USEC=60000000" {
			t.Errorf("first %q", got)
		}
		after(time.Hour)
		if n := len(heard.take("EXTEND")); n != 30 && n != 31 {
			t.Errorf("more time was asked for %d times in the ten minutes that it may take", n)
		}
		stop()
		stop = m.Starting("again", time.Hour)
		stop()
		heard.take("")
		after(time.Hour)
		if got := heard.take(""); got != nil {
			t.Errorf("after the end %q", got)
		}
	})
}

func TestRunThatCannotTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		ctx, cancel := context.WithCancel(t.Context())
		m := alive.NewManager(func(string) error { tries++; return errors.New("no socket") }, watchdog)
		var wg sync.WaitGroup
		wg.Go(func() { m.Run(ctx, nil, func() string { return "" }) })
		after(time.Minute)
		cancel()
		wg.Wait()
		if tries < 10 {
			t.Errorf("%d tries", tries)
		}
	})
}

func TestFromEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if m, err := alive.FromEnvironment(); m != nil || err != nil {
		t.Errorf("without a socket: %v, %v", m, err)
	}
	for name, address := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": "@nightseg-test-" + filepath.Base(t.TempDir()) + "-" + filepath.Base(os.Args[0]),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			t.Setenv("NOTIFY_SOCKET", address)
			t.Setenv("WATCHDOG_USEC", "45000000")
			m, err := alive.FromEnvironment()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var wg sync.WaitGroup
			wg.Go(func() { m.Run(ctx, nil, func() string { return "running" }) })
			b := make([]byte, 1000)
			n, err := l.Read(b)
			if err != nil || string(b[:n]) != "READY=1\nSTATUS=running\nWATCHDOG=1" {
				t.Errorf("%q, %v", b[:n], err)
			}
			cancel()
			wg.Wait()
		})
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	t.Setenv("WATCHDOG_USEC", "soon")
	if m, err := alive.FromEnvironment(); m == nil || err == nil || !strings.Contains(err.Error(), "watchdog") {
		t.Errorf("bad watchdog: %v, %v", m, err)
	}
}
