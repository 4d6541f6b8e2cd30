package mqtt

import "sync/atomic"

// cameraMasks is what a camera's masks are sent with, and counted by.
type cameraMasks struct {
	topic, history string // empty: the camera has no id

	sent, kept, bytes                    atomic.Uint64
	offline, queue, thin, write, invalid atomic.Uint64
}

// MaskCounters are the totals of masks since New. Each mask given to Offer ends
// in exactly one of Sent, Kept, a Dropped field, or the queue.
type MaskCounters struct {
	// Sent counts masks that the broker has: acknowledged (QoS 1), or proven to have
	// been read. Without an outbox a mask of QoS 0 is sent when it is written.
	Sent  uint64
	Kept  uint64 // masks given to the outbox, for later
	Bytes uint64 // of the masks written, with their headers where QoS is 0

	DroppedOffline uint64 // masks offered, or still queued, without a connection and without an outbox
	DroppedQueue   uint64 // masks that newer ones pushed out: the broker is slow
	DroppedThin    uint64 // masks that newer ones pushed out while the link had as much as it carries
	DroppedWrite   uint64 // masks whose write failed, without an outbox
	DroppedInvalid uint64 // masks that are too large or of a camera that has no id
}

func (c *cameraMasks) counters() MaskCounters {
	return MaskCounters{
		Sent: c.sent.Load(), Kept: c.kept.Load(), Bytes: c.bytes.Load(),
		DroppedOffline: c.offline.Load(), DroppedQueue: c.queue.Load(), DroppedThin: c.thin.Load(),
		DroppedWrite: c.write.Load(), DroppedInvalid: c.invalid.Load(),
	}
}

func (a *MaskCounters) add(b MaskCounters) {
	a.Sent += b.Sent
	a.Kept += b.Kept
	a.Bytes += b.Bytes
	a.DroppedOffline += b.DroppedOffline
	a.DroppedQueue += b.DroppedQueue
	a.DroppedThin += b.DroppedThin
	a.DroppedWrite += b.DroppedWrite
	a.DroppedInvalid += b.DroppedInvalid
}

// Counters are the totals since New.
type Counters struct {
	Connected      bool   // the connection for everything but masks
	Connects       uint64 // of this kind that came about; reconnects are one fewer
	MasksConnected bool   // the connection for masks
	MasksConnects  uint64
	MaskCounters   // of all cameras

	Delivered      uint64 // kept masks that the broker has acknowledged
	DroppedNotes   uint64 // stats and health messages, for any reason
	DroppedAnswers uint64 // acknowledgements and results
}

// Counters returns the totals; it does not allocate.
func (c *Client) Counters() Counters {
	n := Counters{
		Connected: c.control.now().Connected, Connects: c.control.connects.Load(),
		MasksConnected: c.masks.state.now().Connected, MasksConnects: c.masks.state.connects.Load(),
		Delivered:    c.masks.delivered.Load(),
		DroppedNotes: c.droppedNotes.Load(), DroppedAnswers: c.droppedAnswers.Load(),
	}
	m := c.masks
	n.MaskCounters = m.nameless.counters()
	m.camerasMu.RLock()
	defer m.camerasMu.RUnlock()
	for _, cam := range m.cameras {
		n.add(cam.counters())
	}
	return n
}

// CameraCounters returns the totals of one camera.
func (c *Client) CameraCounters(camera string) MaskCounters {
	return c.masks.camera(camera).counters()
}
