package observe

import "math"

// steps is how finely the ends of a range are searched for, and rounds how often
// one end is moved after the other.
const (
	steps  = 100
	rounds = 6
)

// weighted is a bin that holds values, by its middle.
type weighted struct{ at, n float64 }

// filled lists the bins that hold values.
func (o *Observer) filled() []weighted {
	var list []weighted
	for i, n := range o.Bins {
		if n > 0 {
			list = append(list, weighted{(float64(o.First+i) + 0.5) * o.width(), float64(n)})
		}
	}
	return list
}

// leastError searches the range whose 256 steps come nearest to the values, by
// the sum of squares: first both ends together, then each for itself. The ends
// lie at whole hundredths of the extremes; of equal ones the wider is taken.
func (o *Observer) leastError() Range {
	list := o.filled()
	end := func(v float32, i int) float32 { return v * float32(i) / steps }
	lo, hi := steps, steps
	best := math.Inf(1)
	try := func(l, h int) (better bool) {
		e := squares(list, Range{end(o.Min, l), end(o.Max, h)}.Uint8(), best)
		if e < best {
			best, lo, hi = e, l, h
			return true
		}
		return false
	}
	for i := steps; i > 0; i-- {
		try(i, i)
	}
	for range rounds {
		moved := false
		for i := steps; i > 0; i-- {
			l, h := lo, hi
			if o.Max > 0 && i != h {
				moved = try(l, i) || moved
			}
			if o.Min < 0 && i != lo {
				moved = try(i, hi) || moved
			}
		}
		if !moved {
			break
		}
	}
	return Range{end(o.Min, lo), end(o.Max, hi)}
}

// squares is the sum of squared differences of the values from their bytes; it
// stops where it exceeds limit.
func squares(list []weighted, p Params, limit float64) float64 {
	scale, zero := float64(p.Scale), float64(p.Zero)
	sum := 0.0
	for _, w := range list {
		q := math.RoundToEven(w.at / scale)
		q = min(max(q, -zero), 255-zero)
		d := w.at - q*scale
		if sum += w.n * d * d; sum > limit {
			return sum
		}
	}
	return sum
}

// magnitudes is how many bins the search for the least loss of information has.
const magnitudes = 2048

// leastLoss searches the threshold at which a histogram of the magnitudes, cut off
// there and told apart in as many levels as the bytes have for it, loses least
// information (Kullback and Leibler's divergence), as TensorRT and onnxruntime do.
// Values of one sign have all 255 steps, those of two signs half of them each.
func (o *Observer) leastLoss() Range {
	levels := 255
	if o.Min < 0 && o.Max > 0 {
		levels = 128
	}
	join := half / magnitudes
	hist := make([]float64, magnitudes)
	for i, n := range o.Bins {
		at := o.First + i
		if at < 0 {
			at = -1 - at
		}
		hist[at/join] += float64(n)
	}
	// A Relu leaves half of the values at 0, where no threshold loses anything. With
	// all of them the loss elsewhere would not count, and the lowest threshold win.
	hist[0] = min(hist[0], hist[1])
	last := magnitudes
	for last > 1 && hist[last-1] == 0 {
		last--
	}
	best, bestAt := math.Inf(1), last
	for n := min(levels, last); n <= last; n++ {
		if d := divergence(hist, n, levels); d < best {
			best, bestAt = d, n
		}
	}
	t := float32(float64(bestAt*join) * o.width())
	return Range{-t, t}
}

// divergence compares the first n bins, with all that lies beyond in the last of
// them, with the same told apart in levels.
func divergence(hist []float64, n, levels int) float64 {
	p, q := make([]float64, n), make([]float64, n)
	copy(p, hist)
	for _, beyond := range hist[n:] {
		p[n-1] += beyond
	}
	levels = min(levels, n)
	for k := range levels {
		from, to := k*n/levels, (k+1)*n/levels
		sum, used := 0.0, 0.0
		for i := from; i < to; i++ {
			sum += hist[i]
			if p[i] != 0 {
				used++
			}
		}
		for i := from; i < to; i++ {
			if p[i] != 0 {
				q[i] = sum / used
			}
		}
	}
	if !smooth(p) || !smooth(q) {
		return math.Inf(1)
	}
	d := 0.0
	for i, v := range p {
		d += v * math.Log(v/q[i])
	}
	return d
}

// smooth gives empty bins a little of what the others have and makes the sum 1.
// It fails where nothing is left to give.
func smooth(p []float64) bool {
	const little = 0.0001
	empty, sum := 0, 0.0
	for _, v := range p {
		if sum += v; v == 0 {
			empty++
		}
	}
	if sum == 0 {
		return false
	}
	take := little * float64(empty) / float64(len(p)-empty)
	if take >= 1 {
		return false
	}
	sum = 0
	for i, v := range p {
		if v == 0 {
			p[i] = little
		} else {
			p[i] = v - take
		}
		sum += p[i]
	}
	for i := range p {
		if p[i] /= sum; p[i] <= 0 {
			return false
		}
	}
	return true
}
