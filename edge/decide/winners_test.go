package decide

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nightseg/edge/frame"
)

// TestWinnersAreThoseOfThePlainWay compares bits: also of ties, of infinities and
// of what is no number, and where grid points are left over.
func TestWinnersAreThoseOfThePlainWay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	odd := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 0, float32(math.Copysign(0, -1)), 1}
	for range 300 {
		l := frame.Logits{C: 1 + r.IntN(40), H: 1 + r.IntN(9), W: 1 + r.IntN(60), OutH: 4, OutW: 4}
		l.Data = make([]float32, l.C*l.H*l.W)
		for i := range l.Data {
			l.Data[i] = float32(r.IntN(5)) // many ties
			if r.IntN(3) == 0 {
				l.Data[i] = float32(r.NormFloat64())
			}
			if r.IntN(20) == 0 {
				l.Data[i] = odd[r.IntN(len(odd))]
			}
		}
		d, err := New(Settings{Shares: randomShares(r, l.C), Std: 0.1 * r.Float64()})
		if err != nil {
			t.Fatal(err)
		}
		d.prepare(l.C)
		d.grow(&l)
		d.winners(&l)
		arg, best := slices.Clone(d.arg), slices.Clone(d.best)
		d.plainWinners(&l, 0)
		if !slices.Equal(arg, d.arg) {
			t.Fatalf("%dx%dx%d: classes %v, plainly %v", l.C, l.H, l.W, arg, d.arg)
		}
		for i, v := range d.best {
			if math.Float32bits(v) != math.Float32bits(best[i]) && !(v != v && best[i] != best[i]) {
				t.Fatalf("%dx%dx%d: value %d is %v, plainly %v", l.C, l.H, l.W, i, best[i], v)
			}
		}
	}
}
