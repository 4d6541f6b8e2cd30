package mqtt

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// errLink is what the reader of a link gets after a write on it failed. Its
// text is ours: paho keeps silent, and believes in the connection, when the
// text is the one of a connection that was closed elsewhere.
var errLink = errors.New("write failed, connection given up")

// link is the network connection that paho works on. It adds what paho leaves
// out: a deadline on every write (pings, acknowledgements and subscriptions
// too), a read buffer (paho reads headers byte by byte), and a way to put a
// ready QoS 0 packet on the wire between two packets of paho, each of which is
// one call of Write.
type link struct {
	net.Conn
	reader  *bufio.Reader
	timeout time.Duration
	failed  atomic.Bool
	why     atomic.Pointer[error] // of the first write that failed

	mu  sync.Mutex // one packet at a time
	end atomic.Int64
}

func newLink(c net.Conn, timeout time.Duration) *link {
	return &link{Conn: c, reader: bufio.NewReaderSize(c, 32<<10), timeout: timeout}
}

func (l *link) Read(p []byte) (int, error) {
	n, err := l.reader.Read(p)
	if err != nil && l.failed.Load() {
		err = errLink
	}
	return n, err
}

// Write puts one whole packet on the wire, or gives the connection up.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := time.Now().Add(l.timeout)
	if end := l.end.Load(); end != 0 {
		limit = time.Unix(0, end)
	}
	err := l.Conn.SetWriteDeadline(limit)
	n := 0
	if err == nil {
		n, err = l.Conn.Write(p)
	}
	if err != nil {
		l.fail(err)
	}
	return n, err
}

// fail abandons the connection after a write. Where the connection was closed
// elsewhere, there is another reason, and somebody else knows it.
func (l *link) fail(err error) {
	if !errors.Is(err, net.ErrClosed) {
		l.why.CompareAndSwap(nil, &err)
	}
	l.abandon()
}

// finish makes every write, also one that is under way, end by t.
func (l *link) finish(t time.Time) {
	l.end.Store(t.UnixNano())
	_ = l.Conn.SetWriteDeadline(t) // a closed connection needs no deadline
}

// abandon closes the connection in such a way that paho notices.
func (l *link) abandon() {
	l.failed.Store(true)
	_ = l.Conn.Close() // nothing to do about a connection that cannot be closed
}

// SetDeadline is called by paho around its handshake; writes have their own.
func (l *link) SetDeadline(t time.Time) error { return l.Conn.SetReadDeadline(t) }

// SetWriteDeadline does nothing: paho would take away the deadline that another
// goroutine's write relies on.
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// dial opens the transport to the broker: TCP, and TLS on it where the scheme
// asks for it. It obeys the context, and no proxy variable of the environment.
func dial(ctx context.Context, u *url.URL, conf *tls.Config, o *Options) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	d := net.Dialer{KeepAlive: o.KeepAlive}
	c, err := d.DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		return nil, err
	}
	if conf != nil {
		t := tls.Client(c, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = c.Close() // the handshake error is the one to report
			return nil, err
		}
		c = t
	}
	return newLink(c, o.WriteTimeout), nil
}
