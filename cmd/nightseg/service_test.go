package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"nightseg/edge"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
)

func TestPulse(t *testing.T) {
	h := edge.NewHealth(nil)
	p := newPulse(h, new(link), func() []*edge.Recorder { return nil })
	if got := p.text(); got != "running: 0.0 masks/s" {
		t.Errorf("%q", got)
	}
	h.Set("bundle", "is bad")
	if got := p.text(); got != "degraded: bundle: is bad (0.0 masks/s)" {
		t.Errorf("%q", got)
	}
}

// manager is a service manager: it reads what it is told.
type manager struct{ lines chan string }

func startManager(t *testing.T, watchdog time.Duration) *manager {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", fmt.Sprint(watchdog.Microseconds()))
	m := &manager{lines: make(chan string, 10000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			for line := range strings.SplitSeq(string(b[:n]), "\n") {
				m.lines <- line
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return m
}

// until returns what is told up to the first line that holds text.
func (m *manager) until(t *testing.T, text string) (before []string) {
	t.Helper()
	for {
		if len(before) == 3000 { // it goes on and on
			t.Fatalf("%q is not in %q ...", text, before[:20])
		}
		line := receive(t, m.lines, text)
		if strings.Contains(line, text) {
			return before
		}
		before = append(before, line)
	}
}

func TestRunTellsTheServiceManager(t *testing.T) {
	needEngine(t)
	m := startManager(t, 9*time.Second)               // a sign of life each second; patience for a busy machine
	url := "mqtt://127.0.0.1:" + mqtttest.FreePort(t) // nobody is there
	dir := filepath.Join(t.TempDir(), "none")
	p := start(t, "run", "--config", settingsFile(t, url,
		`cameras: [{id: drawn, source: "synth://?seed=7&size=48x32&fps=50&loop=8"},`+
			` {id: gone, source: "`+dir+`", rate: 100, loop: true}]`))
	started := m.until(t, "READY=1")
	if text := strings.Join(started, "|"); !strings.Contains(text, "STATUS=starting: networks") ||
		!strings.Contains(text, "EXTEND_TIMEOUT_USEC=") || strings.Contains(text, "WATCHDOG") {
		t.Errorf("before it is ready: %s", text)
	}
	m.until(t, "camera gone")
	m.until(t, "STATUS=degraded: broker: ")
	for range 5 { // with neither broker nor one of the cameras; edge has the long times
		m.until(t, "WATCHDOG=1")
	}
	if code := p.stop(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	for _, line := range m.until(t, "STOPPING=1") {
		if strings.HasPrefix(line, "STATUS=hangs") {
			t.Error(line)
		}
	}
}

func TestRunTellsWhenAllIsWell(t *testing.T) {
	needEngine(t)
	m := startManager(t, 9*time.Second)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	start(t, "run", "--config", settingsFile(t, b.URL(), synthCamera))
	ob.status(mqtt.Online, "")
	m.until(t, "STATUS=running: ")
}

func TestFaultWithoutAJournal(t *testing.T) {
	var b mqtttest.Buffer
	a := &app{err: &b}
	a.fault(errors.New("one\ntwo"))
	if got := b.String(); got != "nightseg: one\ntwo\n" {
		t.Errorf("%q", got)
	}
}

func TestDoctorLooksAtTheService(t *testing.T) {
	node := func(gid uint32, mode uint32) *fstest.MapFile {
		return &fstest.MapFile{Mode: fs.FileMode(mode), Sys: &syscall.Stat_t{Gid: gid}}
	}
	passwd, group := file("root:x:0:0::/:/bin/sh\nnightseg:x:990:991::/:/usr/sbin/nologin\n"),
		file("video:x:44:someone,nightseg\nrender:x:105:\n")
	for name, c := range map[string]struct {
		files       fstest.MapFS
		state, text string
	}{
		"not installed": {fstest.MapFS{"etc/passwd": file("root:x:0:0::/:/bin/sh\n")}, stateOK, "not installed"},
		"may use the camera": {
			fstest.MapFS{"etc/passwd": passwd, "etc/group": group, "dev/video0": node(44, 0o660)}, stateOK, "/dev/video0",
		},
		"no devices": {fstest.MapFS{"etc/passwd": passwd, "etc/group": group}, stateOK, "devices: none"},
		"may not use the graphics": {
			fstest.MapFS{"etc/passwd": passwd, "etc/group": group, "dev/dri/renderD128": node(105, 0o660)},
			stateWarn, "/dev/dri/renderD128",
		},
		"a Jetson without its part of the unit": {
			fstest.MapFS{"etc/passwd": passwd, "etc/group": group, "etc/nv_tegra_release": file("R36")},
			stateWarn, "Jetson",
		},
	} {
		found := onMachine(c.files, func(d *doctor) { d.service(t.Context()) })
		last := found[len(found)-1]
		if last.State != c.state || !strings.Contains(last.Text, c.text) || (last.State == stateWarn) != (last.Remedy != "") {
			t.Errorf("%s: %+v", name, found)
		}
	}
}
