// Package mqtt holds the way to the broker: topics, connect and reconnect, the
// will, the retained documents, the queue of live masks, the window of lossless
// ones, the pace that a thin link asks for, and the incoming settings and
// commands. It also holds a small broker to run in the same process, and a
// subscriber.
//
// There are two connections. The one for everything but masks is paho's: a fresh
// client per connection without paho's own reconnect, which has no jitter, can
// report QoS 0 messages as sent that never were, and can reorder QoS 1 ones; the
// loop in Run does it instead, and sends again, in order, what the broker had not
// acknowledged. The one for masks is our own, for it only publishes: see wire,
// and pace for how much may be under way on it. Events go there too where an outbox
// keeps them, before the masks.
//
// Goroutines: Run has one loop per connection, which sends everything on it, one
// goroutine that calls the handlers of the options, one that reads what the
// broker answers to masks, and paho about seven; all have ended when Run returns.
package mqtt
