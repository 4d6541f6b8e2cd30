package main

import "slices"

// mostSamples bounds what a subscriber that runs for days keeps.
const mostSamples = 1 << 16

// samples are the latest values of a figure.
type samples struct {
	values []float64
	next   int
}

func (s *samples) add(v float64) {
	if len(s.values) < mostSamples {
		s.values = append(s.values, v)
		return
	}
	s.values[s.next] = v
	s.next = (s.next + 1) % mostSamples
}

// reset forgets all samples.
func (s *samples) reset() { s.values, s.next = s.values[:0], 0 }

// quantile returns the value below which a share q of the samples lies, 0
// without samples.
func (s *samples) quantile(q float64) float64 {
	if len(s.values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
