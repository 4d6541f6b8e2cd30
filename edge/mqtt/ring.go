package mqtt

import (
	"sync"

	"nightseg/edge/frame"
)

// packet is one MQTT 3.1.1 PUBLISH packet, complete with its header, so that one
// write puts it on the wire. For a mask it also has what the mask is known by.
type packet struct {
	topic  string
	buf    []byte // the whole packet
	start  int    // where the payload begins in buf
	camera *cameraMasks
	meta   frame.Meta
}

// maxHeader is the longest fixed header (5 bytes), topic length and id (2 each).
const maxHeader = 9

// fill builds the packet in its own buffer (MQTT 3.1.1, 2.2 and 3.3), of QoS 0
// without an id and of QoS 1 with one.
func (p *packet) fill(topic string, id uint16, payload []byte) {
	p.topic = topic
	kind, n := byte(packetPublish0), 2+len(topic)+len(payload)
	if id != 0 {
		kind, n = packetPublish1, n+2
	}
	b := append(p.buf[:0], kind)
	for {
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
	if id != 0 {
		b = append(b, byte(id>>8), byte(id))
	}
	p.start = len(b)
	p.buf = append(b, payload...)
}

func (p *packet) payload() []byte { return p.buf[p.start:] }

// of says whose mask the packet is.
func (p *packet) of(c *cameraMasks, m *frame.Meta) {
	p.camera = c
	if m != nil {
		p.meta = *m
	}
}

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
// taken (a closed ring takes none) and whether an older one was lost for it, and
// of which camera.
func (r *ring) push(topic string, c *cameraMasks, m *frame.Meta, payload []byte) (taken, lost bool, of *cameraMasks) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false, false, nil
	}
	if r.count == len(r.slots) {
		of, lost = r.slots[r.first].camera, true
		r.first = (r.first + 1) % len(r.slots)
		r.count--
	}
	p := &r.slots[(r.first+r.count)%len(r.slots)]
	p.fill(topic, 0, payload)
	p.of(c, m)
	r.count++
	return true, lost, of
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

func (r *ring) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count == len(r.slots)
}

func (r *ring) empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count == 0
}
