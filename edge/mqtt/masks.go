package mqtt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nightseg/edge/frame"
)

// MasksSuffix is what the client id of the connection for masks ends in.
const MasksSuffix = "-masks"

// masks is the way of the masks to the broker: a queue of live ones, a window of
// lossless ones, and the connection for both.
type masks struct {
	o      Options // with the client id of this connection
	outbox Outbox  // nil: none
	state  *connState
	move   *mover
	done   <-chan struct{} // closed when the client has ended
	wake   chan struct{}   // capacity 1: there may be something to send

	camerasMu sync.RWMutex
	cameras   map[string]*cameraMasks
	nameless  cameraMasks // cameras that have no id
	delivered atomic.Uint64

	ring     *ring
	window   chan *parcel // parcels that lossless masks may use
	unsent   chan *parcel // parcels filled, in order
	flushing chan struct{}

	full    atomic.Bool  // the link has as much as it carries
	writing atomic.Int64 // Unix nanoseconds since when a mask is being written; 0: none is
	doubt   atomic.Bool  // the broker is silent: whatever does not fit into the queue is kept

	outboxMu   sync.Mutex // the order of what goes into the outbox
	spare      packet     // outboxMu
	limbo      int        // remembered without being written; outboxMu
	limboBytes int

	inflight []*parcel // sent or to be sent again, oldest first; the sender's own
	hand     packet    // the packet being written; the sender's own
	onSent   func(camera string)
}

// parcel is a QoS 1 message that is kept until the broker has acknowledged it.
type parcel struct {
	topic   string
	payload []byte
	camera  *cameraMasks // of a mask
	meta    frame.Meta   // of a live mask
	live    bool
	id      uint16
	sent    time.Time
	done    bool

	token interface { // of an answer, which paho sends
		Done() <-chan struct{}
		Error() error
	}
}

func newMasks(o Options, done <-chan struct{}) *masks {
	o.ClientID += MasksSuffix
	o.PingTimeout = min(o.PingTimeout, mostSilence)
	m := &masks{
		o: o, outbox: o.Outbox, state: newConnState(o.OnMasks), done: done,
		wake: make(chan struct{}, 1), cameras: map[string]*cameraMasks{},
		ring: newRing(o.Queue, 32<<10), window: make(chan *parcel, o.Window), unsent: make(chan *parcel, o.Window),
		flushing: make(chan struct{}, 1), inflight: make([]*parcel, 0, o.Window),
	}
	m.move = newMover(MasksSuffix, m.state)
	m.onSent = m.countSent
	for range o.Window {
		m.window <- &parcel{payload: make([]byte, 0, 32<<10)}
	}
	return m
}

// camera returns a camera's topics and counters.
func (m *masks) camera(id string) *cameraMasks {
	m.camerasMu.RLock()
	c, ok := m.cameras[id]
	m.camerasMu.RUnlock()
	if ok {
		return c
	}
	if CheckID(id) != nil {
		return &m.nameless
	}
	m.camerasMu.Lock()
	defer m.camerasMu.Unlock()
	if c, ok = m.cameras[id]; !ok {
		c = &cameraMasks{topic: m.o.Mask(id), history: m.o.History(id)}
		m.cameras[strings.Clone(id)] = c // the caller's may be part of something large
	}
	return c
}

func (m *masks) notify() {
	select {
	case m.wake <- struct{}{}:
	default: // a wake-up is already waiting
	}
}

// offer queues a copy of a live mask, or has it kept, or counts it as lost.
func (m *masks) offer(meta *frame.Meta, payload []byte) bool {
	c := m.camera(meta.Camera)
	if c.topic == "" || len(payload) > m.o.MaxPayload {
		c.invalid.Add(1)
		return false
	}
	if m.outbox != nil && (m.doubt.Load() || m.stuck()) {
		m.makeRoom()
	}
	taken, lost, of := m.ring.push(c.topic, c, meta, payload)
	switch {
	case taken && lost && m.full.Load():
		of.thin.Add(1)
	case taken && lost:
		of.queue.Add(1)
	}
	switch {
	case taken:
		m.notify()
		return true
	case m.outbox == nil:
		c.offline.Add(1)
		return false
	}
	m.outboxMu.Lock()
	defer m.outboxMu.Unlock()
	c.kept.Add(1)
	m.outbox.Keep(meta, payload)
	return true
}

// stuck reports whether a write hangs.
func (m *masks) stuck() bool {
	since := m.writing.Load()
	return since != 0 && time.Since(time.Unix(0, since)) > suspectAfter
}

// makeRoom takes the oldest mask out of a full queue while the broker is silent.
// It joins those that were written and are not proven, behind them, for it must
// not come into the outbox before them.
func (m *masks) makeRoom() {
	m.outboxMu.Lock()
	defer m.outboxMu.Unlock()
	switch {
	case !m.ring.full(), m.limbo >= paceCount, m.limboBytes >= paceMost:
		return
	case !m.doubt.Load() && !m.stuck():
		return
	}
	m.doubt.Store(true) // the sender must know, and be done with it, before it writes on
	if m.ring.pop(&m.spare) {
		m.outbox.Remember(&m.spare.meta, m.spare.payload())
		m.limbo++
		m.limboBytes += len(m.spare.payload())
	}
}

// certain ends the doubt: the broker has read all that was written. What was
// meanwhile taken out of the queue is kept.
func (m *masks) certain() {
	m.outboxMu.Lock()
	defer m.outboxMu.Unlock()
	m.doubt.Store(false)
	m.spill()
}

// spill moves what is remembered into the outbox; the caller has outboxMu.
func (m *masks) spill() {
	m.limbo, m.limboBytes = 0, 0
	m.outbox.Spill(m.countKept)
}

func (m *masks) countKept(camera string) { m.camera(camera).kept.Add(1) }
func (m *masks) countSent(camera string) { m.camera(camera).sent.Add(1) }

// leave empties the queue when there is no connection any more: what is not
// proven, and what waits, is kept in the order of the frames, or counted as lost.
func (m *masks) leave() {
	m.full.Store(false)
	m.outboxMu.Lock()
	defer m.outboxMu.Unlock()
	m.ring.seal() // what is offered from now on waits for us
	m.doubt.Store(false)
	if m.outbox == nil {
		for m.ring.pop(&m.spare) {
			m.spare.camera.offline.Add(1)
		}
		return
	}
	rest := m.inflight[:0]
	for _, p := range m.inflight { // with QoS 1 these are the oldest
		if !p.live {
			rest = append(rest, p)
			continue
		}
		p.camera.kept.Add(1)
		m.outbox.Keep(&p.meta, p.payload)
		m.window <- p // never blocks: it has room for every parcel
	}
	m.inflight = rest
	m.spill()
	for m.ring.pop(&m.spare) {
		m.spare.camera.kept.Add(1)
		m.outbox.Keep(&m.spare.meta, m.spare.payload())
	}
	m.outbox.Rewind()
}

func (m *masks) setOffline(n uint64, err error) {
	m.leave()
	known := m.state.known(err)
	m.state.set(ConnectionState{Connection: n, Err: err})
	if !known && !errors.Is(err, context.Canceled) {
		m.o.Logger.Warn("no connection to broker for masks", "connection", n, "error", err)
	}
}

// publish hands over a copy of a lossless mask.
func (m *masks) publish(ctx context.Context, camera string, payload []byte) error {
	c := m.camera(camera)
	if c.topic == "" {
		return fmt.Errorf("mqtt: camera: %w", CheckID(camera))
	}
	if len(payload) > m.o.MaxPayload {
		return fmt.Errorf("mqtt: a mask of %d bytes is above the limit of %d", len(payload), m.o.MaxPayload)
	}
	select {
	case <-m.done:
		return fmt.Errorf("mqtt: %w", ErrStopped)
	default:
	}
	select {
	case p := <-m.window:
		p.topic, p.camera, p.live = c.topic, c, false
		p.payload = append(p.payload[:0], payload...)
		m.unsent <- p // never blocks: it has room for the whole window
		m.notify()
		return nil
	case <-m.done:
		return fmt.Errorf("mqtt: %w", ErrStopped)
	case <-ctx.Done():
		return fmt.Errorf("mqtt: %w", errors.Join(ctx.Err(), m.state.now().Err))
	}
}

// flush waits until the whole window is free.
func (m *masks) flush(ctx context.Context) error {
	select {
	case m.flushing <- struct{}{}: // one at a time: two would each hold half the window
		defer func() { <-m.flushing }()
	case <-ctx.Done():
		return fmt.Errorf("mqtt: flush: %w", ctx.Err())
	}
	held := make([]*parcel, 0, m.o.Window)
	defer func() {
		for _, p := range held {
			m.window <- p
		}
	}()
	for len(held) < m.o.Window {
		select {
		case p := <-m.window:
			held = append(held, p)
			continue
		default:
		}
		select {
		case p := <-m.window:
			held = append(held, p)
		case <-m.done:
			return fmt.Errorf("mqtt: flush: %w with %d masks unacknowledged", ErrStopped, m.o.Window-len(held))
		case <-ctx.Done():
			return fmt.Errorf("mqtt: flush: %w", errors.Join(ctx.Err(), m.state.now().Err))
		}
	}
	return nil
}
