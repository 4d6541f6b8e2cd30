package mqtt

import (
	"time"

	"nightseg/edge/frame"
)

// Outbox keeps live masks that the broker may not have. edge/outbox is one; with
// none, such masks are dropped and counted. Its methods must not wait for a disk.
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

// Keeper keeps masks for later. The calls come one at a time.
type Keeper interface {
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
	// Next fills p with the next kept mask, and reports whether there is one that
	// may go now; wait says when to ask again where it is too early.
	Next(p *Past, now time.Time) (ok bool, wait time.Duration)
	// Confirm says that the broker has acknowledged a mask.
	Confirm(p Past)
}

// Past is a mask that was kept.
type Past struct {
	Camera  string
	Payload []byte // valid until it is confirmed
	Ref     uint64 // the outbox's own
}
