package observe

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

func seen(t *testing.T, values ...float32) *Observer {
	t.Helper()
	o := new(Observer)
	if err := o.Add(values); err != nil {
		t.Fatal(err)
	}
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	return o
}

func rangeOf(t *testing.T, o *Observer, s Settings) Range {
	t.Helper()
	r, err := o.Range(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHistogramCountsEveryValueOnce(t *testing.T) {
	o := seen(t, 0, 1, -1, 0.4999, 0.5)
	if o.Min != -1 || o.Max != 1 || o.Count != 5 || o.Exp != -11 || o.First != -2048 || len(o.Bins) != 4097 {
		t.Fatalf("%g to %g, %d values, bins of 2^%d from %d, %d of them", o.Min, o.Max, o.Count, o.Exp, o.First, len(o.Bins))
	}
	for v, want := range map[float32]uint64{0: 1, 1: 1, -1: 1, 0.4999: 1, 0.5: 1, 0.25: 0} {
		if n := o.Bins[o.bin(v)-o.First]; n != want {
			t.Errorf("%g: %d times", v, n)
		}
	}
	if err := o.Add([]float32{1000}); err != nil {
		t.Fatal(err)
	}
	if err := o.Check(); err != nil || o.Exp != -2 { // 1000 < 2^10
		t.Errorf("grown: 2^%d, %v", o.Exp, err)
	}
	for bin, want := range map[int]uint64{-4: 1, 0: 1, 1: 1, 2: 1, 3: 0, 4: 1, 4000: 1} {
		if n := o.Bins[bin-o.First]; n != want {
			t.Errorf("bin %d: %d values, want %d", bin, n, want)
		}
	}
}

// The same values give the same observer, whole, in parts, in any order, and by
// way of a file.
func TestOrderAndPartsDoNotMatter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		values := make([]float32, 1+rng.IntN(500))
		for i := range values {
			values[i] = float32(rng.NormFloat64() * math.Pow(10, float64(rng.IntN(12)-6)))
			if rng.IntN(5) == 0 {
				values[i] = 0
			}
		}
		whole := seen(t, values...)
		rng.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
		merged := new(Observer)
		for rest := values; len(rest) > 0; {
			n := 1 + rng.IntN(len(rest))
			part := seen(t, rest[:n]...)
			rest = rest[n:]
			doc, err := json.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			back := new(Observer)
			if err := json.Unmarshal(doc, back); err != nil || back.Check() != nil {
				t.Fatalf("%v, %v", err, back.Check())
			}
			if rng.IntN(2) == 0 {
				back.Merge(merged)
				merged = back
			} else {
				merged.Merge(back)
			}
		}
		if !reflect.DeepEqual(merged, whole) {
			t.Fatalf("round %d: %d values of %d, 2^%d and 2^%d", round, merged.Count, whole.Count, merged.Exp, whole.Exp)
		}
	}
}

func TestAddRefusesWhatIsNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, bad := range [][]float32{{nan}, {1, nan}, {inf, 1}, {-inf, inf}} {
		o := seen(t, 3)
		if err := o.Add(bad); !errors.Is(err, ErrNotFinite) || o.Count != 1 {
			t.Errorf("%v: %v, %d values", bad, err, o.Count)
		}
	}
	o := new(Observer)
	if err := o.Add(nil); err != nil || o.Count != 0 {
		t.Error("nothing is no fault")
	}
	if _, err := o.Range(Settings{Method: MinMax}); err == nil {
		t.Error("a range of nothing")
	}
}

func TestCheckFindsDamage(t *testing.T) {
	for name, damage := range map[string]func(*Observer){
		"a count":   func(o *Observer) { o.Bins[0]++ },
		"a border":  func(o *Observer) { o.First++ },
		"a width":   func(o *Observer) { o.Exp++ },
		"an end":    func(o *Observer) { o.Max = 9 },
		"no number": func(o *Observer) { o.Min = float32(math.NaN()) },
		"no values": func(o *Observer) { o.Count = 0 },
		"a bin":     func(o *Observer) { o.Bins = o.Bins[1:] },
	} {
		o := seen(t, -1, 0, 2)
		damage(o)
		if o.Check() == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, m := range Methods() {
		if err := (Settings{Method: m, Percentile: 99.9}).Validate(); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []Settings{{}, {Method: "max"}, {Method: Percentile}, {Percentile, 101}, {Percentile, math.NaN()}} {
		if s.Validate() == nil {
			t.Errorf("%+v was accepted", s)
		}
		if _, err := seen(t, 1).Range(s); err == nil {
			t.Errorf("%+v gave a range", s)
		}
	}
}

// uniform has n values spread evenly over (lo, hi).
func uniform(lo, hi float64, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(lo + (hi-lo)*(float64(i)+0.5)/float64(n))
	}
	return v
}

func near(a, b float32, by float64) bool { return math.Abs(float64(a)-float64(b)) <= by }

func TestMinMax(t *testing.T) {
	if r := rangeOf(t, seen(t, 3, -7, 2), Settings{Method: MinMax}); r != (Range{-7, 3}) {
		t.Errorf("%v", r)
	}
	for _, m := range Methods() { // a tensor that is always the same
		if r := rangeOf(t, seen(t, 2, 2), Settings{m, 99}); r != (Range{2, 2}) {
			t.Errorf("%s: %v", m, r)
		}
	}
}

// Of values that are spread evenly, a percentile is at its share of the way.
func TestPercentile(t *testing.T) {
	o := seen(t, uniform(-1, 3, 100000)...)
	for _, p := range []float64{100, 99.9, 99, 90, 60} {
		cut := (100 - p) / 200 * 4
		r := rangeOf(t, o, Settings{Percentile, p})
		if !near(r.Min, float32(-1+cut), 0.001) || !near(r.Max, float32(3-cut), 0.001) {
			t.Errorf("%g %%: %v, want %g to %g", p, r, -1+cut, 3-cut)
		}
	}
	// A single outlier among 10,000 values is cut off by 99.9 % and kept by 100 %.
	out := seen(t, append(uniform(0, 1, 10000), 50)...)
	if r := rangeOf(t, out, Settings{Percentile, 99.9}); r.Max > 1.01 {
		t.Errorf("with an outlier: %v", r)
	}
	if r := rangeOf(t, out, Settings{Percentile, 100}); r.Max != 50 {
		t.Errorf("all: %v", r)
	}
}

func TestMSE(t *testing.T) {
	s := Settings{Method: MSE}
	// Spread evenly, every value counts: cutting off costs more than finer steps bring.
	if r := rangeOf(t, seen(t, uniform(0, 1, 100000)...), s); r.Max < 0.99 || r.Min > 0 && r.Min > 0.001 {
		t.Errorf("even: %v", r)
	}
	// One far value among many: it costs (5 - t)^2 once, the others t^2/12/255^2 each. With
	// n values the best t is 5 / (1 + n/12/255^2), which 100 steps reach within 0.05.
	n := 400_000
	o := seen(t, 5)
	for range n / 100000 {
		if err := o.Add(uniform(0, 1, 100000)); err != nil {
			t.Fatal(err)
		}
	}
	want := 5 / (1 + float64(n)/12/255/255)
	if r := rangeOf(t, o, s); !near(r.Max, float32(want), 0.1) {
		t.Errorf("one far value: %v, want %.2f", r, want)
	}
	// The result is no worse than the extremes, and no neighbour of it is better.
	rng := rand.New(rand.NewPCG(3, 4))
	values := make([]float32, 50000)
	for i := range values {
		values[i] = float32(rng.ExpFloat64() * rng.NormFloat64())
	}
	o = seen(t, values...)
	r := rangeOf(t, o, s)
	e := func(r Range) float64 { return squares(o.filled(), r.Uint8(), math.Inf(1)) }
	for _, other := range []Range{
		{o.Min, o.Max}, {r.Min + o.Min/steps, r.Max}, {r.Min, r.Max + o.Max/steps}, {r.Min, r.Max - o.Max/steps},
	} {
		if e(other) < e(r) {
			t.Errorf("%v has the error %g, %v %g", r, e(r), other, e(other))
		}
	}
}

func TestEntropy(t *testing.T) {
	s := Settings{Method: Entropy}
	// Few distinct magnitudes, each in a level of its own, lose nothing: all are kept.
	if r := rangeOf(t, seen(t, uniform(0, 1, 50000)...), s); !near(r.Max, 1, 0.01) || r.Min < 0 {
		t.Errorf("even: %v", r)
	}
	// A far value among many is given up.
	rng := rand.New(rand.NewPCG(5, 6))
	values := make([]float32, 50000)
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	r := rangeOf(t, seen(t, append(values, 40)...), s)
	if r.Max > 20 || r.Max < 2 || r.Min < -6 || r.Min > -2 {
		t.Errorf("a far value: %v", r)
	}
	// As many zeros as a Relu leaves change little: what is above them counts all the same.
	for i, v := range values {
		values[i] = max(v, 0)
	}
	for _, zeros := range []int{0, 50000, 5_000_000} {
		r := rangeOf(t, seen(t, append(make([]float32, zeros), values...)...), s)
		if r.Min != 0 || r.Max < 2.5 || r.Max > 5 {
			t.Errorf("%d more zeros: %v", zeros, r)
		}
	}
}

// divergence against the sum of p ln(p/q) by hand.
func TestDivergence(t *testing.T) {
	// Two bins in one level: p = (1/4, 3/4) against q = (1/2, 1/2).
	want := 0.25*math.Log(0.5) + 0.75*math.Log(1.5)
	if d := divergence([]float64{100, 300}, 2, 1); math.Abs(d-want) > 1e-12 {
		t.Errorf("%g, want %g", d, want)
	}
	// With a level for each bin nothing is lost; what is cut off counts at the end.
	if d := divergence([]float64{100, 300, 0}, 2, 2); math.Abs(d) > 1e-12 {
		t.Errorf("%g, want 0", d)
	}
	p, q := []float64{0.2, 0.8}, []float64{0.5, 0.5} // (100, 300+100), told apart as (100, 100)
	want = p[0]*math.Log(p[0]/q[0]) + p[1]*math.Log(p[1]/q[1])
	if d := divergence([]float64{100, 100, 300}, 2, 2); math.Abs(d-want) > 1e-12 {
		t.Errorf("cut off: %g, want %g", d, want)
	}
	if d := divergence([]float64{0, 0}, 2, 2); !math.IsInf(d, 1) {
		t.Errorf("of nothing: %g", d)
	}
}

func TestUint8(t *testing.T) {
	for _, c := range []struct {
		r    Range
		want Params
	}{
		{Range{0, 255}, Params{1, 0}},
		{Range{-1, 1}, Params{2.0 / 255, 128}}, // 127.5 is a tie: to the even number
		{Range{2, 6}, Params{6.0 / 255, 0}},    // widened to 0
		{Range{-6, -2}, Params{6.0 / 255, 255}},
		{Range{0, 0}, Params{1, 0}},
		{Range{-1e-45, 0}, Params{1, 0}},
		{Range{-math.MaxFloat32, math.MaxFloat32}, Params{float32(2 * math.MaxFloat32 / 255), 128}},
	} {
		if got := c.r.Uint8(); got != c.want {
			t.Errorf("%v: %v, want %v", c.r, got, c.want)
		}
	}
}

func TestQuantise(t *testing.T) {
	p := Params{Scale: 2, Zero: 10}
	for v, want := range map[float32]uint8{
		0: 10, 2: 11, 1: 10, 3: 12, -1: 10, -3: 8, 5: 12, 1000: 255, -1000: 0, 1.01: 11,
	} {
		if got := p.Quantise(v); got != want {
			t.Errorf("%g: %d, want %d", v, got, want)
		}
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		r := Range{float32(-rng.Float64() * 5), float32(rng.Float64() * 9)}
		p := r.Uint8()
		if p.Value(p.Quantise(0)) != 0 {
			t.Fatalf("%v: 0 becomes %g", r, p.Value(p.Quantise(0)))
		}
		v := r.Min + (r.Max-r.Min)*rng.Float32()
		d := math.Abs(float64(p.Value(p.Quantise(v)) - v))
		if d > 1.001*float64(p.Scale) { // a step at an end, where the zero point is rounded
			t.Fatalf("%v: %g is off by %g, steps of %g", r, v, d, p.Scale)
		}
		for _, q := range []uint8{0, 1, 128, 255} {
			if p.Quantise(p.Value(q)) != q {
				t.Fatalf("%v: byte %d does not come back", r, q)
			}
		}
	}
}

// A state file that someone changed is refused or harmless.
func FuzzCheck(f *testing.F) {
	for _, values := range [][]float32{{0}, {1, -2, 3}, {1e-30, 5}} {
		o := new(Observer)
		if err := o.Add(values); err != nil {
			f.Fatal(err)
		}
		doc, err := json.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(doc))
	}
	f.Fuzz(func(t *testing.T, doc string) {
		o := new(Observer)
		if json.Unmarshal([]byte(doc), o) != nil || o.Check() != nil {
			return
		}
		for _, m := range Methods() {
			if r, err := o.Range(Settings{m, 99.9}); err == nil && !(r.Min <= r.Max) {
				t.Errorf("%s: %v", m, r)
			}
		}
		if err := o.Add([]float32{-3, 7}); err == nil && o.Check() != nil {
			t.Errorf("after more values: %v", o.Check())
		}
	})
}
