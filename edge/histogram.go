package edge

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Buckets are log-linear: 32 to each doubling, so that a quantile is at most
// about 3 % off, from one microsecond to 70 minutes.
const (
	subBits = 5
	buckets = (32 - subBits + 1) << subBits
)

// histogram counts durations. Add may be called from any goroutine and
// allocates nothing.
type histogram struct {
	counts [buckets]atomic.Uint32
	sum    atomic.Int64 // nanoseconds
	n      atomic.Uint64
}

func bucketOf(us uint32) int {
	if us < 1<<subBits {
		return int(us)
	}
	shift := bits.Len32(us) - 1 - subBits
	return (shift+1)<<subBits + int(us>>shift) - 1<<subBits
}

// bucketValue returns the middle of a bucket in microseconds.
func bucketValue(i int) float64 {
	if i < 1<<subBits {
		return float64(i) + 0.5
	}
	shift := i>>subBits - 1
	low := uint64(i&(1<<subBits-1)+1<<subBits) << shift
	return float64(low) + float64(uint64(1)<<shift)/2
}

func (h *histogram) add(d time.Duration) {
	us := max(d.Microseconds(), 0)
	h.counts[bucketOf(uint32(min(us, 1<<32-1)))].Add(1)
	h.sum.Add(int64(d))
	h.n.Add(1)
}

// Quantiles are times in milliseconds.
type Quantiles struct {
	N    uint64  `json:"n"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// quantiles summarises the histogram; with reset it also empties it.
func (h *histogram) quantiles(reset bool) Quantiles {
	var c [buckets]uint32
	var total uint64
	for i := range c {
		if reset {
			c[i] = h.counts[i].Swap(0)
		} else {
			c[i] = h.counts[i].Load()
		}
		total += uint64(c[i])
	}
	sum := h.sum.Load()
	if reset {
		h.sum.Add(-sum)
		h.n.Store(0)
	}
	q := Quantiles{N: total}
	if total == 0 {
		return q
	}
	q.Mean = float64(sum) / float64(total) / 1e6
	var seen uint64
	for i, n := range c {
		if n == 0 {
			continue
		}
		seen += uint64(n)
		ms := bucketValue(i) / 1000
		for _, w := range [...]struct {
			share float64
			out   *float64
		}{{0.50, &q.P50}, {0.95, &q.P95}, {0.99, &q.P99}} {
			if *w.out == 0 && float64(seen) >= w.share*float64(total) {
				*w.out = ms
			}
		}
		q.Max = ms
	}
	return q
}
