package mqtt

import (
	"math/rand/v2"
	"time"
)

// backoff says how long to wait before the next attempt to connect: the limit
// doubles from base to most, and the wait is a random time between half the
// limit and the limit, so that a fleet does not return in step.
type backoff struct {
	base, most time.Duration
	limit      time.Duration
	random     *rand.Rand
}

func newBackoff(base, most time.Duration, seed uint64) *backoff {
	return &backoff{base: base, most: most, random: rand.New(rand.NewPCG(seed, 0x6e69676874736567))}
}

// next returns the wait before the next attempt; it is never above most.
func (b *backoff) next() time.Duration {
	switch {
	case b.limit == 0:
		b.limit = b.base
	default:
		b.limit *= 2
	}
	b.limit = min(b.limit, b.most)
	half := b.limit / 2
	return half + time.Duration(b.random.Int64N(int64(b.limit-half)+1))
}

// reset is called when a connection has lasted.
func (b *backoff) reset() { b.limit = 0 }
