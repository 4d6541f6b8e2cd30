// Package mqtt holds the connection to the broker: topics, connect and
// reconnect, the will, the retained documents, the queue of live masks, the
// window of lossless ones, and the incoming settings and commands. It also
// holds a small broker to run in the same process, and a subscriber.
//
// The client library is paho. Each connection gets a fresh paho client without
// paho's own reconnect, which has no jitter, can report QoS 0 messages as sent
// that never were, and can reorder QoS 1 ones; the loop in Run does it instead,
// and sends again, in order, what the broker had not acknowledged.
//
// Goroutines: Run itself sends everything (nothing else publishes), one more
// goroutine calls the handlers of the options, and paho keeps about seven per
// connection, which have ended when Run returns.
package mqtt
