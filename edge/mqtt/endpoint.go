package mqtt

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Endpoint is where a broker is, and who we are there: the fields of Options of
// these names.
type Endpoint struct {
	URL, ClientID              string
	UsernameFile, PasswordFile string
	CAFile                     string
	CertFile, KeyFile          string
	KeepAlive                  time.Duration
}

// Apply puts the fields into options.
func (e Endpoint) Apply(o *Options) {
	o.URL, o.ClientID = e.URL, e.ClientID
	o.UsernameFile, o.PasswordFile = e.UsernameFile, e.PasswordFile
	o.CAFile, o.CertFile, o.KeyFile = e.CAFile, e.CertFile, e.KeyFile
	o.KeepAlive = e.KeepAlive
}

// errMoved ends a connection because there is another endpoint.
var errMoved = errors.New("another broker is tried")

// move is an endpoint that is to be used from the next connection on, and the
// number of the move.
type move struct {
	Endpoint
	n uint64
}

// mover hands moves to the goroutine that connects.
type mover struct {
	suffix string // of the client id
	state  *connState
	next   atomic.Pointer[move]
	wake   chan struct{} // capacity 1
}

func newMover(suffix string, s *connState) *mover {
	return &mover{suffix: suffix, state: s, wake: make(chan struct{}, 1)}
}

func (m *mover) ask(v *move) {
	m.next.Store(v)
	select {
	case m.wake <- struct{}{}:
	default: // it is already said
	}
}

// asked reports whether there is a move: a wake-up may be an old one.
func (m *mover) asked() bool { return m.next.Load() != nil }

// take makes a move, if there is one. It belongs between two connections.
func (m *mover) take(o *Options) {
	select {
	case <-m.wake:
	default:
	}
	if v := m.next.Swap(nil); v != nil {
		v.Apply(o)
		o.setDefaults()
		o.ClientID += m.suffix
		m.state.moved(v.n)
	}
}

// Redirect ends both connections, with the status "stopped" at the broker that is
// left, and uses another endpoint from then on. What waits to be sent, the retained
// documents and the counters stay. WaitMoved tells when it is connected there.
func (c *Client) Redirect(e Endpoint) error {
	o := c.first
	e.Apply(&o)
	if err := o.Check(); err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	n := c.moves.Add(1)
	c.move.ask(&move{e, n})
	c.masks.move.ask(&move{e, n})
	return nil
}

// WaitMoved waits until both connections are to the endpoint of the last Redirect.
// It returns the last error when ctx ends.
func (c *Client) WaitMoved(ctx context.Context) error {
	n := c.moves.Load()
	if err := c.control.wait(ctx, c.done, n); err != nil {
		return err
	}
	return c.masks.state.wait(ctx, c.done, n)
}
