package observe

import (
	"fmt"
	"slices"
)

// Means are the means of a tensor's values by channel. Its fields are what a run
// keeps to go on later.
type Means struct {
	Sums  []float64 `json:"sums"`  // by channel
	Count uint64    `json:"count"` // values of each channel
}

// NewMeans returns means of so many channels that have seen nothing.
func NewMeans(channels int) *Means { return &Means{Sums: make([]float64, channels)} }

// Add counts the values of a tensor that holds one channel after the other. When
// a value is not finite, none is counted.
func (m *Means) Add(values []float32) error {
	channels := len(m.Sums)
	if channels == 0 || len(values)%channels != 0 {
		return fmt.Errorf("%d values in %d channels", len(values), channels)
	}
	size := len(values) / channels
	sums := slices.Clone(m.Sums)
	for c := range sums {
		sum := 0.0
		for _, v := range values[c*size : (c+1)*size] {
			sum += float64(v)
		}
		if sum-sum != 0 {
			return ErrNotFinite
		}
		sums[c] += sum
	}
	m.Sums, m.Count = sums, m.Count+uint64(size)
	return nil
}

// Values returns the means; none where nothing was seen.
func (m *Means) Values() []float64 {
	if m.Count == 0 {
		return nil
	}
	values := make([]float64, len(m.Sums))
	for c, s := range m.Sums {
		values[c] = s / float64(m.Count)
	}
	return values
}

// Check refuses means that were not made by this package, as ones that were read
// from a damaged file.
func (m *Means) Check(channels int) error {
	if len(m.Sums) != channels {
		return fmt.Errorf("sums of %d channels, not %d", len(m.Sums), channels)
	}
	for _, s := range m.Sums {
		if s-s != 0 || m.Count == 0 && s != 0 {
			return fmt.Errorf("a sum of %g over %d values", s, m.Count)
		}
	}
	return nil
}
