package mqtt

// Subscribed reports whether a client of this broker has subscribed to topic.
func (b *Broker) Subscribed(topic string) bool {
	return len(b.server.Topics.Subscribers(topic).Subscriptions) > 0
}
