// Package bus holds I2C buses on which every transaction has a deadline, and recordings
// of their traffic.
package bus

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"nightseg/firmware/tree"
)

// Deadline is how long a transaction may take: a word takes 0.5 ms at 100 kHz, a
// sensor may hold the clock for some more.
const Deadline = 250 * time.Millisecond

// closeWait is how long Close waits for a transaction under way: the kernel gives one
// up after a second by itself, and tries some again.
const closeWait = 3 * time.Second

// ErrStuck is the error of a transaction that did not end by its deadline, or could
// not begin because another holds the bus.
var ErrStuck = errors.New("the bus is stuck: a device holds SDA or SCL low; " +
	"look at wiring and pull-ups, and turn the sensors' power off and on")

// ErrClosed is the error of a bus that was closed.
var ErrClosed = errors.New("the bus is closed")

// Counters are transactions since the start.
type Counters struct {
	Transactions uint64 `json:"transactions"`
	Errors       uint64 `json:"errors"`
	Stuck        uint64 `json:"stuck"`
}

// Bus is an I2C bus. Its methods may be called by several goroutines.
type Bus struct {
	raw      i2c.Bus
	deadline time.Duration
	slot     chan struct{} // held by the transaction under way
	closed   atomic.Bool
	wg       sync.WaitGroup // its goroutine

	transactions, errors, stuck atomic.Uint64
}

var _ i2c.BusCloser = (*Bus)(nil)

// Name is the device file of a bus.
func Name(number int) string { return fmt.Sprintf("/dev/i2c-%d", number) }

// Open finds a bus by its number. Below the root of a recorded machine, the device is
// a recording, which is played. It looks at the one bus and registers no drivers: those
// of periph look at all buses, lines and LEDs of a machine. A bus that goes away later
// is a fault of its transactions, until it is back.
func Open(root tree.Root, number int) (*Bus, error) {
	if root.Recorded() {
		p, err := openPlayback(root.Path(Name(number)))
		if err != nil {
			return nil, err
		}
		return New(p, Deadline), nil
	}
	raw := newAdapter(number)
	if err := raw.Tx(0, nil, nil); err != nil { // nothing is sent
		return nil, err
	}
	return New(raw, Deadline), nil
}

// New gives a bus deadlines.
func New(raw i2c.Bus, deadline time.Duration) *Bus {
	return &Bus{raw: raw, deadline: deadline, slot: make(chan struct{}, 1)}
}

func (b *Bus) String() string { return b.raw.String() }

// SetSpeed implements i2c.Bus.
func (b *Bus) SetSpeed(f physic.Frequency) error { return b.raw.SetSpeed(f) }

// Counters returns the transactions so far.
func (b *Bus) Counters() Counters {
	return Counters{b.transactions.Load(), b.errors.Load(), b.stuck.Load()}
}

// Tx writes w to the device at addr and then reads r. It ends by the deadline; where
// the transaction itself does not, r is left as it was, and Close waits for it.
func (b *Bus) Tx(addr uint16, w, r []byte) error {
	timer := time.NewTimer(b.deadline)
	defer timer.Stop()
	b.transactions.Add(1)
	select {
	case b.slot <- struct{}{}:
	case <-timer.C:
		if b.closed.Load() {
			return ErrClosed
		}
		b.stuck.Add(1)
		return ErrStuck
	}
	if b.closed.Load() {
		<-b.slot
		return ErrClosed
	}
	out, in := slices.Clone(w), make([]byte, len(r)) // its own: it may outlive this call
	done := make(chan error, 1)
	b.wg.Go(func() {
		err := b.raw.Tx(addr, out, in)
		<-b.slot
		done <- err
	})
	select {
	case err := <-done:
		if err != nil {
			b.errors.Add(1)
			return fmt.Errorf("address %#02x: %w", addr, err)
		}
		copy(r, in)
		return nil
	case <-timer.C:
		b.stuck.Add(1)
		return ErrStuck
	}
}

// Close waits for a transaction under way and closes the bus. One that does not come
// back is left, and an error says so.
func (b *Bus) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case b.slot <- struct{}{}:
		<-b.slot
	case <-timer.C:
		return fmt.Errorf("%s: a transaction does not come back and is left: %w", b, ErrStuck)
	}
	b.wg.Wait()
	if c, ok := b.raw.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
