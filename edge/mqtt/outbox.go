package mqtt

import (
	"time"

	"nightseg/edge/frame"
)

// Outbox keeps events, and live masks that the broker may not have. edge/outbox is
// one; with none, such masks are dropped and counted, and events wait in memory. Its
// methods must not wait for a disk.
type Outbox interface {
	Proof
	Keeper
	History
}

// Proof remembers masks until the broker has proven to have read them. The calls
// come one at a time.
type Proof interface {
	// Remember copies a mask that is about to be written.
	Remember(m *frame.Meta, payload []byte)
	// Barrier stands for all that was remembered so far.
	Barrier() uint64
	// Prove forgets what was remembered before the barrier, and names the cameras.
	Prove(barrier uint64, each func(camera string))
}

// Keeper keeps masks and events for later. The calls come one at a time, but for
// those of KeepEvent.
type Keeper interface {
	// KeepEvent keeps a copy of an event, or reports false. It is called from any
	// goroutine.
	KeepEvent(m *frame.Meta, payload []byte) bool
	// Keep keeps a copy of a mask that cannot be sent now.
	Keep(m *frame.Meta, payload []byte)
	// Spill keeps what was remembered and not proven, oldest first, and names the
	// cameras.
	Spill(each func(camera string))
	// Rewind says that what Next gave and Confirm did not get must be given again.
	Rewind()
}

// History gives back what was kept.
type History interface {
	// Ready receives when there may be something to deliver.
	Ready() <-chan struct{}
	// Next fills p with the next kept event or, where there is none and masks are
	// asked for too, with the next kept mask, and reports whether there is one that
	// may go now; wait says when to ask again where it is too early.
	Next(p *Past, now time.Time, masks bool) (ok bool, wait time.Duration)
	// Confirm says that the broker has acknowledged what Next gave.
	Confirm(p Past)
	// Events is how many kept events the broker has not acknowledged.
	Events() uint64
}

// Past is a mask or an event that was kept.
type Past struct {
	Event   bool
	Camera  string        // of a mask
	Run     string        // of the service that kept it
	Age     time.Duration // since it was captured or happened
	Payload []byte        // valid until it is confirmed
	Ref     uint64        // the outbox's own
}
