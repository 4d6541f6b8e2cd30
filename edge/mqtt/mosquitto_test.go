package mqtt

import (
	"bytes"
	"context"
	"fmt"
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

// mosquitto is a real broker in a process of its own, on a loopback port.
type mosquitto struct {
	t      *testing.T
	binary string
	conf   string
	port   string
	cmd    *exec.Cmd
	ended  chan error
	log    *lockedBuffer
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
func startMosquitto(t *testing.T, lines ...string) *mosquitto {
	t.Helper()
	m := &mosquitto{
		t: t, binary: findProgram(t, "mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"),
		port: freePort(t), log: &lockedBuffer{},
	}
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
	m.conf = filepath.Join(dir, "mosquitto.conf")
	text := strings.Join(append(conf, lines...), "\n") + "\n"
	if err := os.WriteFile(m.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *mosquitto) url() string { return "mqtt://127.0.0.1:" + m.port }

// start waits until the port answers.
func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.Command(m.binary, "-c", m.conf)
	m.cmd.Stderr = m.log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan error, 1)
	m.ended = ended
	go func(c *exec.Cmd) { ended <- c.Wait() }(m.cmd)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", "127.0.0.1:"+m.port)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-tick.C:
		case err := <-ended:
			m.t.Fatalf("mosquitto ended: %v\n%s", err, m.log)
		case <-ctx.Done():
			m.t.Fatalf("mosquitto does not listen\n%s", m.log)
		}
	}
}

// stop ends the broker; it keeps its sessions on disk.
func (m *mosquitto) stop() { m.end(syscall.SIGTERM) }

// kill ends the broker at once.
func (m *mosquitto) kill() { m.end(syscall.SIGKILL) }

func (m *mosquitto) end(s syscall.Signal) {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(s) // it may have ended by itself
	receive(m.t, m.ended, "end of mosquitto")
	m.cmd = nil
}

// server is a broker that a test can kill and start again on the same address.
type server struct {
	url           string
	kill, restart func()
}

// eachBroker runs a test against the broker in this process and a real one.
func eachBroker(t *testing.T, test func(t *testing.T, s *server)) {
	t.Run("mochi", func(t *testing.T) {
		b := startTestBroker(t)
		addr := b.Addr()
		test(t, &server{
			url:  b.URL(),
			kill: func() { _ = b.Close() },
			restart: func() {
				again, err := StartBroker(BrokerOptions{Listen: addr})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = again.Close() })
			},
		})
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
