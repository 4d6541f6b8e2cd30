package observe

import "fmt"

// Means are the means of a tensor's values by channel. The zero value has seen
// none. Its fields are what a run keeps to go on later.
type Means struct {
	Sums  []float64 `json:"sums"`  // by channel
	Count uint64    `json:"count"` // values of each channel
}

// Add counts the values of a tensor that holds one channel after the other. When
// a value is not finite, none is counted.
func (m *Means) Add(values []float32, channels int) error {
	if channels < 1 || len(values)%channels != 0 || m.Count > 0 && len(m.Sums) != channels {
		return fmt.Errorf("%d values in %d channels, %d before", len(values), channels, len(m.Sums))
	}
	size := len(values) / channels
	sums := make([]float64, channels)
	for c := range sums {
		for _, v := range values[c*size : (c+1)*size] {
			sums[c] += float64(v)
		}
		if sums[c]-sums[c] != 0 {
			return ErrNotFinite
		}
	}
	if m.Count == 0 {
		m.Sums = make([]float64, channels)
	}
	for c, s := range sums {
		m.Sums[c] += s
	}
	m.Count += uint64(size)
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
	if m.Count == 0 && len(m.Sums) == 0 {
		return nil
	}
	if m.Count == 0 || len(m.Sums) != channels {
		return fmt.Errorf("%d values in each of %d channels, not %d", m.Count, len(m.Sums), channels)
	}
	for _, s := range m.Sums {
		if s-s != 0 {
			return fmt.Errorf("a sum of %g", s)
		}
	}
	return nil
}
