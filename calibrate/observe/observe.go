// Package observe holds what is learned of the values of a tensor while they
// stream by, and the ranges that are made of it for an 8-bit network: by the
// extremes, by percentiles, by the smallest error, or by the smallest loss of
// information.
//
// An Observer counts values in a histogram whose bins are a power of two wide
// and have a border at 0. It grows by joining pairs of bins, so that no count is
// lost and the same values give the same histogram in whatever order and in
// however many parts they come. All is deterministic.
package observe

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Method is how a range is made.
type Method string

// The methods.
const (
	MinMax     Method = "minmax"
	Percentile Method = "percentile"
	MSE        Method = "mse"
	Entropy    Method = "entropy"
)

// Methods lists the methods.
func Methods() []Method { return []Method{MinMax, Percentile, MSE, Entropy} }

// Settings choose a method.
type Settings struct {
	Method Method
	// Percentile is how many percent of the values a range by percentiles holds; half
	// of the others is cut off on each side.
	Percentile float64
}

// Validate refuses settings that mean nothing.
func (s Settings) Validate() error {
	if !slices.Contains(Methods(), s.Method) {
		return fmt.Errorf("observer %q is not one of %v", s.Method, Methods())
	}
	if s.Method == Percentile && !(s.Percentile > 50 && s.Percentile <= 100) {
		return fmt.Errorf("percentile %g is not above 50 and at most 100", s.Percentile)
	}
	return nil
}

// ErrNotFinite is returned for a NaN or an infinity among the values.
var ErrNotFinite = errors.New("a value is not finite")

const (
	bins = 8192 // from -bins/2 to bins/2-1, times the width
	half = bins / 2
	// minExp is the exponent of the narrowest bins: of values that are 0 or next to it.
	minExp = -140
)

// Observer is what is known of the values of one tensor. The zero value has seen
// none. Its fields are what a run keeps to go on later.
type Observer struct {
	Min   float32  `json:"min"`
	Max   float32  `json:"max"`
	Count uint64   `json:"count"`
	Exp   int      `json:"exp"`   // bins are 2^Exp wide
	First int      `json:"first"` // bin of the first of Bins: it begins at First * 2^Exp
	Bins  []uint64 `json:"bins"`
}

// exponent is that of the narrowest bins that hold values up to most.
func exponent(most float32) int {
	_, e := math.Frexp(float64(most)) // most < 2^e
	if most == 0 {
		return minExp
	}
	return max(e-12, minExp) // half is 2^12
}

// Add counts values. When one of them is not finite, none is counted.
func (o *Observer) Add(values []float32) error {
	if len(values) == 0 {
		return nil
	}
	lo, hi := values[0], values[0]
	bad := false
	for _, v := range values {
		bad = bad || v-v != 0 // NaN, or a difference of infinities
		lo, hi = min(lo, v), max(hi, v)
	}
	if bad {
		return ErrNotFinite
	}
	if o.Count == 0 {
		o.Min, o.Max, o.Exp = lo, hi, minExp
	}
	o.Min, o.Max = min(o.Min, lo), max(o.Max, hi)
	o.widen(exponent(max(hi, -lo)))
	o.cover(o.bin(lo), o.bin(hi))
	scale := math.Ldexp(1, -o.Exp)
	for _, v := range values {
		x := float64(v) * scale // exact: the scale is a power of two
		i := int(x)
		if float64(i) > x {
			i--
		}
		o.Bins[i-o.First]++
	}
	o.Count += uint64(len(values))
	return nil
}

func (o *Observer) bin(v float32) int { return int(math.Floor(math.Ldexp(float64(v), -o.Exp))) }

// widen joins bins until they are 2^exp wide.
func (o *Observer) widen(exp int) {
	if exp <= o.Exp {
		return
	}
	by := min(exp-o.Exp, 62)
	o.Exp = exp
	if len(o.Bins) == 0 {
		return
	}
	first := o.First >> by
	joined := make([]uint64, (o.First+len(o.Bins)-1)>>by-first+1)
	for i, n := range o.Bins {
		joined[(o.First+i)>>by-first] += n
	}
	o.First, o.Bins = first, joined
}

// cover makes the bins from lo to hi countable.
func (o *Observer) cover(lo, hi int) {
	if len(o.Bins) == 0 {
		o.First, o.Bins = lo, make([]uint64, hi-lo+1)
		return
	}
	if n := o.First - lo; n > 0 {
		o.First, o.Bins = lo, append(make([]uint64, n), o.Bins...)
	}
	if n := hi - o.First + 1 - len(o.Bins); n > 0 {
		o.Bins = append(o.Bins, make([]uint64, n)...)
	}
}

// Merge adds what another observer saw: the result is that of one which saw all.
func (o *Observer) Merge(other *Observer) {
	if other.Count == 0 {
		return
	}
	if o.Count == 0 {
		*o = *other
		o.Bins = slices.Clone(other.Bins)
		return
	}
	b := *other // widen replaces its bins and does not write into them
	o.widen(b.Exp)
	b.widen(o.Exp)
	o.cover(b.First, b.First+len(b.Bins)-1)
	for i, n := range b.Bins {
		o.Bins[b.First+i-o.First] += n
	}
	o.Min, o.Max, o.Count = min(o.Min, b.Min), max(o.Max, b.Max), o.Count+b.Count
}

// Check refuses an observer that was not made by this package, as one that was
// read from a damaged file.
func (o *Observer) Check() error {
	if o.Count == 0 {
		if len(o.Bins) > 0 {
			return errors.New("bins without values")
		}
		return nil
	}
	sum := uint64(0)
	for _, n := range o.Bins {
		sum += n
	}
	last := o.First + len(o.Bins) - 1
	switch {
	case o.Min > o.Max || o.Min-o.Min != 0 || o.Max-o.Max != 0:
		return fmt.Errorf("values from %g to %g", o.Min, o.Max)
	case o.Exp != exponent(max(o.Max, -o.Min)) || o.First != o.bin(o.Min) || last != o.bin(o.Max):
		return fmt.Errorf("bins from %d to %d of the width 2^%d for values from %g to %g",
			o.First, last, o.Exp, o.Min, o.Max)
	case sum != o.Count:
		return fmt.Errorf("%d values in the bins, not %d", sum, o.Count)
	}
	return nil
}

// Range makes a range of what was seen. It lies within the extremes.
func (o *Observer) Range(s Settings) (Range, error) {
	if err := s.Validate(); err != nil {
		return Range{}, err
	}
	if o.Count == 0 {
		return Range{}, errors.New("no values were seen")
	}
	r := Range{o.Min, o.Max}
	if o.Min == o.Max {
		return r, nil
	}
	switch s.Method {
	case Percentile:
		cut := (100 - s.Percentile) / 200
		r = Range{o.quantile(cut), o.quantile(1 - cut)}
	case MSE:
		r = o.leastError()
	case Entropy:
		r = o.leastLoss()
	}
	return Range{max(r.Min, o.Min), min(r.Max, o.Max)}, nil
}

// width of the bins.
func (o *Observer) width() float64 { return math.Ldexp(1, o.Exp) }

// quantile returns the value below which the share q of the values lies; within a
// bin they count as spread evenly.
func (o *Observer) quantile(q float64) float32 {
	target, below := q*float64(o.Count), 0.0
	for i, n := range o.Bins {
		if n > 0 && below+float64(n) >= target {
			at := float64(o.First+i) + (target-below)/float64(n)
			return min(max(float32(at*o.width()), o.Min), o.Max)
		}
		below += float64(n)
	}
	return o.Max
}
