package mqtt

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

type counters struct {
	sent, bytes, connects                                      atomic.Uint64
	droppedOffline, droppedQueue, droppedWrite, droppedInvalid atomic.Uint64
	droppedNotes, droppedAnswers                               atomic.Uint64
	connected                                                  atomic.Bool
}

// Counters are the totals since New. Each mask given to Offer ends in exactly
// one of Sent, a Dropped field, or the queue.
type Counters struct {
	Connected bool
	Connects  uint64 // connections that came about; reconnects are one fewer
	Sent      uint64 // masks written to the connection (QoS 0) or acknowledged (QoS 1)
	Bytes     uint64 // of those masks, with their headers where QoS is 0

	DroppedOffline uint64 // masks offered, or still queued, without a connection
	DroppedQueue   uint64 // masks that newer ones pushed out: the broker is slow
	DroppedWrite   uint64 // masks whose write failed
	DroppedInvalid uint64 // masks that are too large or of a camera that has no id
	DroppedNotes   uint64 // stats and health messages, for any reason
	DroppedAnswers uint64 // acknowledgements and results
}

// Counters returns the totals; it does not allocate.
func (c *Client) Counters() Counters {
	n := &c.counters
	return Counters{
		Connected: n.connected.Load(), Connects: n.connects.Load(), Sent: n.sent.Load(), Bytes: n.bytes.Load(),
		DroppedOffline: n.droppedOffline.Load(), DroppedQueue: n.droppedQueue.Load(),
		DroppedWrite: n.droppedWrite.Load(), DroppedInvalid: n.droppedInvalid.Load(),
		DroppedNotes: n.droppedNotes.Load(), DroppedAnswers: n.droppedAnswers.Load(),
	}
}

// Offer queues a copy of a live mask and returns at once. A full queue loses its
// oldest mask; without a connection the mask is lost. It reports whether the
// mask was queued, and does not allocate once a mask of the size has been seen.
func (c *Client) Offer(camera string, payload []byte) bool {
	topic, err := c.topic(c.maskTopic, camera, c.o.Mask)
	if err != nil || len(payload) > c.o.MaxPayload {
		c.counters.droppedInvalid.Add(1)
		return false
	}
	taken, lost := c.masks.push(topic, payload)
	if lost {
		c.counters.droppedQueue.Add(1)
	}
	if !taken {
		c.counters.droppedOffline.Add(1)
		return false
	}
	c.notify()
	return true
}

// PublishMask hands over a copy of a mask that must not be lost (QoS 1). It
// waits while Window masks are without the broker's acknowledgement, also
// through a lost connection, until ctx ends. Masks of one caller keep their
// order; after a reconnect the last ones may come twice. Flush waits for the
// acknowledgement of all.
func (c *Client) PublishMask(ctx context.Context, camera string, payload []byte) error {
	topic, err := c.topic(c.maskTopic, camera, c.o.Mask)
	if err != nil {
		return fmt.Errorf("mqtt: camera: %w", err)
	}
	if len(payload) > c.o.MaxPayload {
		return fmt.Errorf("mqtt: a mask of %d bytes is above the limit of %d", len(payload), c.o.MaxPayload)
	}
	select {
	case <-c.done:
		return fmt.Errorf("mqtt: %w", ErrStopped)
	default:
	}
	select {
	case p := <-c.window:
		p.topic = topic
		p.payload = append(p.payload[:0], payload...)
		c.unsent <- p // never blocks: it has room for the whole window
		c.notify()
		return nil
	case <-c.done:
		return fmt.Errorf("mqtt: %w", ErrStopped)
	case <-ctx.Done():
		return fmt.Errorf("mqtt: %w", errors.Join(ctx.Err(), c.State().Err))
	}
}

// Flush waits until the broker has acknowledged every mask given to PublishMask
// before.
func (c *Client) Flush(ctx context.Context) error {
	select {
	case c.flushing <- struct{}{}: // one at a time: two would each hold half the window
		defer func() { <-c.flushing }()
	case <-ctx.Done():
		return fmt.Errorf("mqtt: flush: %w", ctx.Err())
	}
	held := make([]*parcel, 0, c.o.Window)
	defer func() {
		for _, p := range held {
			c.window <- p
		}
	}()
	for len(held) < c.o.Window {
		select {
		case p := <-c.window:
			held = append(held, p)
			continue
		default:
		}
		select {
		case p := <-c.window:
			held = append(held, p)
		case <-c.done:
			return fmt.Errorf("mqtt: flush: %w with %d masks unacknowledged", ErrStopped, c.o.Window-len(held))
		case <-ctx.Done():
			return fmt.Errorf("mqtt: flush: %w", errors.Join(ctx.Err(), c.State().Err))
		}
	}
	return nil
}

// PublishStats queues a camera's figures (QoS 0), and returns at once.
func (c *Client) PublishStats(camera string, json []byte) {
	topic, err := c.topic(c.statsTopic, camera, c.o.Stats)
	if err != nil {
		c.counters.droppedNotes.Add(1)
		return
	}
	c.note(topic, json)
}

// PublishHealth queues the state of the machine (QoS 0), and returns at once.
func (c *Client) PublishHealth(json []byte) { c.note(c.o.Health(), json) }

func (c *Client) note(topic string, payload []byte) {
	taken, lost := c.notes.push(topic, payload)
	if lost || !taken {
		c.counters.droppedNotes.Add(1)
	}
	c.notify()
}

// SetStatus changes the retained status; the client adds run and connection.
// State is Online or Degraded: the others are said by Run and by the will.
func (c *Client) SetStatus(s State, reason string) {
	c.mu.Lock()
	changed := c.status.State != s || c.status.Reason != reason
	if changed {
		c.status.State, c.status.Reason = s, reason
		c.docVersion[docStatus]++
	}
	c.mu.Unlock()
	if changed {
		c.notify()
	}
}

// SetMeta changes the retained description of software, bundle and cameras.
func (c *Client) SetMeta(json []byte) { c.setDocument(docMeta, json) }

// SetSchema changes the retained JSON Schema of the settings.
func (c *Client) SetSchema(json []byte) { c.setDocument(docSchema, json) }

// SetReported changes the retained settings in force.
func (c *Client) SetReported(json []byte) { c.setDocument(docReported, json) }

func (c *Client) setDocument(d document, json []byte) {
	c.mu.Lock()
	c.docs[d] = append([]byte(nil), json...)
	c.docVersion[d]++
	c.mu.Unlock()
	c.notify()
}

// Ack queues the answer to a settings document (QoS 1, kept until the broker has
// it). It reports false where more than 64 answers wait.
func (c *Client) Ack(json []byte) bool { return c.answer(c.o.Ack(), json) }

// Result queues the answer to a command, like Ack.
func (c *Client) Result(command string, json []byte) bool {
	if CheckID(command) != nil {
		c.counters.droppedAnswers.Add(1)
		return false
	}
	return c.answer(c.o.Result(command), json)
}

func (c *Client) answer(topic string, json []byte) bool {
	select {
	case c.answers <- &parcel{topic: topic, payload: append([]byte(nil), json...)}:
		c.notify()
		return true
	default:
		c.counters.droppedAnswers.Add(1)
		return false
	}
}

// topic returns the topic of a camera from its cache.
func (c *Client) topic(cache map[string]string, camera string, build func(string) string) (string, error) {
	c.topicMu.RLock()
	t, ok := cache[camera]
	c.topicMu.RUnlock()
	if ok {
		return t, nil
	}
	if err := CheckID(camera); err != nil {
		return "", err
	}
	t = build(camera)
	c.topicMu.Lock()
	cache[camera] = t
	c.topicMu.Unlock()
	return t, nil
}
