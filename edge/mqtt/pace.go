package mqtt

import "time"

// Bounds of pace.
const (
	paceStart = 8 << 10 // bytes under way before anything is known of the link
	paceLeast = 4 << 10
	paceMost  = 4 << 20
	paceCount = 1024 // messages under way

	// paceSlack is how much longer than over an empty link a mask may be under way:
	// what stands in queues between us and the broker, in time.
	paceSlack = 250 * time.Millisecond

	proveEvery   = time.Second      // there is a ping while anything is not proven
	suspectAfter = time.Second      // a ping without answer for longer stands for an outage
	baseValid    = 10 * time.Second // a long round trip may have become the usual one
)

// pace decides how much may be under way to the broker. Only what the broker has
// read has arrived: bytes in socket buffers, in a modem's queue or in a proxy are
// under way, and whatever is written behind them comes late. A ping that is
// written behind a mask comes back when the broker has read the mask, so its
// round trip is the way that a mask has before it. The window of bytes under way
// doubles while that stays close to the round trip of an empty link, and shrinks
// to what the link has carried in that time where it does not. On a thin link
// this ends at one mask at a time; with nothing under way there is always room
// for one.
//
// A fast link costs one ping a second. There are more only while the window is
// small against what is sent. Two things tell sooner that a link has become
// thin: a ping that is late, and bytes that the other end's kernel has not
// acknowledged.
//
// pace has no clock, and belongs to the goroutine that writes.
type pace struct {
	window int           // bytes that may be under way
	base   time.Duration // round trip of the empty link
	baseAt time.Time     // when that was seen

	written, proven int64 // bytes since the connection began
	messages        int64 // the same in messages
	provenMessages  int64
	wroteAt         time.Time

	ping    probe
	oldest  time.Time // when the first message behind the last ping was written
	drain   bool      // nothing may go until the empty link was measured
	kernel  probe     // a message until the kernel has got its acknowledgement
	isLate  bool
	slowest time.Duration // round trip of the last ping
}

// probe is something whose answer is awaited.
type probe struct {
	out      bool
	at       time.Time
	mark     int64 // bytes before it
	messages int64
	under    int           // bytes under way, itself included
	allowed  time.Duration // how long these may take by what is known
	full     bool          // the window was what bounded the sending
}

func newPace(base time.Duration, now time.Time) *pace {
	return &pace{window: paceStart, base: base, baseAt: now, wroteAt: now}
}

func (p *pace) under() int { return int(p.written - p.proven) }

// limit is how long a round trip may be before the window shrinks.
func (p *pace) limit() time.Duration { return p.base + paceSlack }

// wrote notes a message of n bytes; sent is how many bytes the kernel has been
// given in all, with what encryption adds.
func (p *pace) wrote(n int, sent int64, now time.Time) {
	if p.written == p.ping.mark {
		p.oldest = now
	}
	p.written += int64(n)
	p.messages++
	p.wroteAt = now
	if !p.kernel.out {
		p.kernel = probe{out: true, at: now, mark: sent}
	}
}

// look notes how many bytes the other end's kernel has acknowledged, and whether an
// answer is late: then nothing goes until it is there, and tells the rate.
func (p *pace) look(acked int64, now time.Time) {
	if p.kernel.out && acked >= p.kernel.mark {
		p.kernel.out = false
	}
	p.isLate = p.kernel.out && now.Sub(p.kernel.at) > p.limit() || p.ping.out && now.Sub(p.ping.at) > p.limit()
}

// room reports whether one more message may go.
func (p *pace) room() bool {
	switch {
	case p.drain, p.messages-p.provenMessages >= paceCount:
		return false
	case p.under() == 0:
		return true
	}
	return !p.isLate && p.under() < p.window
}

// spare reports whether there is room that live masks do not need: half of the
// window, on a link without a queue, or all of it where nothing is under way.
func (p *pace) spare() bool {
	if p.under() == 0 {
		return p.room()
	}
	return p.room() && p.under() < p.window/2 && p.slowest <= p.limit()
}

// due reports whether a ping is to be written now.
func (p *pace) due(keepAlive time.Duration, now time.Time) bool {
	switch {
	case p.ping.out:
		return false
	case p.under() == 0:
		return p.drain || now.Sub(p.wroteAt) >= keepAlive*3/4
	}
	return p.drain || p.isLate || p.under() >= p.window/2 || !p.room() || now.Sub(p.oldest) >= proveEvery
}

// wrotePing notes that a ping was written.
func (p *pace) wrotePing(now time.Time) {
	u := p.under()
	p.ping = probe{
		out: true, at: now, mark: p.written, messages: p.messages, under: u, full: u >= p.window/2,
		allowed: time.Duration(float64(p.limit()) * max(1, float64(u)/float64(p.window))),
	}
	p.wroteAt = now
}

// answered notes the answer to the ping: all before it has arrived.
func (p *pace) answered(now time.Time) {
	if !p.ping.out { // nobody asked
		return
	}
	took := now.Sub(p.ping.at)
	n := p.ping.under
	p.ping.out, p.slowest = false, took
	p.proven, p.provenMessages = p.ping.mark, p.ping.messages
	if n == 0 || took < p.base { // nothing of ours was in its way
		p.base, p.baseAt = took, now
		p.drain = p.drain && n > 0
	}
	switch {
	case took > p.limit():
		rate := float64(n) / took.Seconds()
		p.window = max(paceLeast, min(p.window, int(rate*p.limit().Seconds())))
		// It may be the way that has become longer: look without anything in it.
		p.drain = p.drain || now.Sub(p.baseAt) > baseValid
	case p.ping.full:
		p.window = min(paceMost, 2*max(p.window, n))
	}
}

// silence is how much longer than allowed the answer to a ping takes.
func (p *pace) silence(now time.Time) time.Duration {
	if !p.ping.out {
		return 0
	}
	return now.Sub(p.ping.at) - p.ping.allowed
}
