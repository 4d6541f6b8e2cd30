package spool

import "time"

// Class is the priority of a message. A higher class is delivered first and
// dropped last.
type Class uint8

// The classes, lowest first.
const (
	Live    Class = iota // masks at the full rate
	Reduced              // masks at a reduced rate
	Event                // events
	Classes              // how many there are
)

var classNames = [Classes]string{"live", "reduced", "event"}

// String returns the class's name in file names and reports.
func (c Class) String() string {
	if c < Classes {
		return classNames[c]
	}
	return "invalid"
}

// Message is what is kept. Run, Camera and Seq are the key by which a consumer
// removes doubles; the spool itself keeps what it is given.
type Message struct {
	Class      Class
	Run        string // at most 255 bytes
	Camera     string // at most 255 bytes
	Seq        uint64
	Mono       time.Duration // capture time since boot
	WallOffset time.Duration // what to add for Unix time
	Synced     bool          // the wall clock was synchronised
	Payload    []byte
}

// Delivery is a message that is to be sent, and the receipt to confirm it with.
type Delivery struct {
	Message // Payload is valid until Confirm
	Receipt Receipt
	Age     time.Duration // since capture, or the least that it can be where no clock tells
}

// Receipt names a delivery. It is of no use after a Rewind.
type Receipt struct {
	class  Class
	turn   uint64 // rewinds before it
	number uint64
}

// Time is a moment on the clocks that tell a message's age.
type Time struct {
	Mono   time.Duration // since boot
	Wall   time.Duration // Unix time
	Synced bool          // Wall can be trusted
}

// stamp is a message's capture time, and the boot whose clock Mono is on.
type stamp struct {
	mono, offset time.Duration
	boot         uint64
	synced       bool
}

// age is the time from the stamp to now. A vehicle may start without a clock,
// and is then thought to be in 1970 until the network comes: the wall clock
// counts between two boots only where it was right at both ends. Where nothing
// tells, the message is at least as old as this boot.
func (s stamp) age(now Time, boot uint64) time.Duration {
	switch {
	case s.boot == boot:
		return max(0, now.Mono-s.mono)
	case s.synced && now.Synced:
		return max(0, now.Wall-s.mono-s.offset)
	}
	return max(0, now.Mono)
}
