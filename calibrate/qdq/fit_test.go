package qdq

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"

	"nightseg/calibrate/observe"
	"nightseg/model/onnx"
)

// fitted rounds weights whose steps are 1.
func fitted(t *testing.T, w []float32, covariance ...float64) []int8 {
	t.Helper()
	n := len(w)
	f, ok := newFitter(blas64.Symmetric{N: n, Stride: n, Uplo: blas.Upper, Data: covariance})
	if !ok {
		t.Fatal("no root")
	}
	q := make([]byte, n)
	for i, v := range w {
		q[i] = byte(int8(math.RoundToEven(float64(v))))
	}
	f.fit(w, 1, 127, q)
	var out []int8
	for _, v := range q {
		out = append(out, int8(v))
	}
	return out
}

// Two values that go up and down together: their weights are worth 0.8 in all, which 1
// is nearer to than the 0 that each goes to alone.
func TestWeightsMakeUpForEachOther(t *testing.T) {
	got := fitted(t, []float32{0.4, 0.4}, 1, 1, 0, 1)
	if got[0]+got[1] != 1 {
		t.Errorf("weights %v", got)
	}
	if got := fitted(t, []float32{0.4, 0.4}, 1, 0, 0, 1); !slices.Equal(got, []int8{0, 0}) {
		t.Errorf("of values that have nothing to do with each other: %v", got)
	}
	// One goes up where the other goes down: both up, or both down.
	if got := fitted(t, []float32{0.6, 0.4}, 1, -1, 0, 1); got[0] != got[1] {
		t.Errorf("of opposite values: %v", got)
	}
}

// Against all ways to round four weights up or down.
func TestFitIsNearTheBest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	best, fits, nearests := 0, 0.0, 0.0
	const tries, n = 300, 4
	for range tries {
		rows := make([]float64, 6*n) // correlated: their sum is in all of them
		for i := range rows {
			rows[i] = rng.NormFloat64()
		}
		for r := range 6 {
			sum := rng.NormFloat64() * 3
			for i := range n {
				rows[r*n+i] += sum
			}
		}
		c := make([]float64, n*n)
		blas64.Syrk(blas.Trans, 1, blas64.General{Rows: 6, Cols: n, Stride: n, Data: rows}, 0,
			blas64.Symmetric{N: n, Stride: n, Uplo: blas.Upper, Data: c})
		w := make([]float32, n)
		for i := range w {
			w[i] = float32(rng.NormFloat64() * 20)
		}
		noise := func(q func(i int) float64) float64 {
			e := 0.0
			for i := range n {
				for j := range n {
					e += (float64(w[i]) - q(i)) * (float64(w[j]) - q(j)) * c[min(i, j)*n+max(i, j)]
				}
			}
			return e
		}
		got := fitted(t, w, slices.Clone(c)...)
		fit := noise(func(i int) float64 { return float64(got[i]) })
		nearest := noise(func(i int) float64 { return math.RoundToEven(float64(w[i])) })
		least := math.Inf(1)
		for way := range 1 << n {
			least = min(least, noise(func(i int) float64 { return math.Floor(float64(w[i])) + float64(way>>i&1) }))
		}
		if fit > nearest*1.05 { // the damping is no part of the noise
			t.Errorf("noise %g, rounded to the nearest %g", fit, nearest)
		}
		fits, nearests = fits+fit, nearests+nearest
		if fit <= least*1.001 {
			best++
		}
	}
	if best < tries/2 || fits > nearests/2 {
		t.Errorf("as good as the best way in %d of %d, noise %g, nearest %g", best, tries, fits, nearests)
	}
}

func TestNothingToFit(t *testing.T) {
	for name, c := range map[string][]float64{
		"never moved": {0, 0, 0, 0}, "not a number": {math.NaN(), 0, 0, 1}, "endless": {math.Inf(1), 0, 0, 1},
	} {
		if _, ok := newFitter(blas64.Symmetric{N: 2, Stride: 2, Uplo: blas.Upper, Data: c}); ok {
			t.Errorf("%s: has a root", name)
		}
	}
}

// spreadOf has seen maps of the channels' values, one picture of 1 x 1 each.
func spreadOf(t *testing.T, w observe.Window, maps ...[]float32) *observe.Spread {
	t.Helper()
	s := observe.NewSpread(w)
	for range 4 {
		for _, v := range maps {
			if err := s.Take([]int64{1, int64(len(v)), 1, 1}, v); err != nil {
				t.Fatal(err)
			}
			s.Add()
		}
	}
	return s
}

// Each group has its own covariance; an output whose bias wants larger steps has its
// weights rounded to the nearest; too few pictures change nothing.
func TestFitOfGroups(t *testing.T) {
	w := onnx.NewFloats("w", []float32{127, 0.4, 0.4, 127, 0.4, 0.4, 127, 0.4, 0.4}, 3, 3, 1, 1)
	b := onnx.NewFloats("b", []float32{0, 0, 1e12}, 3)
	m := network([]*onnx.Tensor{w, b}, node("Conv c: x w b -> y", onnx.IntAttribute("group", 3)))
	p := plan(t, m)
	readers := p.Readers()
	if len(readers) != 1 || readers[0].Node != "c" || readers[0].Tensor != "x" || readers[0].Channels != 9 {
		t.Fatalf("readers %+v", readers)
	}
	together := []float32{0, 1, 1}
	apart, other := []float32{0, 1, 0}, []float32{0, 0, 1}
	none := []float32{0, 0, 0}
	maps := [][]float32{
		slices.Concat(together, apart, together), slices.Concat(none, none, none),
		slices.Concat(together, other, together), slices.Concat(none, slices.Concat([]float32{0}, []float32{1, 1}), none),
	}
	few := observe.NewSpread(readers[0].Window)
	steps := 0
	p.Fit(map[string]*observe.Spread{"c": few}, func() { steps++ })
	nearest := []byte{127, 0, 0, 127, 0, 0}
	weights := func() []byte {
		return tensor(t, written(t, p, everyRange(p, 0, 255)), "w_quantized").Raw
	}
	if got := weights(); !slices.Equal(got[:6], nearest) || steps != 1 {
		t.Errorf("%d steps, of too little: %v", steps, got)
	}
	p.Fit(map[string]*observe.Spread{"c": spreadOf(t, readers[0].Window, maps...)}, func() { steps++ })
	got := weights()
	if got[1]+got[2] != 1 || !slices.Equal(got[3:6], nearest[3:]) || got[7]+got[8] != 0 || steps != 2 {
		t.Errorf("weights %v", got)
	}
	part, err := p.Only("c")
	if err != nil {
		t.Fatal(err)
	}
	if same := tensor(t, written(t, part, everyRange(part, 0, 255)), "w_quantized").Raw; !slices.Equal(same, got) {
		t.Errorf("a part of the plan has other weights: %v", same)
	}
}

func TestReadersAreConvolutionsOverMaps(t *testing.T) {
	square := onnx.NewFloats("w", make([]float32, 9), 1, 1, 3, 3)
	line := onnx.NewFloats("w", make([]float32, 3), 1, 1, 3)
	for name, c := range map[string]struct {
		weight *onnx.Tensor
		nodes  []*onnx.Node
		want   int
	}{
		"plain": {square, []*onnx.Node{node("Conv c: x w -> y", onnx.IntsAttribute("pads", 1, 2, 3, 4))}, 1},
		"line":  {line, []*onnx.Node{node("Conv c: x w -> y")}, 0},
		"asks for padding": {square, []*onnx.Node{node("Conv c: x w -> y", &onnx.Attribute{
			Name: "auto_pad", Type: onnx.AttributeString, Bytes: []byte("SAME_UPPER"),
		})}, 0},
		"no group":        {square, []*onnx.Node{node("Conv c: x w -> y", onnx.IntAttribute("group", 0))}, 0},
		"a negative pad":  {square, []*onnx.Node{node("Conv c: x w -> y", onnx.IntsAttribute("pads", 1, -2, 3, 4))}, 0},
		"a step of 0":     {square, []*onnx.Node{node("Conv c: x w -> y", onnx.IntsAttribute("strides", 0, 1))}, 0},
		"one step":        {square, []*onnx.Node{node("Conv c: x w -> y", onnx.IntsAttribute("strides", 1))}, 0},
		"the same weight": {square, []*onnx.Node{node("Conv c: x w -> z"), node("Conv d: z w -> y")}, 0},
	} {
		if got := plan(t, network([]*onnx.Tensor{c.weight}, c.nodes...)).Readers(); len(got) != c.want {
			t.Errorf("%s: %+v", name, got)
		} else if c.want == 1 && got[0].Pad != [4]int{1, 2, 3, 4} {
			t.Errorf("%s: pads %v", name, got[0].Pad)
		}
	}
}
