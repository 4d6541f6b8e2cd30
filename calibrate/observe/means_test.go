package observe

import (
	"errors"
	"math"
	"slices"
	"testing"
)

func TestMeans(t *testing.T) {
	m := NewMeans(2)
	if m.Values() != nil || m.Check(2) != nil {
		t.Errorf("nothing seen: %v, %v", m.Values(), m.Check(2))
	}
	for _, v := range [][]float32{{1, 2, 3, -6, 0, 0}, {6, 4}} {
		if err := m.Add(v); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.Values(); !slices.Equal(got, []float64{3, -0.5}) {
		t.Errorf("means %v", got)
	}
	nan := float32(math.NaN())
	if err := m.Add([]float32{1, 2, 3, nan}); !errors.Is(err, ErrNotFinite) {
		t.Errorf("NaN: %v", err)
	}
	if m.Add([]float32{1, 2, 3}) == nil || NewMeans(0).Add([]float32{1}) == nil || m.Check(3) == nil {
		t.Error("values that are no channels were taken")
	}
	if got := m.Values(); !slices.Equal(got, []float64{3, -0.5}) || m.Check(2) != nil {
		t.Errorf("means %v after values that were refused, %v", got, m.Check(2))
	}
	for name, bad := range map[string]Means{
		"other channels": {Sums: []float64{1}, Count: 1}, "no values": {Sums: []float64{1, 2}}, "nothing": {},
		"NaN": {Sums: []float64{1, math.NaN()}, Count: 3}, "no sums": {Count: 3},
	} {
		if bad.Check(2) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
