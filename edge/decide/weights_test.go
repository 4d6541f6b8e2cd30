package decide

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// cityscapes are the shares that the DANNet authors use, and what they give at
// three values of std, worked out apart from this code.
var cityscapes = []struct {
	share                float64
	std005, std01, std16 float64
}{
	{0.36869696, 0.90414, 0.80828, 0.69324}, // road
	{0.06084986, 0.95424, 0.90849, 0.85358}, // sidewalk
	{0.22824049, 0.91748, 0.83495, 0.73592}, // building
	{0.00655399, 1.01622, 1.03244, 1.05190}, // wall
	{0.00877272, 1.00811, 1.01622, 1.02595}, // fence
	{0.01227341, 0.99877, 0.99754, 0.99606}, // pole
	{0.00207795, 1.04817, 1.09633, 1.15413}, // traffic light
	{0.0055127, 1.02103, 1.04206, 1.06729},  // traffic sign
	{0.15928651, 0.92748, 0.85496, 0.76793}, // vegetation
	{0.01157818, 1.00039, 1.00078, 1.00125}, // terrain
	{0.04018982, 0.96578, 0.93156, 0.89049}, // sky
	{0.01218957, 0.99896, 0.99792, 0.99667}, // person
	{0.00135122, 1.06013, 1.12027, 1.19243}, // rider
	{0.06994545, 0.95037, 0.90074, 0.84118}, // car
	{0.00267456, 1.04115, 1.08229, 1.13166}, // truck
	{0.00235192, 1.04472, 1.08944, 1.14311}, // bus
	{0.00232904, 1.04499, 1.08999, 1.14398}, // train
	{0.00098658, 1.06888, 1.13776, 1.22042}, // motorcycle
	{0.00413907, 1.02900, 1.05800, 1.09280}, // bicycle
}

func cityscapesShares() []float64 {
	shares := make([]float64, len(cityscapes))
	for k, c := range cityscapes {
		shares[k] = c.share
	}
	return shares
}

func TestWeightsOfCityscapes(t *testing.T) {
	for _, std := range []float64{0, 0.05, 0.1, 0.16} {
		w, err := Weights(cityscapesShares(), std)
		if err != nil {
			t.Fatal(err)
		}
		for k, c := range cityscapes {
			want := map[float64]float64{0: 1, 0.05: c.std005, 0.1: c.std01, 0.16: c.std16}[std]
			if math.Abs(w[k]-want) > 6e-6 {
				t.Errorf("std %v, class %d: weight %.5f, want %.5f", std, k, w[k], want)
			}
		}
	}
}

// Three classes whose shares are powers of e: w' = 1, 2, 3, mean 2, sd 1.
func TestWeightsByHand(t *testing.T) {
	w, err := Weights([]float64{math.Exp(-1), math.Exp(-2), math.Exp(-3)}, 0.25)
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range []float64{0.75, 1, 1.25} {
		if math.Abs(w[k]-want) > 1e-12 {
			t.Errorf("weight %d is %v, want %v", k, w[k], want)
		}
	}
	limit, err := MaxStd([]float64{math.Exp(-1), math.Exp(-2), math.Exp(-3)})
	if err != nil || math.Abs(limit-1) > 1e-12 {
		t.Errorf("the weight of the first class reaches 0 at std %v, %v; want 1", limit, err)
	}
}

// Whatever the shares: the mean of the weights is 1, their sd is std, rarer is
// never lighter, and all are above 0.
func TestWeightsOfAnyShares(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		shares := randomShares(r, 2+r.IntN(30))
		if r.IntN(3) == 0 {
			shares[r.IntN(len(shares))] = 0
		}
		limit, err := MaxStd(shares)
		if err != nil {
			t.Fatal(err)
		}
		std := limit * r.Float64()
		w, err := Weights(shares, std)
		if err != nil {
			t.Fatal(err)
		}
		mean, sum := 0.0, 0.0
		for _, v := range w {
			mean += v / float64(len(w))
		}
		for k, v := range w {
			sum += (v - mean) * (v - mean)
			if v <= 0 {
				t.Fatalf("weight %d of %v at std %v of %v is %v", k, shares, std, limit, v)
			}
			for j := range w {
				if shares[j] < shares[k] && w[j] < v {
					t.Fatalf("class %d is rarer than %d, but weighs %v, not %v", j, k, w[j], v)
				}
			}
		}
		sd := math.Sqrt(sum / float64(len(w)-1))
		if math.Abs(mean-1) > 1e-9 || math.Abs(sd-std) > 1e-9 {
			t.Fatalf("weights of %v have mean %v and sd %v, want 1 and %v", shares, mean, sd, std)
		}
		if _, err := Weights(shares, limit); !errors.Is(err, ErrSettings) {
			t.Fatalf("std %v, at which a weight is 0: %v", limit, err)
		}
	}
}

func TestWeightsAtTheFloor(t *testing.T) {
	a, err1 := Weights([]float64{0.7, 0.3, 0}, 0.1)
	b, err2 := Weights([]float64{0.7, 0.3, ShareFloor}, 0.1)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for k := range a {
		if a[k] != b[k] {
			t.Errorf("class %d: a share of 0 gives weight %v, the floor %v", k, a[k], b[k])
		}
	}
}

func TestEqualSharesWeighOne(t *testing.T) {
	for _, shares := range [][]float64{{1}, {0.5, 0.5}, {0.1 + 0.2, 0.3, 0.3}, {0, 0, ShareFloor / 2}} {
		w, err := Weights(shares, 7) // there is no limit
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range w {
			if v != 1 {
				t.Errorf("shares %v: weight %d is %v", shares, k, v)
			}
		}
	}
}

func TestBadSharesAndStd(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		shares []float64
		std    float64
		word   string
	}{
		{nil, 0.1, "0 class shares"},
		{make([]float64, 256), 0.1, "256 class shares"},
		{[]float64{0.5, -0.1}, 0.1, "share -0.1 of class 1"},
		{[]float64{0.5, 1.1}, 0.1, "share 1.1 of class 1"},
		{[]float64{nan, 0.5}, 0.1, "share NaN of class 0"},
		{[]float64{0.9, 0.1}, -0.1, "negative"},
		{[]float64{0.9, 0.1}, nan, "std NaN"},
		{[]float64{0.9, 0.1}, math.Inf(1), "reaches 0 at 1.4142"},
		{[]float64{0.9, 0.1}, 1.5, "reaches 0 at 1.4142"},
	} {
		_, err := Weights(c.shares, c.std)
		if !errors.Is(err, ErrSettings) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("shares %v, std %v: %v; want an error with %q", c.shares, c.std, err, c.word)
		}
	}
}
