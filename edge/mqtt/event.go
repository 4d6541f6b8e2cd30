package mqtt

import (
	"time"

	"nightseg/edge/frame"
)

// Event carries what happened to the device: a button, a step against heat.
func (t Topics) Event() string { return t.Base() + "/event" }

// PastEvent carries events that come late.
func (t Topics) PastEvent() string { return t.Base() + "/hist/event" }

// eventLate is the age from which an event comes on PastEvent: whoever acts on what
// happens must not take an old button for one that is pressed now.
const eventLate = 10 * time.Second

// Event hands over what happened (QoS 1): to the outbox, which keeps it until the
// broker has it, also through the end of this program. Without one it waits in
// memory. It reports false where it is lost, and does not wait. Of m it uses the
// run, the number and the times.
func (c *Client) Event(m *frame.Meta, json []byte) bool {
	if c.masks.outbox == nil {
		return c.answer(c.o.Event(), json)
	}
	return c.masks.outbox.KeepEvent(m, json)
}

// eventTopic is where a kept event belongs now.
func (o *Options) eventTopic(p *Past) string {
	if p.Run != o.Run || p.Age > eventLate {
		return o.PastEvent()
	}
	return o.Event()
}
