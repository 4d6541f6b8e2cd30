// Package mqtttest holds what tests of connections need: brokers in processes of
// their own that can be stopped and killed, and a proxy that cuts, swallows, holds
// up and slows down what passes.
package mqtttest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for something that is sure to come.
const Patience = 20 * time.Second

// Process is a broker in a process of its own.
type Process struct {
	Args []string // the program and its arguments
	Env  []string
	Host string
	Port string
	Log  *Buffer

	t     testing.TB
	cmd   *exec.Cmd
	ended chan error
}

// Buffer collects what a program that still runs writes.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Receive waits for a value on a channel, at most that long.
func Receive[T any](t testing.TB, ch <-chan T, within time.Duration, what string) T {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatalf("waited %v in vain for %s", within, what)
	}
	panic("unreachable")
}

// NewProcess returns a broker on a free port of the loopback, which is not
// started; its process ends with the test.
func NewProcess(t testing.TB) *Process {
	p := &Process{t: t, Host: "127.0.0.1", Port: FreePort(t), Log: &Buffer{}}
	t.Cleanup(p.Stop)
	return p
}

// FindProgram skips the test where a program is missing.
func FindProgram(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	t.Skipf("%s is not installed: apt-get install mosquitto mosquitto-clients", names[0])
	return ""
}

// FreePort returns a port that nobody listens on.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// StartMosquitto starts a broker with the given lines of configuration beside
// its listener; without any, everyone may do everything.
func StartMosquitto(t testing.TB, lines ...string) *Process {
	t.Helper()
	return startMosquitto(t, nil, "127.0.0.1", "127.0.0.1", lines...)
}

// startMosquitto starts it through another program, where one is given.
func startMosquitto(t testing.TB, through []string, listen, host string, lines ...string) *Process {
	t.Helper()
	binary := FindProgram(t, "mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")
	dir := t.TempDir() // goes when the broker has ended
	p := NewProcess(t)
	p.Host = host
	if len(lines) == 0 {
		lines = []string{"allow_anonymous true"}
	}
	conf := []string{
		"log_dest stderr", "log_type all", "listener " + p.Port + " " + listen,
		"persistence true", "persistence_location " + dir + "/", "max_queued_messages 0",
	}
	if os.Geteuid() == 0 {
		conf = append([]string{"user root"}, conf...) // else it could not read its files
	}
	file := filepath.Join(dir, "mosquitto.conf")
	p.Args = append(through, binary, "-c", file)
	text := strings.Join(append(conf, lines...), "\n") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Start()
	return p
}

// URL is where the broker listens.
func (p *Process) URL() string { return "mqtt://" + net.JoinHostPort(p.Host, p.Port) }

// Start waits until the port answers.
func (p *Process) Start() {
	p.t.Helper()
	p.cmd = exec.Command(p.Args[0], p.Args[1:]...)
	p.cmd.Env, p.cmd.Stderr = p.Env, p.Log
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan error, 1)
	p.ended = ended
	go func(c *exec.Cmd) {
		ended <- c.Wait()
		_ = stdin.Close() // held open until here: a program may wait for its end
	}(p.cmd)
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", net.JoinHostPort(p.Host, p.Port))
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-tick.C:
		case err := <-ended:
			p.t.Fatalf("broker ended: %v\n%s", err, p.Log)
		case <-ctx.Done():
			p.t.Fatalf("broker does not listen\n%s", p.Log)
		}
	}
}

// Stop ends the broker; mosquitto keeps its sessions on disk.
func (p *Process) Stop() { p.end(syscall.SIGTERM) }

// Kill ends the broker at once.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

func (p *Process) end(s syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(s) // it may have ended by itself
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.t.Errorf("the broker does not end\n%s", p.Log)
	}
	p.cmd = nil
}
