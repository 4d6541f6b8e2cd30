package ort

import (
	"math"
	"testing"
)

// TestFinite puts each kind of value at each place of tensors of all small lengths.
func TestFinite(t *testing.T) {
	inf := math.Inf(1)
	for n := range 40 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(i) - 7.5
		}
		if !finite(v) {
			t.Fatalf("%d values: not finite", n)
		}
		for i, was := range v {
			for _, x := range []float64{
				math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 0, math.Copysign(0, -1),
			} {
				if v[i] = float32(x); !finite(v) {
					t.Errorf("%d values, %g at %d: not finite", n, x, i)
				}
			}
			for _, x := range []float64{inf, -inf, math.NaN(), math.Float64frombits(0xfff8000000000001)} {
				if v[i] = float32(x); finite(v) {
					t.Errorf("%d values, %g at %d: finite", n, x, i)
				}
			}
			v[i] = was
		}
	}
}
