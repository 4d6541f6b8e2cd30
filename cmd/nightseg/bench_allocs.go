package main

import (
	"context"
	"runtime"

	"nightseg/edge/frame"
)

// allocations are objects allocated per frame by the whole process: with a
// broker, and with masks that are not sent.
type allocations struct{ whole, unsent float64 }

// countAllocations runs the loop twice for its allocations, not for its time.
func (bn *bench) countAllocations(ctx context.Context) error {
	for _, v := range []struct {
		url string
		to  *float64
	}{{bn.url, &bn.allocs.whole}, {brokerNone, &bn.allocs.unsent}} {
		counter := &allocCounter{from: max(bn.perRound/2, 1), to: bn.perRound}
		if _, _, err := bn.loop(ctx, v.url, bn.engine, counter); err != nil {
			return err
		}
		*v.to = counter.perFrame()
	}
	return nil
}

// allocCounter is a tap that counts what the process allocates in the second
// half of a run, when all buffers have grown.
type allocCounter struct {
	from, to, seen int
	before, after  runtime.MemStats
}

// See implements edge.Tap.
func (c *allocCounter) See(_, _ *frame.Frame, _ *frame.Mask) error {
	c.seen++
	switch c.seen {
	case c.from:
		runtime.ReadMemStats(&c.before)
	case c.to:
		runtime.ReadMemStats(&c.after)
	}
	return nil
}

func (c *allocCounter) perFrame() float64 {
	if c.to <= c.from {
		return 0
	}
	return float64(c.after.Mallocs-c.before.Mallocs) / float64(c.to-c.from)
}
