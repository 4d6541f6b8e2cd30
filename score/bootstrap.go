package score

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Interval holds the middle 95 % of a figure over resamples.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Bootstrap resamples the frames of a set in blocks of neighbours, because
// neighbouring frames of a drive resemble each other: drawing them one by one
// would make the interval too narrow. Blocks wrap around the end of the set, so
// that each frame is as likely as any other (circular block bootstrap, Politis
// and Romano 1992). The same frames, block, times and seed give the same resamples,
// so that two figures of one set can be compared frame by frame.
type Bootstrap struct {
	Block int    // frames; 0 means AutoBlock
	Times int    // resamples; 0 means 2000
	Seed  uint64 // of the draws
}

const defaultTimes = 2000

// AutoBlock is the length of a block where none is given: the cube root of the
// number of frames, rounded up, which is the order at which the interval's
// error falls fastest.
func AutoBlock(frames int) int {
	return max(int(math.Ceil(math.Cbrt(float64(frames))-1e-9)), 1)
}

// Interval returns the interval of a figure of the sum of matrices, one matrix
// per frame in the order of the drive. Without frames it is 0 to 0.
func (b Bootstrap) Interval(frames []*Confusion, figure func(*Confusion) float64) Interval {
	return b.Difference(frames, nil, figure)
}

// Difference returns the interval of figure(a) - figure(base) over the same
// resamples of both, which must hold the same frames; with a nil base, that
// of figure(a). Resamples in which the figure does not exist (NaN), such as the
// IoU of a class that none of their frames holds, are left out.
func (b Bootstrap) Difference(a, base []*Confusion, figure func(*Confusion) float64) Interval {
	if len(a) == 0 || (base != nil && len(base) != len(a)) {
		return Interval{}
	}
	times := b.Times
	if times <= 0 {
		times = defaultTimes
	}
	draw := b.draws(len(a))
	counts := make([]uint64, len(a))
	sum := NewConfusion(a[0].classes)
	values := make([]float64, times)
	for i := range values {
		draw(counts)
		values[i] = figure(weigh(sum, a, counts))
		if base != nil {
			values[i] -= figure(weigh(sum, base, counts))
		}
	}
	if values = slices.DeleteFunc(values, math.IsNaN); len(values) == 0 {
		return Interval{}
	}
	slices.Sort(values)
	return Interval{Low: quantile(values, 0.025), High: quantile(values, 0.975)}
}

func weigh(sum *Confusion, frames []*Confusion, counts []uint64) *Confusion {
	sum.Reset()
	for i, n := range counts {
		if n > 0 {
			sum.Merge(frames[i], n)
		}
	}
	return sum
}

// draws returns a function that fills counts with how often each of n frames
// is in the next resample.
func (b Bootstrap) draws(n int) func(counts []uint64) {
	block := b.Block
	if block <= 0 {
		block = AutoBlock(n)
	}
	rng := rand.New(rand.NewPCG(b.Seed, 0))
	return func(counts []uint64) {
		clear(counts)
		for left := n; left > 0; left -= block {
			start := rng.IntN(n)
			for i := range min(block, left) {
				counts[(start+i)%n]++
			}
		}
	}
}

// quantile interpolates between the order statistics of sorted values, as
// numpy.quantile does.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
