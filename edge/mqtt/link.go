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
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errLink is what the reader of a link gets after a write on it failed. Its
// text is ours: paho keeps silent, and believes in the connection, when the
// text is the one of a connection that was closed elsewhere.
var errLink = errors.New("write failed, connection given up")

// A large packet has more time to be written: as much as a link of leastRate
// bytes per second needs.
const (
	leastRate = 4 << 10
	mostExtra = 20 * time.Second
)

// link is a network connection to the broker. It adds what paho leaves out: a
// deadline on every write (pings, acknowledgements and subscriptions too), a read
// buffer (paho reads headers byte by byte), and a way to put a ready packet on
// the wire between two packets of paho, each of which is one call of Write.
type link struct {
	net.Conn
	reader  *bufio.Reader
	timeout time.Duration
	socket  *socket // nil: not of the operating system
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
	limit := time.Now().Add(l.timeout + min(mostExtra, time.Duration(len(p))*time.Second/leastRate))
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

// over reports whether the time that finish gave has passed.
func (l *link) over() bool {
	end := l.end.Load()
	return end != 0 && time.Now().UnixNano() > end
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

// given returns how many bytes the kernel was given.
func (l *link) given() int64 {
	if l.socket == nil {
		return 0
	}
	return l.socket.given.Load()
}

// acked returns how many of them the other end's kernel has acknowledged.
func (l *link) acked() int64 {
	if l.socket == nil {
		return 0
	}
	return l.given() - int64(l.socket.unacknowledged())
}

// socket is a TCP connection that counts what it was given, below encryption.
type socket struct {
	*net.TCPConn
	given atomic.Int64
	raw   syscall.RawConn
	ask   func(fd uintptr) // made once: a closure of each question would be garbage
	queue int
}

// newSocket also tells the kernel how long bytes may go without acknowledgement:
// else a large write over a dead link would be waited for, and a link that was
// dead for long come back only when the kernel thinks of trying again.
func newSocket(c *net.TCPConn, patience time.Duration) (*socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{TCPConn: c, raw: raw}
	s.ask = func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			s.queue = n
		}
	}
	err = raw.Control(func(fd uintptr) {
		// A kernel that does not know it leaves the pings, which find out later.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience.Milliseconds()))
	})
	return s, err
}

// Write implements io.Writer.
func (s *socket) Write(p []byte) (int, error) {
	n, err := s.TCPConn.Write(p)
	s.given.Add(int64(n))
	return n, err
}

// unacknowledged is for the goroutine that writes.
func (s *socket) unacknowledged() int {
	s.queue = 0
	_ = s.raw.Control(s.ask) // of a closed connection nothing is under way
	return s.queue
}

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
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		_ = c.Close()
		return nil, errors.New("no TCP connection") // cannot be
	}
	s, err := newSocket(tcp, o.PingTimeout)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	if conf == nil {
		l := newLink(s, o.WriteTimeout)
		l.socket = s
		return l, nil
	}
	t := tls.Client(s, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close() // the handshake error is the one to report
		return nil, err
	}
	l := newLink(t, o.WriteTimeout)
	l.socket = s
	return l, nil
}
