package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

// brokerProcess is a broker in a process of its own, on a loopback port.
type brokerProcess struct {
	t     *testing.T
	args  []string // the program and its arguments
	env   []string
	port  string
	cmd   *exec.Cmd
	ended chan error
	log   *lockedBuffer
}

// mochiAt is the variable that makes this test program a broker: its value is
// where to listen.
const mochiAt = "NIGHTSEG_TEST_BROKER"

func TestMain(m *testing.M) {
	listen := os.Getenv(mochiAt)
	if listen == "" {
		os.Exit(m.Run())
	}
	if _, err := StartBroker(BrokerOptions{Listen: listen}); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends, in whichever way
	os.Exit(0)
}

// startMochi starts the embedded broker in a process that can be killed. Tests
// that lose connections need it for another reason too: mochi 2.7.9 has a data
// race of its own, between a will that it retains and a subscription that looks
// for retained messages, which the race detector would lay at our door.
func startMochi(t *testing.T) *brokerProcess {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &brokerProcess{t: t, args: []string{program}, port: freePort(t), log: &lockedBuffer{}}
	p.env = append(os.Environ(), mochiAt+"=127.0.0.1:"+p.port)
	p.start()
	t.Cleanup(p.stop)
	return p
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// findProgram skips the test where a program is missing.
func findProgram(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	t.Skipf("%s is not installed: apt-get install mosquitto", names[0])
	return ""
}

func freePort(t *testing.T) string {
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

// startMosquitto starts a broker with the given lines of configuration beside
// its listener; without any, everyone may do everything.
func startMosquitto(t *testing.T, lines ...string) *brokerProcess {
	t.Helper()
	binary := findProgram(t, "mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")
	m := &brokerProcess{t: t, port: freePort(t), log: &lockedBuffer{}}
	if len(lines) == 0 {
		lines = []string{"allow_anonymous true"}
	}
	dir := t.TempDir()
	conf := []string{
		"log_dest stderr", "log_type all", "listener " + m.port + " 127.0.0.1",
		"persistence true", "persistence_location " + dir + "/", "max_queued_messages 0",
	}
	if os.Geteuid() == 0 {
		conf = append([]string{"user root"}, conf...) // else it could not read its files
	}
	file := filepath.Join(dir, "mosquitto.conf")
	m.args = []string{binary, "-c", file}
	text := strings.Join(append(conf, lines...), "\n") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (p *brokerProcess) url() string { return "mqtt://127.0.0.1:" + p.port }

// start waits until the port answers.
func (p *brokerProcess) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Env, p.cmd.Stderr = p.env, p.log
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
		_ = stdin.Close() // held open until here: mochi's process waits for its end
	}(p.cmd)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", "127.0.0.1:"+p.port)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-tick.C:
		case err := <-ended:
			p.t.Fatalf("broker ended: %v\n%s", err, p.log)
		case <-ctx.Done():
			p.t.Fatalf("broker does not listen\n%s", p.log)
		}
	}
}

// stop ends the broker; it keeps its sessions on disk.
func (p *brokerProcess) stop() { p.end(syscall.SIGTERM) }

// kill ends the broker at once.
func (p *brokerProcess) kill() { p.end(syscall.SIGKILL) }

func (p *brokerProcess) end(s syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(s) // it may have ended by itself
	receive(p.t, p.ended, "end of the broker")
	p.cmd = nil
}

// server is a broker that a test can kill and start again on the same address.
type server struct {
	url           string
	kill, restart func()
}

// eachBroker runs a test against both brokers.
func eachBroker(t *testing.T, test func(t *testing.T, s *server)) {
	t.Run("mochi", func(t *testing.T) {
		p := startMochi(t)
		test(t, &server{url: p.url(), kill: p.kill, restart: p.start})
	})
	t.Run("mosquitto", func(t *testing.T) {
		m := startMosquitto(t)
		test(t, &server{url: m.url(), kill: m.kill, restart: m.start})
	})
}

// proxy stands between client and broker, to cut or to hold up connections.
type proxy struct {
	t        *testing.T
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	gate  chan struct{} // closed: bytes pass
}

func startProxy(t *testing.T, brokerURL string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: l, target: strings.TrimPrefix(brokerURL, "mqtt://"), gate: make(chan struct{})}
	close(p.gate)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.pass()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "mqtt://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, broker)
		p.mu.Unlock()
		p.wg.Go(func() { p.copy(broker, client) })
		p.wg.Go(func() { p.copy(client, broker) })
	}
}

func (p *proxy) copy(dst, src net.Conn) {
	defer func() { _ = dst.Close() }()
	b := make([]byte, 4<<10)
	for {
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		<-gate
		n, err := src.Read(b)
		if err != nil {
			return
		}
		if _, err := dst.Write(b[:n]); err != nil {
			return
		}
	}
}

// cut breaks all connections as a pulled cable would, but with a reset.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	p.conns = nil
}

// stall stops reading; pass goes on.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

func (p *proxy) pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

func (p *proxy) String() string { return fmt.Sprintf("proxy to %s", p.target) }
