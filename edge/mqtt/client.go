package mqtt

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"
)

// document is the index of a retained document.
type document int

const (
	docStatus document = iota
	docMeta
	docSchema
	docReported
	documents
)

// Client is a device's way to the broker: two connections, one for masks and one
// for everything else, so that neither holds up nor takes away the other. Its
// methods may be called from any goroutine, before, during and after Run.
type Client struct {
	o       Options // the endpoint in it is of the goroutine that connects
	first   Options // as New got them
	move    *mover
	moves   atomic.Uint64
	attempt func(ctx context.Context, n uint64) (lived time.Duration, err error)
	started atomic.Bool
	done    chan struct{} // closed when Run has ended
	wake    chan struct{} // capacity 1: there may be something to send
	control *connState
	masks   *masks

	droppedNotes, droppedAnswers atomic.Uint64

	mu         sync.Mutex
	status     Status
	docs       [documents][]byte
	docVersion [documents]uint64

	notes    *ring        // stats and health
	answers  chan *parcel // acknowledgements and results, QoS 1
	incoming *inbox

	inflight []*parcel // sent or to be sent again, oldest first; the sender's own
	hand     packet    // the packet being written; the sender's own
}

// mostAnswers is how many answers may wait.
const mostAnswers = 64

// New checks the options and returns a client that does nothing before Run.
func New(o Options) (*Client, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	o.setDefaults()
	c := &Client{
		o: o, first: o,
		done: make(chan struct{}), wake: make(chan struct{}, 1), control: newConnState(o.OnState),
		status:  Status{State: Degraded, Run: o.Run, Reason: "starting"},
		notes:   newRing(16, 2<<10),
		answers: make(chan *parcel, mostAnswers), incoming: newInbox(),
		inflight: make([]*parcel, 0, mostAnswers),
	}
	c.move = newMover("", c.control)
	c.masks = newMasks(o, c.done)
	c.docVersion[docStatus] = 1
	c.attempt = c.connectAndServe
	return c, nil
}

// Topics returns the topics of this device.
func (c *Client) Topics() Topics { return c.o.Topics }

// Run keeps the connections and sends what the other methods hand over, until
// ctx ends; then it sends the masks that are queued, for at most StopTimeout, and
// then the rest and the status "stopped", for at most StopTimeout, and
// disconnects. It may be called once. It returns nil at the end of ctx: a broker
// that cannot be reached is no error of Run but a state.
func (c *Client) Run(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return errors.New("mqtt: Run called twice")
	}
	defer close(c.done)
	// What a subscriber hears last is that we have stopped: the other connection
	// ends when the masks have arrived.
	control, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer stop()
		keepConnected(ctx, &c.masks.o, c.masks.move, c.control.came, c.masks.connectAndServe, c.masks.setOffline)
	})
	wg.Go(func() { c.incoming.run(ctx, &c.o) })
	keepConnected(control, &c.o, c.move, c.masks.state.came, c.attempt, c.setOffline)
	return nil
}

// keepConnected calls attempt, which connects and returns when the connection
// has ended, again and again with back-off, until ctx ends; other receives when
// there is reason to hope. Moves are made between two attempts. A connection that
// ended before StableAfter counts as a failure: two clients of one id, which
// throw each other out, must not spin.
func keepConnected(
	ctx context.Context, o *Options, m *mover, other <-chan struct{},
	attempt func(context.Context, uint64) (time.Duration, error), offline func(uint64, error),
) {
	b := newBackoff(o.BackoffMin, o.BackoffMax, seed(o.ClientID, o.Run))
	for n := uint64(1); ctx.Err() == nil; n++ {
		m.take(o)
		select {
		case <-other: // of old
		default:
		}
		start := time.Now()
		lived, err := attempt(ctx, n)
		if ctx.Err() != nil {
			offline(n, ctx.Err())
			return
		}
		if errors.Is(err, errMoved) {
			b.reset()
			offline(n, err)
			continue
		}
		if lived >= o.StableAfter || errors.Is(err, errSilent) { // no other client has to do with silence
			b.reset()
		} else if lived > 0 {
			err = fmt.Errorf("%w (after %v: if this repeats, another client may use the client_id %q)",
				err, lived.Round(time.Millisecond), o.ClientID)
		}
		offline(n, err)
		wait := b.next()
		if lived == 0 { // where nobody answers, the attempt itself was a wait
			wait = max(wait-time.Since(start), o.BackoffMin/2)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-other: // the other connection came: the broker is there
		case <-m.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// seed makes the jitter of two devices differ.
func seed(words ...string) uint64 {
	h := fnv.New64a()
	for _, w := range words {
		_, _ = h.Write([]byte(w)) // a hash's Write returns no error
	}
	return h.Sum64() ^ uint64(time.Now().UnixNano())
}

func (c *Client) setOnline(n uint64) {
	c.notes.open()
	c.control.set(ConnectionState{Connected: true, Connection: n})
	c.o.Logger.Info("connected to broker", "url", c.o.URL, "connection", n)
}

func (c *Client) setOffline(n uint64, err error) {
	c.droppedNotes.Add(uint64(c.notes.close()))
	known := c.control.known(err)
	c.control.set(ConnectionState{Connection: n, Err: err})
	if !known && !errors.Is(err, context.Canceled) {
		c.o.Logger.Warn("no connection to broker", "connection", n, "error", err)
	}
}

// State returns the state of the connection for everything but masks.
func (c *Client) State() ConnectionState { return c.control.now() }

// MasksState returns the state of the connection for masks.
func (c *Client) MasksState() ConnectionState { return c.masks.state.now() }

// WaitConnected waits for both connections. It returns a *ConnectError at once
// where the broker refused us for good, and the last error when ctx ends.
func (c *Client) WaitConnected(ctx context.Context) error {
	if err := c.control.wait(ctx, c.done, 0); err != nil {
		return err
	}
	return c.masks.state.wait(ctx, c.done, 0)
}

func (c *Client) notify() {
	select {
	case c.wake <- struct{}{}:
	default: // a wake-up is already waiting
	}
}
