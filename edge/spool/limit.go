package spool

import "time"

// Limiter bounds the rate of delivery, in bytes and messages per second, so that
// old messages leave room for live ones. It has no clock of its own. It is not
// safe for use by more than one goroutine.
type Limiter struct {
	bytes, messages bucket
	last            time.Time
}

// bucket fills at its rate up to what one second brings. A message may take it
// below zero, so that one larger than the bucket can pass, and pays later.
type bucket struct{ rate, have float64 }

// NewLimiter returns a limiter that lets this much pass per second; 0 stands for
// no bound.
func NewLimiter(bytes, messages float64) *Limiter {
	l := &Limiter{}
	l.Set(bytes, messages)
	l.bytes.have, l.messages.have = l.bytes.rate, l.messages.rate
	return l
}

// Set changes the rates from now on.
func (l *Limiter) Set(bytes, messages float64) {
	l.bytes.set(bytes)
	l.messages.set(messages)
}

// Wait returns how long nothing may be sent; 0 says that a message may go.
func (l *Limiter) Wait(now time.Time) time.Duration {
	if passed := now.Sub(l.last).Seconds(); passed > 0 {
		if l.last.IsZero() {
			passed = 1
		}
		l.bytes.fill(passed)
		l.messages.fill(passed)
		l.last = now
	}
	return max(l.bytes.wait(), l.messages.wait())
}

// Sent takes a message of n bytes off what may pass.
func (l *Limiter) Sent(n int) {
	l.bytes.take(float64(n))
	l.messages.take(1)
}

func (b *bucket) set(rate float64) {
	b.rate = max(0, rate)
	b.have = min(b.have, max(1, b.rate))
}

func (b *bucket) fill(seconds float64) {
	b.have = min(b.have+b.rate*seconds, max(1, b.rate))
}

func (b *bucket) take(n float64) {
	if b.rate > 0 {
		b.have -= n
	}
}

// wait is the time until something is in the bucket again.
func (b *bucket) wait() time.Duration {
	// Less than a whole one is none: a rate of 0.5 messages lets one pass each 2 s.
	if b.rate == 0 || b.have >= 1 {
		return 0
	}
	return time.Duration(min((1-b.have)/b.rate, 3600)*float64(time.Second)) + 1
}
