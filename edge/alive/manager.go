package alive

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// statusEvery is how often STATUS is told where there is no watchdog.
	statusEvery = 5 * time.Second
	// A thread hangs when it is at the same piece of work for a third of the
	// watchdog's time; it is looked at three times in that time.
	limitPart, checkPart = 3, 9
	// longestStatus bounds a line of `systemctl status`, in bytes.
	longestStatus = 400
	// Each step of a long start asks for more time twice before that is over.
	extendBy    = time.Minute
	extendEvery = 20 * time.Second
)

// Manager is the service manager that started this program. A nil Manager takes
// everything and tells nobody.
type Manager struct {
	send     func(state string) error
	watchdog time.Duration // 0: none
}

// FromEnvironment returns the service manager that NOTIFY_SOCKET names, nil where
// there is none. With an error there may still be one, whose watchdog is off.
func FromEnvironment() (*Manager, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil, nil
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		err = fmt.Errorf("watchdog of the service manager: %w", err)
	}
	return NewManager(func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}, watchdog), err
}

// NewManager returns a manager that is told by send, and that wants to hear of
// life within watchdog, if that is not 0.
func NewManager(send func(state string) error, watchdog time.Duration) *Manager {
	return &Manager{send: send, watchdog: watchdog}
}

// tell sends lines. Nobody else hears that it could not: the log does.
func (m *Manager) tell(lines ...string) {
	if err := m.send(strings.Join(lines, "\n")); err != nil {
		slog.Warn("the service manager cannot be told", "error", err)
	}
}

func statusLine(text string) string {
	text = strings.Join(strings.Fields(text), " ") // a line feed would begin another word of the protocol
	if len(text) > longestStatus {
		text = strings.ToValidUTF8(text[:longestStatus], "") + " ..."
	}
	return "STATUS=" + text
}

// Starting asks for more time to start, with what as the reason, until the returned
// function is called, but for most at the longest: what takes longer than that is
// ended by the manager and tried again.
func (m *Manager) Starting(what string, most time.Duration) (stop func()) {
	if m == nil {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(extendEvery)
		defer tick.Stop()
		for {
			m.tell(statusLine("starting: "+what), fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds()))
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// Run tells that the service is ready, and then, until ctx is done, how it is and
// that it is alive; the latter only while no thread of the group hangs. It ends
// with telling that the service stops. status returns one line.
func (m *Manager) Run(ctx context.Context, g *Group, status func() string) {
	if m == nil {
		return
	}
	every := statusEvery
	if m.watchdog > 0 {
		every = m.watchdog / checkPart
	}
	m.tell("READY=1", statusLine(status()), "WATCHDOG=1")
	tick := time.NewTicker(every)
	defer tick.Stop()
	w := watch{manager: m, group: g, every: every, last: time.Now()}
	for {
		select {
		case <-tick.C:
			w.look(status)
		case <-ctx.Done():
			m.tell("STOPPING=1", statusLine("stopping"))
			return
		}
	}
}

// watch is what Run remembers between two looks at the threads.
type watch struct {
	manager *Manager
	group   *Group
	every   time.Duration
	last    time.Time
	hung    string
}

func (w *watch) look(status func() string) {
	now := time.Now()
	// A machine that stood still, or this program that was stopped, did so for the
	// threads too: that time does not count against them.
	elapsed := min(now.Sub(w.last), 2*w.every)
	w.last = now
	hung := ""
	if w.manager.watchdog > 0 {
		hung = strings.Join(w.group.Check(elapsed, w.manager.watchdog/limitPart), ", ")
	}
	if hung != w.hung {
		w.hung = hung
		if hung == "" {
			slog.Warn("what hung goes on")
		} else {
			slog.Error("threads hang; the watchdog will end this run", "threads", hung)
		}
	}
	if hung != "" {
		w.manager.tell(statusLine("hangs: " + hung))
		return
	}
	w.manager.tell(statusLine(status()), "WATCHDOG=1")
}
