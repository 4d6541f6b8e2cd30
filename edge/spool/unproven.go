package spool

import "sync"

// Unproven remembers the last messages that were written to a connection with
// QoS 0. Nothing tells that they have arrived, but a broker that answers what
// was sent behind them has read them: a ping, or a QoS 1 message. What is not
// proven when the connection ends goes into the spool. Its methods may be called
// from any goroutine.
type Unproven struct {
	mu    sync.Mutex
	slots []Message // a ring; payloads are copies
	free  [][]byte  // payloads for use again: as many as were ever in use at a time
	first int
	count int
	added uint64 // messages since the beginning
	bytes int
	most  int
	lost  uint64
}

// NewUnproven returns a ring of at most that many messages and bytes. It should
// hold what is sent while the connection waits for a proof, or for being given
// up.
func NewUnproven(messages, bytes int) *Unproven {
	return &Unproven{slots: make([]Message, max(1, messages)), most: bytes}
}

// Add keeps a copy of a message that was written. Where there is no room, the
// oldest is forgotten, and counted by Lost. It does not allocate once warm.
func (u *Unproven) Add(m *Message) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(m.Payload) > u.most {
		u.lost++
		return
	}
	u.added++
	for u.count == len(u.slots) || u.bytes+len(m.Payload) > u.most {
		u.drop(1)
	}
	var p []byte
	if n := len(u.free); n > 0 {
		p, u.free = u.free[n-1], u.free[:n-1]
	}
	s := &u.slots[(u.first+u.count)%len(u.slots)]
	p = append(p[:0], m.Payload...)
	*s = *m
	s.Payload = p
	u.count++
	u.bytes += len(p)
}

// drop forgets the n oldest.
func (u *Unproven) drop(n int) {
	u.lost += uint64(n)
	u.forget(n)
}

func (u *Unproven) forget(n int) {
	for range n {
		s := &u.slots[u.first]
		u.bytes -= len(s.Payload)
		u.free, s.Payload = append(u.free, s.Payload), nil
		u.first = (u.first + 1) % len(u.slots)
		u.count--
	}
}

// Barrier returns a mark for what was added so far. Take it before the ping or
// the QoS 1 message is written, and give it to Prove when the answer comes.
func (u *Unproven) Barrier() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.added
}

// Prove forgets what was added before the barrier, shows it to each, which may be
// nil, and returns how many these were. An older barrier than the last proven one
// changes nothing.
func (u *Unproven) Prove(barrier uint64, each func(*Message)) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	oldest := u.added - uint64(u.count) // messages before the oldest one here
	if barrier <= oldest {
		return 0
	}
	n := int(min(barrier-oldest, uint64(u.count)))
	if each != nil {
		u.show(n, each)
	}
	u.forget(n)
	return n
}

// Spill gives what is not proven to keep, oldest first, and forgets it. The
// messages are valid until keep returns.
func (u *Unproven) Spill(keep func(*Message)) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.count
	u.show(n, keep)
	u.forget(n)
	return n
}

func (u *Unproven) show(n int, each func(*Message)) {
	for i := range n {
		each(&u.slots[(u.first+i)%len(u.slots)])
	}
}

// Len returns how many messages and bytes are not proven.
func (u *Unproven) Len() (messages, bytes int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.count, u.bytes
}

// Lost returns how many were forgotten without a proof: they may have arrived.
func (u *Unproven) Lost() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.lost
}
