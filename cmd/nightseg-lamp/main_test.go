package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nightseg/firmware/lamp"
	"nightseg/firmware/output"
)

// role makes the test binary behave as this program, or as one that feeds it.
const role = "NIGHTSEG_LAMP_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "lamp":
		main()
	case "feeder":
		for range time.Tick(lamp.Beat / 2) {
			if _, err := fmt.Println("0.5"); err != nil {
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

// patience bounds waits for something that is sure to come; within is the promise of a
// second, three times over: other tests keep the processors busy. What it took is logged.
const (
	patience = 30 * time.Second
	within   = 3 * time.Second
)

// machine is a recorded board with a lamp on its PWM.
type machine struct {
	t      *testing.T
	root   string
	config string
}

func newMachine(t *testing.T, spoil func(*lamp.Config)) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	if err := os.CopyFS(m.root, os.DirFS("../../firmware/board/testdata/trees/orin-nano")); err != nil {
		t.Fatal(err)
	}
	c := lamp.Config{
		Output: output.Config{PWM: "pwm@32c0000", Hertz: 1000, Most: 80},
		Limits: lamp.Limits{Steady: 1, Tau: time.Minute},
	}
	if spoil != nil {
		spoil(&c)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	m.config = filepath.Join(t.TempDir(), "lamp.json")
	if err := os.WriteFile(m.config, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// duty is what the PWM has: "" where it is being written.
func (m *machine) duty() string {
	b, err := os.ReadFile(filepath.Join(m.root, "sys/class/pwm/pwmchip1/pwm0/duty_cycle"))
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// until waits for a duty and returns how long that took.
func (m *machine) until(duty string) time.Duration {
	m.t.Helper()
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m.duty() != duty {
		if time.Since(start) > patience {
			m.t.Fatalf("the duty is %q after %v, not %s", m.duty(), patience, duty)
		}
		<-tick.C
	}
	return time.Since(start)
}

// process is a program at work.
type process struct {
	*exec.Cmd
	ended chan error
}

func (m *machine) start(as string, in, out *os.File, args ...string) *process {
	m.t.Helper()
	p := &process{exec.Command(os.Args[0], args...), make(chan error, 1)}
	p.Env = append(os.Environ(), role+"="+as)
	p.Stdin, p.Stdout, p.Stderr = in, out, os.Stderr
	if err := p.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	m.t.Cleanup(func() {
		_ = p.Process.Kill() // where it has not ended
		p.wait(m.t)
	})
	return p
}

func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
	case <-time.After(patience):
		t.Fatal("the process does not end")
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func shut(t *testing.T, files ...*os.File) {
	t.Helper()
	for _, f := range files {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// lit starts a lamp with a feeder, on its standard input or on a pipe, and waits until it
// shines.
func (m *machine) lit(feed bool) (shines, feeder *process) {
	m.t.Helper()
	args := []string{"-config", m.config, "-root", m.root}
	if !feed {
		r, w := pipe(m.t)
		shines = m.start("lamp", r, nil, args...)
		feeder = m.start("feeder", nil, w)
		shut(m.t, r, w)
	} else {
		name := filepath.Join(m.t.TempDir(), "feed")
		if err := unix.Mkfifo(name, 0o600); err != nil {
			m.t.Fatal(err)
		}
		shines = m.start("lamp", nil, nil, append(args, "-feed", name)...)
		w, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			m.t.Fatal(err)
		}
		feeder = m.start("feeder", nil, w)
		shut(m.t, w)
	}
	m.until("400000") // half of 80 % of a period of a millisecond
	return shines, feeder
}

// TestOff stops the one who feeds, and the program itself, in all ways; each time the lamp
// is off within a second.
func TestOff(t *testing.T) {
	for _, c := range []struct {
		name string
		feed bool
		do   func(t *testing.T, shines, feeder *process)
		ends bool // the program of the lamp
	}{
		{"feeder killed", false, func(t *testing.T, _, f *process) { f.signal(t, syscall.SIGKILL) }, true},
		{"feeder stopped", false, func(t *testing.T, _, f *process) { f.signal(t, syscall.SIGSTOP) }, false},
		{"feeder of a pipe killed", true, func(t *testing.T, _, f *process) { f.signal(t, syscall.SIGKILL) }, false},
		{"feeder of a pipe stopped", true, func(t *testing.T, _, f *process) { f.signal(t, syscall.SIGSTOP) }, false},
		{"SIGTERM", false, func(t *testing.T, l, _ *process) { l.signal(t, syscall.SIGTERM) }, true},
		{"SIGTERM with a pipe", true, func(t *testing.T, l, _ *process) { l.signal(t, syscall.SIGTERM) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, nil)
			shines, feeder := m.lit(c.feed)
			c.do(t, shines, feeder)
			took := m.until("0")
			t.Logf("off after %v", took.Round(time.Millisecond))
			if took > within {
				t.Errorf("off after %v", took)
			}
			if c.ends {
				shines.wait(t)
				if code := shines.ProcessState.ExitCode(); code != 0 {
					t.Errorf("exit code %d", code)
				}
			}
		})
	}
}

// TestComesBack: a feeder that was stopped goes on, and so does the lamp.
func TestComesBack(t *testing.T) {
	m := newMachine(t, nil)
	_, feeder := m.lit(false)
	for range 2 {
		feeder.signal(t, syscall.SIGSTOP)
		m.until("0")
		feeder.signal(t, syscall.SIGCONT)
		m.until("400000")
	}
}

// TestKilledItself: a PWM goes on without its program. That is why there is -off, for who
// looks after it.
func TestKilledItself(t *testing.T) {
	m := newMachine(t, nil)
	shines, _ := m.lit(false)
	shines.signal(t, syscall.SIGKILL)
	shines.wait(t)
	if m.duty() != "400000" {
		t.Fatalf("duty %s: this test has lost its sense", m.duty())
	}
	start := time.Now()
	off := m.start("lamp", nil, nil, "-config", m.config, "-root", m.root, "-off")
	off.wait(t)
	if d := m.duty(); d != "0" || off.ProcessState.ExitCode() != 0 || time.Since(start) > within {
		t.Errorf("duty %s, exit code %d after %v", d, off.ProcessState.ExitCode(), time.Since(start))
	}
}

// feeder writes a text again and again, until it is stopped.
type feeder struct {
	text atomic.Pointer[string]
	end  func()
}

func feed(t *testing.T, w *os.File, text string) *feeder {
	f := &feeder{}
	f.text.Store(&text)
	stop, done := make(chan struct{}), make(chan struct{})
	f.end = sync.OnceFunc(func() {
		close(stop)
		<-done
		_ = w.Close() // the lamp may have ended
	})
	t.Cleanup(f.end)
	go func() {
		defer close(done)
		tick := time.NewTicker(lamp.Beat / 2)
		defer tick.Stop()
		for {
			if _, err := w.WriteString(*f.text.Load() + "\n"); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return f
}

// state waits for a state that fits.
func state(t *testing.T, told *os.File, fits func(lamp.State) bool) {
	t.Helper()
	if err := told.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(told)
	last := ""
	for lines.Scan() {
		last = lines.Text()
		var s lamp.State
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%s: %v", last, err)
		}
		if fits(s) {
			return
		}
	}
	t.Fatalf("the last state: %s, %v", last, lines.Err())
}

// TestStates: what it tells, that it goes on while nobody listens to it any more, and that
// nonsense is no sign of life.
func TestStates(t *testing.T) {
	m := newMachine(t, func(c *lamp.Config) { c.Steady, c.Tau = 0.5, time.Second })
	in, beats := pipe(t)
	told, out := pipe(t)
	p := m.start("lamp", in, out, "-config", m.config, "-root", m.root)
	shut(t, in, out)
	f := feed(t, beats, "1")
	state(t, told, func(s lamp.State) bool {
		return s.Level > 0.49 && s.Level < 0.52 && s.Wanted == 1 && s.Error == "" &&
			strings.Contains(s.Why, "heat is at 100 %")
	})
	shut(t, told) // half of the feeder is gone
	quarter := "0.25"
	f.text.Store(&quarter)
	m.until("200000")
	for start := time.Now(); time.Since(start) < 2*within; { // it tells its state each half second
		if d := m.duty(); d != "200000" && d != "" {
			t.Fatalf("duty %s while its state is not read", d)
		}
	}
	nonsense := "NaN\n2\non\n-1"
	f.text.Store(&nonsense)
	if took := m.until("0"); took > within {
		t.Errorf("nonsense keeps it on for %v", took)
	}
	f.end()
	p.wait(t)
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d at the end of the input", code)
	}
}

// TestNoOutput: a lamp that is not there is told, and taken when it comes.
func TestNoOutput(t *testing.T) {
	m := newMachine(t, nil)
	uevent := filepath.Join(m.root, "sys/class/pwm/pwmchip1/device/uevent")
	if err := os.Rename(uevent, uevent+".off"); err != nil {
		t.Fatal(err)
	}
	if off := m.start("lamp", nil, nil, "-config", m.config, "-root", m.root, "-off"); true {
		off.wait(t)
		if code := off.ProcessState.ExitCode(); code != 1 {
			t.Errorf("-off without an output: exit code %d", code)
		}
	}
	in, beats := pipe(t)
	told, out := pipe(t)
	m.start("lamp", in, out, "-config", m.config, "-root", m.root)
	shut(t, in, out)
	f := feed(t, beats, "1")
	state(t, told, func(s lamp.State) bool { return strings.Contains(s.Error, "no PWM controller is pwm@32c0000") })
	if err := os.Rename(uevent+".off", uevent); err != nil {
		t.Fatal(err)
	}
	state(t, told, func(s lamp.State) bool { return s.Level == 1 && s.Error == "" })
	m.until("800000")
	f.end()
	m.until("0")
}

func TestWrongUsage(t *testing.T) {
	bad := newMachine(t, func(c *lamp.Config) { c.Steady = 0 })
	for want, args := range map[string][]string{
		"-config: open":            nil,
		"steady: 0 is not above 0": {"-config", bad.config},
		"not defined: -lamp":       {"-lamp"},
	} {
		var said strings.Builder
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGUSR2)
		if code := execute(ctx, args, nil, nil, &said); code != 2 || !strings.Contains(said.String(), want) {
			t.Errorf("%q: exit code %d, %s", args, code, said.String())
		}
		stop()
	}
}
