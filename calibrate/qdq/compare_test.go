//go:build cgo

package qdq

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/calibrate/observe"
	"nightseg/model"
	"nightseg/model/onnx"
	"nightseg/model/ort"
)

const shipped = "../../model/bundles/street-11"

func load(t testing.TB, name string) *onnx.Model {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// run feeds a network values, bytes or floats in 0..255, and returns its first output.
func run(t testing.TB, m *onnx.Model, shape []int64, values []float32) []float32 {
	t.Helper()
	var out []float32
	runAll(t, m, shape, values, func(name string, v []float32) {
		if name == m.Graph.Outputs[0].Name {
			out = append(out, v...)
		}
	})
	return out
}

func runAll(t testing.TB, m *onnx.Model, shape []int64, values []float32, see func(string, []float32)) {
	t.Helper()
	if _, err := ort.FindLibrary(""); err != nil {
		t.Skipf("needs ONNX Runtime: %v", err)
	}
	r, err := ort.NewRunner(m, shape, model.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	copy(r.Floats(), values)
	for i := range r.Bytes() {
		r.Bytes()[i] = uint8(values[i])
	}
	if err := r.Run(func(name string, _ []int64, v []float32) error { see(name, v); return nil }); err != nil {
		t.Fatal(err)
	}
}

// scalesOf reads the ranges that onnxruntime's quantiser gave the tensors of an
// integer network.
func scalesOf(t testing.TB, m *onnx.Model) map[string]observe.Range {
	t.Helper()
	x, err := m.Graph.Index()
	if err != nil {
		t.Fatal(err)
	}
	ranges := map[string]observe.Range{}
	for _, n := range m.Graph.Nodes {
		name, ok := strings.CutSuffix(n.Name, "_QuantizeLinear")
		if n.Op != "QuantizeLinear" || !ok {
			continue
		}
		s, err := x.Constant(n.Input(1)).Floats()
		if err != nil {
			t.Fatal(err)
		}
		zero := x.Constant(n.Input(2))
		z := float32(append(zero.Ints32, 0)[0])
		if len(zero.Raw) == 1 {
			z = float32(zero.Raw[0])
		}
		ranges[name] = observe.Range{Min: -z * s[0], Max: (255 - z) * s[0]}
	}
	return ranges
}

func relative(got, want []float32) float64 { return model.RelativeDifference(got, want) }

// With the ranges of the file that onnxruntime's quantiser made, a network like
// those that ship gives nearly the same logits: the rounding is at the same places,
// but for the pools, which have ranges of their own here. testdata/make.py makes
// both files.
func TestSameRangesGiveTheSameLogits(t *testing.T) {
	theirs := load(t, "testdata/theirs.onnx")
	p := plan(t, load(t, "testdata/float.onnx"))
	ranges := scalesOf(t, theirs)
	for _, name := range p.Tensors() {
		if _, ok := ranges[name]; !ok {
			t.Errorf("%s is rounded here alone", name)
		}
	}
	ours, err := p.Write(ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	for op, want := range countOps(theirs) {
		if got := countOps(ours)[op]; got != want {
			t.Errorf("%d nodes %s, onnxruntime's quantiser has %d", got, op, want)
		}
	}
	shape := []int64{1, 3, 64, 96}
	x := make([]float32, 3*64*96)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range x {
		x[i] = float32(random.NormFloat64())
	}
	want := run(t, theirs, shape, x)
	got := run(t, ours, shape, x)
	if d := relative(got, want); len(got) == 0 || d > 1e-3 {
		t.Errorf("logits differ by %.3g of their range", d)
	}
	compareConstants(t, ours, theirs)
}

// compareConstants holds the integer weights against those that onnxruntime's
// quantiser made: equal bytes where the scales are equal. Channels of tiny weights
// and large biases have larger steps here, so that sums stay within int32.
func compareConstants(t *testing.T, ours, theirs *onnx.Model) {
	t.Helper()
	find := func(m *onnx.Model, name string) *onnx.Tensor {
		i := slices.IndexFunc(m.Graph.Initializers, func(w *onnx.Tensor) bool { return w.Name == name })
		if i < 0 {
			t.Fatalf("no tensor %q", name)
		}
		return m.Graph.Initializers[i]
	}
	channels, coarser := 0, 0
	for _, q := range ours.Graph.Initializers {
		name, ok := strings.CutSuffix(q.Name, "_quantized")
		if !ok || q.Type != onnx.Int8 {
			continue
		}
		w := find(theirs, q.Name)
		got, want := floats(t, ours, name+"_scale"), floats(t, theirs, name+"_scale")
		size := len(q.Raw) / len(got)
		for c, s := range got {
			channels++
			if s != want[c] {
				coarser++
				if s < want[c] || s > 2.01*want[c] {
					t.Errorf("%s, channel %d: scale %g, want %g", name, c, s, want[c])
				}
			} else if !bytes.Equal(q.Raw[c*size:][:size], w.Raw[c*size:][:size]) {
				t.Errorf("%s, channel %d has other weights", name, c)
			}
		}
	}
	t.Logf("%d of %d channels have larger steps", coarser, channels)
	if channels < 1000 || coarser > channels/100 {
		t.Errorf("%d of %d channels have larger steps", coarser, channels)
	}
}

func countOps(m *onnx.Model) map[string]int {
	count := map[string]int{}
	for _, n := range m.Graph.Nodes {
		count[n.Op]++
	}
	return count
}

// The relight net's picture is put together in float: what makes gain and offset,
// what enlarges them, and all behind.
func TestRelightKeepsItsPicture(t *testing.T) {
	p := plan(t, load(t, filepath.Join(shipped, "relight.onnx")))
	for _, part := range []string{"/gain/", "/offset/", "/enlarge/", "/enlarge_1/"} {
		found := false
		for _, name := range p.Kept() {
			found = found || strings.Contains(name, part)
		}
		if !found {
			t.Errorf("%s becomes integer; float are %q", part, p.Kept())
		}
	}
	if len(p.Layers()) != 8 || len(p.Kept()) != 4 {
		t.Errorf("integer %q, float %q", p.Layers(), p.Kept())
	}
	for _, name := range p.Tensors() {
		if name == "relit" || strings.Contains(name, "Tanh") || strings.Contains(name, "Mul") {
			t.Errorf("%s is rounded", name)
		}
	}
}

// Ranges from the float network's own tensors, and the integer network next to it.
func TestIntegerNetworkIsNearTheFloatOne(t *testing.T) {
	m := load(t, filepath.Join(shipped, "relight.onnx"))
	p := plan(t, m)
	shape := []int64{1, 480, 640, 3}
	x := make([]float32, 480*640*3)
	for i := range x {
		x[i] = float32(math.Round(60 + 50*math.Sin(float64(i)/3000) + float64(i%7)))
	}
	ranges := map[string]observe.Range{}
	var want []float32
	runAll(t, p.RangeModel(), shape, x, func(name string, v []float32) {
		o := new(observe.Observer)
		if err := o.Add(v); err != nil {
			t.Fatal(err)
		}
		ranges[name] = observe.Range{Min: o.Min, Max: o.Max}
		if name == "relit" {
			want = append(want, v...)
		}
	})
	q, err := p.Write(ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := relative(run(t, q, shape, x), want); d > 0.005 {
		t.Errorf("relit picture differs by %.3g of its range", d)
	}
}

// What QuantizeLinear and DequantizeLinear of ONNX Runtime make of values is what
// this module makes of them, ties included.
func TestONNXRuntimeRoundsTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 30 {
		r := observe.Range{Min: float32(-rng.ExpFloat64()), Max: float32(rng.ExpFloat64() * 4)}
		p := r.Uint8()
		x := make([]float32, 4096)
		for i := range x {
			if x[i] = (r.Max-r.Min)*1.2*rng.Float32() + r.Min*1.1; i%3 == 0 {
				x[i] = (float32(rng.IntN(300)) - 20.5) * p.Scale // about in the middle
			}
		}
		n := int64(len(x))
		m := &onnx.Model{IRVersion: 8, Opsets: []*onnx.Opset{{Version: 17}}, Graph: &onnx.Graph{
			Name: "g", Inputs: []*onnx.Value{onnx.NewValue("x", onnx.Float)},
			Outputs: []*onnx.Value{onnx.NewValue("y", onnx.Float)},
			Initializers: []*onnx.Tensor{
				onnx.NewFloats("s", []float32{p.Scale}), onnx.NewBytes("z", onnx.Uint8, []byte{p.Zero}),
			},
			Nodes: []*onnx.Node{
				{Op: "QuantizeLinear", Inputs: []string{"x", "s", "z"}, Outputs: []string{"q"}},
				{Op: "DequantizeLinear", Inputs: []string{"q", "s", "z"}, Outputs: []string{"y"}},
			},
		}}
		for i, got := range run(t, m, []int64{n}, x) {
			if want := p.Value(p.Quantise(x[i])); got != want {
				t.Fatalf("%v: %g (%g steps) becomes %g there, %g here", p, x[i], x[i]/p.Scale, got, want)
			}
		}
	}
}

// On its pixels a network gives what it gave before, but at the edges, and its
// input in bytes is the input: rounding changes nothing.
func TestOnPixels(t *testing.T) {
	pads := &onnx.Attribute{Name: "pads", Type: onnx.AttributeInts, Ints: []int64{1, 1, 1, 1}}
	m := begins(node("Conv c: x w b -> y", pads))
	before, _ := m.Marshal()
	q, tensor, r, ok := OnPixels(m, imageMean, imageStd)
	if !ok || tensor != "x_pixels" || r.Max-r.Min != 255 || r.Min != -114 {
		t.Fatalf("%v, %q, %v", ok, tensor, r)
	}
	if after, _ := m.Marshal(); !bytes.Equal(after, before) {
		t.Error("the network itself has changed")
	}
	const h, w = 16, 16
	x := make([]float32, 3*h*w)
	for i := range x {
		c := i / (h * w)
		x[i] = float32((float64(i*37%256)/255 - imageMean[c]) / imageStd[c])
	}
	want := run(t, m, []int64{1, 3, h, w}, x)
	q.Graph.AddOutput(tensor, onnx.Float)
	p := r.Uint8()
	runAll(t, q, []int64{1, 3, h, w}, x, func(name string, got []float32) {
		for i, v := range got {
			y, x := i/w%h, i%w
			switch {
			case name == tensor:
				if math.Abs(float64(p.Value(p.Quantise(v))-v)) > 1e-3 || p.Quantise(v) != uint8(i*37%256) {
					t.Fatalf("pixel %d is %g, in bytes %d", i*37%256, v, p.Quantise(v))
				}
			case y > 0 && x > 0 && y < h-1 && x < w-1 && math.Abs(float64(v-want[i])) > 1e-4:
				t.Fatalf("%g at %d, %d, before %g", v, x, y, want[i])
			}
		}
	})
}

// The means make up for what rounded weights add: the integer network's outputs have
// the float one's mean.
func TestBiasCorrectionInONNXRuntime(t *testing.T) {
	m := begins(node("Conv c: x w b -> y"))
	shape := []int64{1, 3, 32, 32}
	x := make([]float32, 3*32*32)
	for i := range x {
		x[i] = float32(40 + i%50)
	}
	mean := func(v []float32) float64 {
		s := 0.0
		for _, v := range v[:len(v)/2] { // of the first channel
			s += float64(v)
		}
		return s / float64(len(v)/2)
	}
	p, means := plan(t, m), observe.NewMeans(3)
	if err := means.Add(x); err != nil {
		t.Fatal(err)
	}
	want := run(t, m, shape, x)
	ranges := map[string]observe.Range{"x": {Min: 0, Max: 255}, "y": {Min: slices.Min(want), Max: slices.Max(want)}}
	var off []float64
	for _, known := range []map[string][]float64{nil, {"x": means.Values()}} {
		q, err := p.Write(ranges, known)
		if err != nil {
			t.Fatal(err)
		}
		off = append(off, math.Abs(mean(run(t, q, shape, x))-mean(want)))
	}
	if step := float64(ranges["y"].Uint8().Scale); off[1] > step/4 || off[1] > off[0]/3 {
		t.Errorf("the mean is off by %g, without means by %g; steps of %g", off[1], off[0], step)
	}
}
