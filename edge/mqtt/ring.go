package mqtt

import "sync"

// packet is one MQTT 3.1.1 PUBLISH packet of QoS 0, complete with its header,
// so that one write puts it on the wire.
type packet struct {
	topic string
	buf   []byte // the whole packet
	start int    // where the payload begins in buf
}

// maxHeader is the longest fixed header (5 bytes) and topic length (2 bytes).
const maxHeader = 7

// fill builds the packet in its own buffer (MQTT 3.1.1, 2.2 and 3.3).
func (p *packet) fill(topic string, payload []byte) {
	p.topic = topic
	b := append(p.buf[:0], 0x30)
	for n := 2 + len(topic) + len(payload); ; {
		digit := byte(n & 0x7f)
		n >>= 7
		if n == 0 {
			b = append(b, digit)
			break
		}
		b = append(b, digit|0x80)
	}
	b = append(b, byte(len(topic)>>8), byte(len(topic)))
	b = append(b, topic...)
	p.start = len(b)
	p.buf = append(b, payload...)
}

func (p *packet) payload() []byte { return p.buf[p.start:] }

// ring is a bounded queue of packets that forgets its oldest one when it is
// full. Buffers are swapped, never freed, so that nothing is allocated once
// the largest payload has been seen.
type ring struct {
	mu     sync.Mutex
	slots  []packet
	first  int
	count  int
	closed bool
}

func newRing(n, payload int) *ring {
	r := &ring{slots: make([]packet, n), closed: true}
	for i := range r.slots {
		r.slots[i].buf = make([]byte, 0, payload+maxHeader+256)
	}
	return r
}

// push copies the payload into the queue. It reports whether the packet was
// taken (a closed ring takes none) and whether an older one was lost for it.
func (r *ring) push(topic string, payload []byte) (taken, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false, false
	}
	if r.count == len(r.slots) {
		r.first = (r.first + 1) % len(r.slots)
		r.count--
		lost = true
	}
	r.slots[(r.first+r.count)%len(r.slots)].fill(topic, payload)
	r.count++
	return true, lost
}

// pop swaps the oldest packet with p, and reports whether there was one.
func (r *ring) pop(p *packet) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == 0 {
		return false
	}
	*p, r.slots[r.first] = r.slots[r.first], *p
	r.first = (r.first + 1) % len(r.slots)
	r.count--
	return true
}

// open lets packets in.
func (r *ring) open() {
	r.mu.Lock()
	r.closed = false
	r.mu.Unlock()
}

// close empties the ring, keeps packets out, and returns how many were lost.
func (r *ring) close() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.count
	r.first, r.count, r.closed = 0, 0, true
	return n
}

// seal keeps packets out, but those inside can still be taken.
func (r *ring) seal() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
}

func (r *ring) empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count == 0
}
