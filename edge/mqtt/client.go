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

// Client is a device's connection to the broker. Its methods may be called from
// any goroutine, before, during and after Run.
type Client struct {
	o        Options
	attempt  func(ctx context.Context, n uint64) (lived time.Duration, err error)
	started  atomic.Bool
	done     chan struct{} // closed when Run has ended
	wake     chan struct{} // capacity 1: there may be something to send
	counters counters

	mu         sync.Mutex
	state      ConnectionState
	changed    chan struct{} // closed and replaced when state changes
	status     Status
	docs       [documents][]byte
	docVersion [documents]uint64

	topicMu    sync.RWMutex
	maskTopic  map[string]string
	statsTopic map[string]string

	masks    *ring        // live masks
	notes    *ring        // stats and health
	answers  chan *parcel // acknowledgements and results, QoS 1
	window   chan *parcel // parcels that lossless masks may use
	unsent   chan *parcel // parcels filled, in order
	flushing chan struct{}
	incoming *inbox

	inflight []*parcel // sent or to be sent again, oldest first; Run's own
	hand     packet    // the packet being written; Run's own
}

// parcel is a QoS 1 message that is kept until the broker has acknowledged it.
type parcel struct {
	topic   string
	payload []byte
	pooled  bool // goes back to the window
	mask    bool
	token   interface {
		Done() <-chan struct{}
		Error() error
	}
	sent time.Time
}

// New checks the options and returns a client that does nothing before Run.
func New(o Options) (*Client, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	o.setDefaults()
	c := &Client{
		o:    o,
		done: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		status:    Status{State: Degraded, Run: o.Run, Reason: "starting"},
		maskTopic: map[string]string{}, statsTopic: map[string]string{},
		masks: newRing(o.Queue, 32<<10), notes: newRing(16, 2<<10),
		answers: make(chan *parcel, 64), window: make(chan *parcel, o.Window),
		unsent: make(chan *parcel, o.Window), flushing: make(chan struct{}, 1),
		incoming: newInbox(),
		inflight: make([]*parcel, 0, o.Window+64),
	}
	c.docVersion[docStatus] = 1
	for range o.Window {
		c.window <- &parcel{pooled: true, mask: true, payload: make([]byte, 0, 32<<10)}
	}
	c.attempt = c.connectAndServe
	return c, nil
}

// Topics returns the topics of this device.
func (c *Client) Topics() Topics { return c.o.Topics }

// Run keeps the connection and sends what the other methods hand over, until
// ctx ends; then it sends what is queued and the status "stopped", for at most
// StopTimeout, and disconnects. It may be called once. It returns nil at the
// end of ctx: a broker that cannot be reached is no error of Run but a state.
func (c *Client) Run(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return errors.New("mqtt: Run called twice")
	}
	defer close(c.done)
	ctx, cancel := context.WithCancel(ctx)
	var handlers sync.WaitGroup
	handlers.Go(func() { c.incoming.run(ctx, &c.o) })
	keepConnected(ctx, &c.o, c.attempt, c.setOffline)
	cancel()
	handlers.Wait()
	return nil
}

// keepConnected calls attempt, which connects and returns when the connection
// has ended, again and again with back-off, until ctx ends. A connection that
// ended before StableAfter counts as a failure: two clients of one id, which
// throw each other out, must not spin.
func keepConnected(
	ctx context.Context, o *Options,
	attempt func(context.Context, uint64) (time.Duration, error), offline func(uint64, error),
) {
	b := newBackoff(o.BackoffMin, o.BackoffMax, seed(o.ClientID, o.Run))
	for n := uint64(1); ctx.Err() == nil; n++ {
		lived, err := attempt(ctx, n)
		if ctx.Err() != nil {
			offline(n, ctx.Err())
			return
		}
		if lived >= o.StableAfter {
			b.reset()
		} else if lived > 0 {
			err = fmt.Errorf("%w (after %v: if this repeats, another client may use the client_id %q)",
				err, lived.Round(time.Millisecond), o.ClientID)
		}
		offline(n, err)
		timer := time.NewTimer(b.next())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
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
	c.counters.connects.Add(1)
	c.counters.connected.Store(true)
	c.masks.open()
	c.notes.open()
	c.setState(ConnectionState{Connected: true, Connection: n})
	c.o.Logger.Info("connected to broker", "url", c.o.URL, "connection", n)
}

// setOffline drops what live queues hold: a mask that could not be sent in its
// time is counted, never sent late.
func (c *Client) setOffline(n uint64, err error) {
	c.counters.connected.Store(false)
	c.counters.droppedOffline.Add(uint64(c.masks.close()))
	c.counters.droppedNotes.Add(uint64(c.notes.close()))
	c.mu.Lock()
	known := c.state.Err != nil && err != nil && c.state.Err.Error() == err.Error()
	c.mu.Unlock()
	c.setState(ConnectionState{Connection: n, Err: err})
	if !known && !errors.Is(err, context.Canceled) {
		c.o.Logger.Warn("no connection to broker", "connection", n, "error", err)
	}
}

func (c *Client) setState(s ConnectionState) {
	c.mu.Lock()
	c.state = s
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if c.o.OnState != nil {
		c.o.OnState(s)
	}
}

// State returns the connection state and, where there is none, why.
func (c *Client) State() ConnectionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// WaitConnected waits for a connection. It returns a *ConnectError at once where
// the broker refused us for good, and the last error when ctx ends.
func (c *Client) WaitConnected(ctx context.Context) error {
	for {
		c.mu.Lock()
		state, changed := c.state, c.changed
		c.mu.Unlock()
		var refused *ConnectError
		switch {
		case state.Connected:
			return nil
		case errors.As(state.Err, &refused) && refused.Permanent:
			return fmt.Errorf("mqtt: %w", state.Err)
		}
		select {
		case <-changed:
		case <-c.done:
			return fmt.Errorf("mqtt: %w", ErrStopped)
		case <-ctx.Done():
			return fmt.Errorf("mqtt: %w", errors.Join(ctx.Err(), state.Err))
		}
	}
}

func (c *Client) notify() {
	select {
	case c.wake <- struct{}{}:
	default: // a wake-up is already waiting
	}
}
