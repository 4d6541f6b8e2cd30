package mqtt

import (
	"context"

	"nightseg/edge/frame"
)

// Offer queues a copy of a live mask and returns at once. A full queue loses its
// oldest mask. Without a connection the mask goes to the outbox, or is lost where
// there is none. It reports whether the mask was queued or kept, and does not
// allocate once a mask of the size has been seen. Of m it uses what names and
// dates the mask.
func (c *Client) Offer(m *frame.Meta, payload []byte) bool { return c.masks.offer(m, payload) }

// PublishMask hands over a copy of a mask that must not be lost (QoS 1). It
// waits while Window masks are without the broker's acknowledgement, also
// through a lost connection, until ctx ends. Masks of one caller keep their
// order; after a reconnect the last ones may come twice. Flush waits for the
// acknowledgement of all.
func (c *Client) PublishMask(ctx context.Context, camera string, payload []byte) error {
	return c.masks.publish(ctx, camera, payload)
}

// Flush waits until the broker has acknowledged every mask given to PublishMask
// before.
func (c *Client) Flush(ctx context.Context) error { return c.masks.flush(ctx) }

// PublishStats queues a camera's figures (QoS 0), and returns at once.
func (c *Client) PublishStats(camera string, json []byte) {
	if CheckID(camera) != nil {
		c.droppedNotes.Add(1)
		return
	}
	c.note(c.o.Stats(camera), json)
}

// PublishHealth queues the state of the machine (QoS 0), and returns at once.
func (c *Client) PublishHealth(json []byte) { c.note(c.o.Health(), json) }

func (c *Client) note(topic string, payload []byte) {
	taken, lost, _ := c.notes.push(topic, nil, nil, payload)
	if lost || !taken {
		c.droppedNotes.Add(1)
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
		c.droppedAnswers.Add(1)
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
		c.droppedAnswers.Add(1)
		return false
	}
}
