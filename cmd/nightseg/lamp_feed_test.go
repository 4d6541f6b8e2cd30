package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
)

// lampProgramOf builds the lamp's program.
func lampProgramOf(t *testing.T) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), lampProgram)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p, "../nightseg-lamp").CombinedOutput()
	if err != nil {
		t.Skipf("go build: %v\n%s", err, out)
	}
	return p
}

// shining is a service with a lamp, as processes.
type shining struct {
	t       *testing.T
	root    string
	service *exec.Cmd
	ended   chan error
	ob      *observer
}

const lampGroup = "lamp: {output: dimmer, steady: 1, tau: 2s}\n"

// shine starts a service by night, and waits until its lamp is on.
func shine(t *testing.T, lines ...string) *shining {
	t.Helper()
	needEngine(t)
	b := startBroker(t, "")
	s := &shining{t: t, root: boardRoot(t, "orin-nano"), ended: make(chan error, 1)}
	t.Setenv(asProgram, "1")
	t.Setenv(lampEnv, lampProgramOf(t))
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	if len(lines) == 0 {
		lines = []string{boardLines(t, lampGroup, ", governor: false")}
	}
	file := settingsFile(t, b.URL(), append(lines, synthCamera)...)
	s.ob = observe(t, b.URL())
	args := append(selfInTest(), "run", "--root", s.root, "--config", file)
	s.service = exec.Command(args[0], args[1:]...)
	var said mqtttest.Buffer
	s.service.Stdout, s.service.Stderr = &said, &said
	if err := s.service.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.service.Wait() }()
	t.Cleanup(func() {
		_ = s.service.Process.Kill() // where it has not ended
		<-s.ended
		if t.Failed() {
			t.Log(said.String())
		}
	})
	s.until("800000")
	return s
}

// until waits for a duty of the lamp, and returns how long that took.
func (s *shining) until(duty string) time.Duration {
	s.t.Helper()
	start := time.Now()
	eventually(s.t, "the lamp has a duty of "+duty, func() bool {
		b, err := os.ReadFile(filepath.Join(s.root, "sys/class/pwm/pwmchip1/pwm0/duty_cycle"))
		return err == nil && strings.TrimSpace(string(b)) == duty
	})
	return time.Since(start)
}

// self is the process of the service.
func (s *shining) self() int { return s.service.Process.Pid }

// lamp is the process of the lamp.
func (s *shining) lamp() int {
	s.t.Helper()
	pid := strconv.Itoa(s.service.Process.Pid)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if strings.Contains(string(b), "(nightseg-lamp)") && len(f) > 1 && f[1] == pid && f[0] != "Z" {
			n, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	s.t.Fatal("no process of the lamp")
	return 0
}

// TestLampGoesOut stops the service, and the lamp's own program, in all ways. The lamp is off
// within a second; where its program alone was stopped, which the service must notice first,
// a little later. Then it comes back.
func TestLampGoesOut(t *testing.T) {
	for _, c := range []struct {
		name   string
		pid    func(*shining) int
		signal syscall.Signal
		within time.Duration
		back   bool
	}{
		{"service told to stop", (*shining).self, syscall.SIGTERM, time.Second, false},
		{"service killed", (*shining).self, syscall.SIGKILL, time.Second, false},
		{"service stopped", (*shining).self, syscall.SIGSTOP, time.Second, false},
		{"lamp killed", (*shining).lamp, syscall.SIGKILL, time.Second, true},
		{"lamp stopped", (*shining).lamp, syscall.SIGSTOP, lampSilent + 500*time.Millisecond, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := shine(t)
			if err := syscall.Kill(c.pid(s), c.signal); err != nil {
				t.Fatal(err)
			}
			took := s.until("0")
			t.Logf("off after %v", took.Round(time.Millisecond))
			if took > 3*c.within { // other tests keep the processors busy
				t.Errorf("off after %v", took)
			}
			if c.back {
				s.ob.status(mqtt.Degraded, "nightseg-lamp ended")
				s.until("800000")
				document(s.ob, "/health", func(d *boardDocument) bool {
					return d.Board != nil && d.Board.Lamp != nil && d.Board.Lamp.Restarts == 1 && d.Board.Lamp.Level > 0
				})
				s.ob.status(mqtt.Online, "")
			}
		})
	}
}

// TestLampFollows: over MQTT, and off by day.
func TestLampFollows(t *testing.T) {
	s := shine(t, boardLines(t, lampGroup, ", governor: false, light: false"), "relight: {dark: 254, bright: 255}")
	url := s.ob.url
	for i, c := range []struct{ doc, duty string }{
		{`"board": {"lamp": {"level": 0.5}}`, "400000"},
		{`"board": {"lamp": {"mode": "off"}}`, "0"},
		{`"board": {"lamp": {"mode": "on"}}`, "800000"},
		{`"relight": {"dark": 0, "bright": 1}`, "0"}, // no picture is dark
	} {
		publish(t, url, testBase+"/config/desired", `{"version": `+strconv.Itoa(i+1)+`, `+c.doc+`}`)
		s.until(c.duty)
	}
}

// TestLampThatIsNotThere: the service goes on, and says so.
func TestLampThatIsNotThere(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	for want, use := range map[string]string{
		"nobody reads": ", lamp: {feed: PIPE}", "feed: open": ", lamp: {feed: /nowhere}", "ended: exit status 1": "",
	} {
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(lampEnv, "/bin/false")
		p := start(t, "run", "--root", boardRoot(t, "orin-nano"), "--config", settingsFile(t, b.URL(), synthCamera,
			boardLines(t, lampGroup, ", governor: false"+strings.Replace(use, "PIPE", pipe, 1))))
		ob.status(mqtt.Degraded, want)
		ob.anyMask()
		p.stop(t)
	}
}

// TestLampByItsPipe: a program that runs already.
func TestLampByItsPipe(t *testing.T) {
	needEngine(t)
	program := lampProgramOf(t)
	root, dir := boardRoot(t, "orin-nano"), t.TempDir()
	pipe, config := filepath.Join(dir, "feed"), filepath.Join(dir, "lamp.json")
	board := saveText(t, filepath.Join(dir, "board.yaml"), serviceBoard+lampGroup)
	code, out, errOut := command(t, "board", "lamp", "--board", board)
	if code != exitDone {
		t.Fatal(errOut)
	}
	saveText(t, config, out)
	lamp := exec.Command(program, "-config", config, "-root", root, "-feed", pipe)
	if err := lamp.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = lamp.Process.Kill()
		_ = lamp.Wait()
	})
	eventually(t, "the pipe is there", func() bool { return exists(pipe) })
	b := startBroker(t, "")
	p := start(t, "run", "--root", root, "--config", settingsFile(t, b.URL(), synthCamera,
		boardLines(t, lampGroup, ", governor: false, lamp: {feed: "+pipe+"}")))
	s := &shining{t: t, root: root}
	s.until("800000")
	p.stop(t)
	if took := s.until("0"); took > time.Second {
		t.Errorf("off after %v", took)
	}
}
