package mqtttest

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Proxy stands between clients and a broker.
type Proxy struct {
	t        testing.TB
	listener net.Listener
	target   string
	wg       sync.WaitGroup
	ended    chan struct{}
	up       *bucket // nil: as fast as it goes

	mu      sync.Mutex
	conns   map[net.Conn]bool // the value: what is read of it is thrown away, for good
	gate    chan struct{}     // closed: bytes pass
	swallow bool
	cutting atomic.Int64 // bytes to the broker after which everything is cut; 0: never
}

// StartProxy starts a proxy to the broker at a URL.
func StartProxy(t testing.TB, brokerURL string) *Proxy {
	t.Helper()
	return startProxy(t, brokerURL, nil, &net.ListenConfig{})
}

// StartThinProxy starts a proxy that all connections together get bytesPerSecond
// through, towards the broker. It takes little from a sender in advance.
func StartThinProxy(t testing.TB, brokerURL string, bytesPerSecond int) *Proxy {
	t.Helper()
	lc := &net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errorsOr(c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		}), &err)
	}}
	return startProxy(t, brokerURL, &bucket{rate: float64(bytesPerSecond)}, lc)
}

func errorsOr(err error, other *error) error {
	if err != nil {
		return err
	}
	return *other
}

func startProxy(t testing.TB, brokerURL string, up *bucket, lc *net.ListenConfig) *Proxy {
	t.Helper()
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		t: t, listener: l, target: strings.TrimPrefix(brokerURL, "mqtt://"), up: up,
		conns: map[net.Conn]bool{}, gate: make(chan struct{}), ended: make(chan struct{}),
	}
	close(p.gate)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		close(p.ended)
		_ = l.Close()
		p.Cut()
		p.Pass()
		p.wg.Wait()
	})
	return p
}

// URL is where the proxy listens.
func (p *Proxy) URL() string { return "mqtt://" + p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		lost := p.swallow
		p.conns[client] = lost
		p.mu.Unlock()
		if lost {
			p.wg.Go(func() { p.copy(nil, client, nil) })
			continue
		}
		broker, err := net.Dial("tcp", p.target)
		if err != nil {
			p.close(client)
			continue
		}
		p.mu.Lock()
		p.conns[broker] = false
		p.mu.Unlock()
		p.wg.Go(func() { p.copy(broker, client, p.up) })
		p.wg.Go(func() { p.copy(client, broker, nil) })
	}
}

// copy passes on what comes from src, or throws it away.
func (p *Proxy) copy(dst, src net.Conn, limit *bucket) {
	defer p.close(src)
	if dst != nil {
		defer p.close(dst)
	}
	b := make([]byte, 1<<10)
	for {
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		<-gate
		n, err := src.Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		lost := p.conns[src]
		p.mu.Unlock()
		if lost || dst == nil {
			continue
		}
		if limit != nil && !limit.take(n, p.ended) {
			return
		}
		if left := p.cutting.Load(); left > 0 && dst.RemoteAddr().String() == p.target {
			if int64(n) >= left {
				_, _ = dst.Write(b[:left]) // the broker gets the beginning of something
				p.cutting.Store(0)
				p.Cut()
				return
			}
			p.cutting.Add(-int64(n))
		}
		if _, err := dst.Write(b[:n]); err != nil {
			return
		}
	}
}

func (p *Proxy) close(c net.Conn) {
	_ = c.Close() // it may be closed already
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// Cut breaks all connections as a pulled cable would, but with a reset.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	clear(p.conns)
}

// CutAfter does so when n more bytes have passed to the broker, in the middle of
// whatever is passing then.
func (p *Proxy) CutAfter(n int) { p.cutting.Store(int64(n)) }

// Swallow throws away what comes, in both directions, also of new connections;
// Return lets those pass that come afterwards.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = true
	for c := range p.conns {
		p.conns[c] = true
	}
}

// Return ends Swallow.
func (p *Proxy) Return() {
	p.mu.Lock()
	p.swallow = false
	p.mu.Unlock()
}

// Stall stops reading; Pass goes on.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

// Pass ends Stall.
func (p *Proxy) Pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

// bucket lets rate bytes per second pass, of all who take from it.
type bucket struct {
	rate float64
	mu   sync.Mutex
	next time.Time // when what was taken so far has passed
}

// take waits until n bytes have passed, and reports false where ended comes first.
func (b *bucket) take(n int, ended <-chan struct{}) bool {
	b.mu.Lock()
	now := time.Now()
	if b.next.Before(now) {
		b.next = now
	}
	b.next = b.next.Add(time.Duration(float64(n) / b.rate * float64(time.Second)))
	wait := b.next.Sub(now)
	b.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ended:
		return false
	}
}
