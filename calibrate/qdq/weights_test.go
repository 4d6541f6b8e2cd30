package qdq

import (
	"math"
	"slices"
	"strings"
	"testing"

	"nightseg/calibrate/observe"
	"nightseg/model/onnx"
)

// Scales and values by hand: what rounding adds to an output is its error times the
// mean of what it is multiplied with.
func TestBiasMakesUpForWeights(t *testing.T) {
	// Steps of 1; the third and fourth weight of the first output are rounded by
	// +0.25 and -0.25, those of the second by -0.375 and 0.
	w := onnx.NewFloats("w", []float32{127, 0, 0.75, 1.25, 127, 0, 1.375, 3}, 2, 2, 2, 1)
	ranges := map[string]observe.Range{"x": {Min: 0, Max: 255}, "y": {Min: 0, Max: 255}}
	for name, c := range map[string]struct {
		nodes   *onnx.Node
		bias    []float32
		weights *onnx.Tensor
		means   []float64
		want    []float64
	}{
		"two channels": {
			node("Conv c: x w b -> y"),
			[]float32{10, 20},
			w,
			[]float64{100, 8},
			[]float64{10, 20 + 0.375*8},
		},
		"no bias before": {
			node("Conv c: x w -> y"), nil, w, []float64{1, 8}, []float64{0, 3},
		},
		"a group an output": {
			node("Conv c: x w b -> y", onnx.IntAttribute("group", 2)),
			[]float32{0, 0},
			onnx.NewFloats("w", []float32{127, 0.75, 127, 1.375}, 2, 1, 2, 1),
			[]float64{4, 8},
			[]float64{-0.25 * 4, 0.375 * 8},
		},
		"nothing known": {node("Conv c: x w b -> y"), []float32{10, 20}, w, nil, []float64{10, 20}},
	} {
		weights := []*onnx.Tensor{c.weights}
		if c.bias != nil {
			weights = append(weights, onnx.NewFloats("b", c.bias, 2))
		}
		p := plan(t, network(weights, c.nodes))
		means := map[string][]float64{}
		if c.means != nil {
			means["x"] = c.means
		}
		m, err := p.Write(ranges, means)
		if err != nil {
			t.Fatal(err)
		}
		tensor := "b"
		if c.bias == nil {
			tensor = "c_bias"
		}
		q, steps := ints(t, m, tensor+"_quantized"), floats(t, m, tensor+"_scale")
		for o, want := range c.want {
			if got := float64(q[o]) * float64(steps[o]); math.Abs(got-want) > 0.5 {
				t.Errorf("%s: bias %d is %g, not %g", name, o, got, want)
			}
		}
	}
	p := plan(t, network([]*onnx.Tensor{w}, node("Conv c: x w -> y")))
	if got := p.Inputs(); !slices.Equal(got, []Input{{"x", 2}}) {
		t.Errorf("inputs %v", got)
	}
	if _, err := p.Write(ranges, map[string][]float64{"x": {1}}); err == nil || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("a mean of two channels: %v", err)
	}
}

// begins makes a network that begins with a convolution of three channels.
func begins(nodes ...*onnx.Node) *onnx.Model {
	weight := make([]float32, 2*3*9)
	for i := range weight {
		weight[i] = float32(math.Sin(float64(i)))
	}
	return network([]*onnx.Tensor{
		onnx.NewFloats("w", weight, 2, 3, 3, 3), onnx.NewFloats("b", []float32{0.5, -1}, 2), filled("v", 1, 1, 2, 1, 1),
	}, nodes...)
}

var (
	imageMean = [3]float64{0.485, 0.456, 0.406}
	imageStd  = [3]float64{0.229, 0.224, 0.225}
)

func TestOnPixelsRefuses(t *testing.T) {
	for name, m := range map[string]*onnx.Model{
		"another user":      begins(node("Conv c: x w b -> a"), node("Relu r: x -> z"), node("Conv d: a v -> y")),
		"no convolution":    begins(node("Relu r: x -> a"), node("Conv c: a w b -> y")),
		"other channels":    begins(node("Conv d: x v -> y")),
		"a computed weight": begins(node("Relu r: w -> u"), node("Conv c: x u b -> y")),
		"a computed bias":   begins(node("Relu r: b -> u"), node("Conv c: x w u -> y")),
		"bytes":             {Graph: &onnx.Graph{Inputs: []*onnx.Value{onnx.NewValue("x", onnx.Uint8)}}},
		"more than one input": {Graph: &onnx.Graph{Inputs: []*onnx.Value{
			onnx.NewValue("x", onnx.Float), onnx.NewValue("z", onnx.Float),
		}}},
	} {
		if _, _, _, ok := OnPixels(m, imageMean, imageStd); ok {
			t.Errorf("%s: taken", name)
		}
	}
}

// Two products of a byte and a weight of 7 bits fit into 16 bits.
func TestWeightBits(t *testing.T) {
	w := onnx.NewFloats("w", []float32{-64, 32, 1, 0}, 1, 4, 1, 1)
	m := network([]*onnx.Tensor{w}, node("Conv c: x w -> y"))
	for bits, want := range map[int][]byte{7: {0xc0, 32, 1, 0}, 8: {0x81, 64, 2, 0}, 0: {0x81, 64, 2, 0}} {
		p, err := New(m, Options{WeightBits: bits})
		if err != nil {
			t.Fatal(err)
		}
		if q := tensor(t, written(t, p, everyRange(p, 0, 1)), "w_quantized"); !slices.Equal(q.Raw, want) {
			t.Errorf("%d bits: %v", bits, q.Raw)
		}
	}
	if _, err := New(m, Options{WeightBits: 4}); err == nil || !strings.Contains(err.Error(), "4 bits") {
		t.Errorf("4 bits: %v", err)
	}
}
