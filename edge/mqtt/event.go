package mqtt

// Event carries what happened to the device: a button, a step against heat.
func (t Topics) Event() string { return t.Base() + "/event" }

// Event queues what happened (QoS 1, kept until the broker has it). It reports false where
// more than 64 events and answers wait.
func (c *Client) Event(json []byte) bool { return c.answer(c.o.Event(), json) }
