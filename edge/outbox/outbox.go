// Package outbox keeps events, and the live masks that a broker may not have, and
// gives them back to be delivered: it joins the ring of masks that were written
// and are not proven to have arrived, the spool on disk, the choice of the masks
// that are worth more than others, and the bound on the rate of delivery. It is
// what edge/mqtt calls an Outbox.
//
// Goroutines: Run alone.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"nightseg/edge/frame"
	"nightseg/edge/mqtt"
	"nightseg/edge/spool"
)

// What is remembered of one connection: edge/mqtt has at most 1024 masks and 4 MiB
// and one mask under way, and takes as many out of its queue while a broker is
// silent.
const (
	unprovenMasks = 2050
	unprovenBytes = 24 << 20
)

// Options of an Outbox.
type Options struct {
	Dir          string        // of the spool
	MaxBytes     int64         // of the spool; 0: its default
	MaxAge       time.Duration // of a kept mask; 0: the spool's default
	Rate         float64       // bytes per second of history; 0: no bound
	ReducedEvery time.Duration // one mask per this long and camera is of the class reduced; 0: none is
	Logger       *slog.Logger

	Spool spool.Options // what else the spool is to do otherwise; for tests
}

// Outbox implements mqtt.Outbox.
type Outbox struct {
	spool    *spool.Spool
	unproven *spool.Unproven
	every    time.Duration

	mu      sync.Mutex
	reduced map[string]moment // when the last mask of the class was captured, by camera

	limit    *spool.Limiter // this and the rest are of the goroutine that delivers
	given    spool.Delivery
	receipts map[uint64]spool.Receipt
	next     uint64
}

// moment is a capture time; Seq and Mono begin anew with a run and a boot.
type moment struct {
	run string
	at  time.Duration
}

var _ mqtt.Outbox = (*Outbox)(nil)

// New checks the options and returns an outbox that touches no disk before Run.
func New(o Options) (*Outbox, error) {
	if o.Rate < 0 || o.ReducedEvery < 0 {
		return nil, errors.New("outbox: rate and reduced_every must not be below 0")
	}
	so := o.Spool
	so.Dir, so.MaxBytes, so.MaxAge, so.Logger = o.Dir, o.MaxBytes, o.MaxAge, o.Logger
	if so.QueueRecords == 0 { // all that is remembered comes at once
		so.QueueRecords, so.QueueBytes = 2*unprovenMasks, unprovenBytes
	}
	s, err := spool.New(so)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	return &Outbox{
		spool: s, unproven: spool.NewUnproven(unprovenMasks, unprovenBytes), every: o.ReducedEvery,
		reduced: map[string]moment{}, limit: spool.NewLimiter(o.Rate, 0), receipts: map[uint64]spool.Receipt{},
	}, nil
}

// Run works on the disk until ctx ends. It must outlive whoever uses the outbox.
func (b *Outbox) Run(ctx context.Context) error { return b.spool.Run(ctx) }

// Stats are the spool's figures.
func (b *Outbox) Stats() spool.Stats { return b.spool.Stats() }

// Degraded says why masks are not kept as they should; "" where they are.
func (b *Outbox) Degraded() string { return b.spool.Degraded() }

// Remember implements mqtt.Proof.
func (b *Outbox) Remember(m *frame.Meta, payload []byte) {
	msg := message(m, payload)
	b.unproven.Add(&msg)
}

// Barrier implements mqtt.Proof.
func (b *Outbox) Barrier() uint64 { return b.unproven.Barrier() }

// Prove implements mqtt.Proof.
func (b *Outbox) Prove(barrier uint64, each func(camera string)) {
	b.unproven.Prove(barrier, func(m *spool.Message) { each(m.Camera) })
}

// Keep implements mqtt.Keeper.
func (b *Outbox) Keep(m *frame.Meta, payload []byte) {
	msg := message(m, payload)
	b.keep(&msg)
}

// Spill implements mqtt.Keeper.
func (b *Outbox) Spill(each func(camera string)) {
	b.unproven.Spill(func(m *spool.Message) {
		each(m.Camera)
		b.keep(m)
	})
}

// KeepEvent implements mqtt.Keeper.
func (b *Outbox) KeepEvent(m *frame.Meta, payload []byte) bool {
	msg := message(m, payload)
	msg.Class, msg.Camera = spool.Event, ""
	return b.spool.Append(&msg)
}

// keep gives a mask to the spool, which counts what it cannot take.
func (b *Outbox) keep(m *spool.Message) {
	m.Class = b.class(m)
	b.spool.Append(m)
}

// class chooses one mask per camera and time as worth more than the others.
func (b *Outbox) class(m *spool.Message) spool.Class {
	if b.every == 0 {
		return spool.Live
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last, ok := b.reduced[m.Camera]
	if ok && last.run == m.Run && m.Mono-last.at < b.every {
		return spool.Live
	}
	b.reduced[m.Camera] = moment{m.Run, m.Mono}
	return spool.Reduced
}

// message is a mask or an event in the spool's words.
func message(m *frame.Meta, payload []byte) spool.Message {
	return spool.Message{
		Run: m.Run, Camera: m.Camera, Seq: m.Seq, Mono: m.Mono, WallOffset: m.WallOffset,
		Synced: m.Flags&frame.FlagClock != 0, Payload: payload,
	}
}

// Ready implements mqtt.History.
func (b *Outbox) Ready() <-chan struct{} { return b.spool.Ready() }

// Next implements mqtt.History. The bound on the rate is for masks.
func (b *Outbox) Next(p *mqtt.Past, now time.Time, masks bool) (ok bool, wait time.Duration) {
	least := spool.Event
	if masks {
		if wait = b.limit.Wait(now); wait == 0 {
			least = spool.Live
		}
	}
	d := &b.given
	if !b.spool.NextOf(least, d) {
		return false, wait
	}
	b.limit.Sent(len(d.Payload))
	b.next++
	b.receipts[b.next] = d.Receipt
	*p = mqtt.Past{
		Event: d.Class == spool.Event, Camera: d.Camera, Run: d.Run, Age: d.Age, Payload: d.Payload, Ref: b.next,
	}
	return true, 0
}

// Confirm implements mqtt.History.
func (b *Outbox) Confirm(p mqtt.Past) {
	if r, ok := b.receipts[p.Ref]; ok {
		delete(b.receipts, p.Ref)
		b.spool.Confirm(r)
	}
}

// Events implements mqtt.History.
func (b *Outbox) Events() uint64 { return b.spool.Stats().Records[spool.Event] }

// Rewind implements mqtt.Keeper.
func (b *Outbox) Rewind() {
	clear(b.receipts)
	b.spool.Rewind()
}
