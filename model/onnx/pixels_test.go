package onnx

import (
	"math"
	"slices"
	"testing"
)

const shippedInt8 = "../bundles/street-11/segment.int8.onnx"

// smallPixels is a network of one convolution that rounds planes to pixels.
func smallPixels() *Model {
	input := &Value{Name: "x", Type: bytesType(1, 3, 4, 6)}
	input.Type.Tensor.Elem = Float
	return &Model{IRVersion: 8, Opsets: []*Opset{{Version: 17}}, Graph: &Graph{
		Inputs: []*Value{input}, Outputs: []*Value{NewValue("y", Float)},
		Nodes: []*Node{
			{Op: "Mul", Inputs: []string{"x", "gain"}, Outputs: []string{"scaled"}},
			{Op: "Add", Inputs: []string{"scaled", "offset"}, Outputs: []string{"pixels"}},
			{Op: "QuantizeLinear", Inputs: []string{"pixels", "one", "grey"}, Outputs: []string{"bytes"}},
			{Op: "DequantizeLinear", Inputs: []string{"bytes", "one", "grey"}, Outputs: []string{"numbers"}},
			{Op: "DequantizeLinear", Inputs: []string{"w", "steps"}, Outputs: []string{"weight"}},
			{Op: "DequantizeLinear", Inputs: []string{"b", "steps"}, Outputs: []string{"bias"}},
			{
				Op: "Conv", Inputs: []string{"numbers", "weight", "bias"}, Outputs: []string{"y"},
				Attributes: []*Attribute{IntsAttribute("pads", 1, 0, 0, 2)},
			},
		},
		Initializers: []*Tensor{
			NewFloats("gain", []float32{50, 51, 52}, 1, 3, 1, 1), NewFloats("offset", []float32{1, 2, 3}, 1, 3, 1, 1),
			NewFloats("one", []float32{1}), NewBytes("grey", Uint8, []byte{110}), NewFloats("steps", []float32{0.5}, 1),
			NewBytes("w", Int8, []byte{1, 2, 0xfe}, 1, 3, 1, 1), NewInts("b", []int32{1000}, 1),
		},
	}}
}

// TestShiftedBias holds the bias of a small network against reckoning by hand.
func TestShiftedBias(t *testing.T) {
	m := smallPixels()
	p := m.Graph.PixelInput("x")
	if p == nil {
		t.Fatal("not found")
	}
	if p.Top != 1 || p.Left != 0 || p.Bottom != 0 || p.Right != 2 {
		t.Errorf("around the picture: %d %d %d %d", p.Top, p.Left, p.Bottom, p.Right)
	}
	m.Graph.TakePixels(p, false)
	x, err := m.Graph.Index()
	if err != nil {
		t.Fatal(err)
	}
	got, err := x.Constant("b_pixels").Ints() // 1000 - 110 * (1 + 2 - 2)
	if err != nil || !slices.Equal(got, []int32{890}) {
		t.Errorf("got %v: %v", got, err)
	}
	if s := m.Graph.Inputs[0].Shape(); !slices.Equal(s, []int64{1, 5, 8, 3}) {
		t.Errorf("the input has the shape %v", s)
	}
}

func TestPixelInputOfWhatShips(t *testing.T) {
	p := parse(t, shippedInt8).Graph.PixelInput("x")
	if p == nil {
		t.Fatal("not found")
	}
	if p.Grey != 114 || p.Top != 1 || p.Left != 1 || p.Bottom != 1 || p.Right != 1 {
		t.Errorf("grey %d, around the picture %d %d %d %d", p.Grey, p.Top, p.Left, p.Bottom, p.Right)
	}
	mean, std := []float64{0.485, 0.456, 0.406}, []float64{0.229, 0.224, 0.225}
	for c := range 3 {
		for v := range 256 {
			if got := p.Byte(c, float32((float64(v)/255-mean[c])/std[c])); got != byte(v) {
				t.Fatalf("channel %d: %d becomes %d", c, v, got)
			}
		}
		if low, high := p.Byte(c, -100), p.Byte(c, 100); low != 0 || high != 255 {
			t.Errorf("channel %d: beyond the range %d and %d", c, low, high)
		}
	}
}

// TestPixelInputOfOthers changes one thing each that the change would not survive.
func TestPixelInputOfOthers(t *testing.T) {
	if parse(t, shipped).Graph.PixelInput("x") != nil {
		t.Error("found in a float network")
	}
	node := func(g *Graph, op string) *Node {
		return g.Nodes[slices.IndexFunc(g.Nodes, func(n *Node) bool { return n.Op == op })]
	}
	tensor := func(g *Graph, name string) *Tensor {
		return g.Initializers[slices.IndexFunc(g.Initializers, func(t *Tensor) bool { return t.Name == name })]
	}
	for what, change := range map[string]func(g *Graph){
		"another input":           func(g *Graph) { g.Inputs[0].Name = "y" },
		"no input":                func(g *Graph) { g.Inputs = nil },
		"an open size":            func(g *Graph) { g.Inputs[0].Type.Tensor.Shape.Dims[2] = &Dim{Param: "h"} },
		"the planes go elsewhere": func(g *Graph) { node(g, "Resize").Inputs[0] = "x_pixels" },
		"they are an output":      func(g *Graph) { g.AddOutput("x_pixels", Float) },
		"steps that are no pixels": func(g *Graph) {
			*tensor(g, "x_pixels_scale") = *NewFloats("x_pixels_scale", []float32{0.5})
		},
		"signed bytes": func(g *Graph) { tensor(g, "x_pixels_zero_point").Type = Int8 },
		"one gain for all": func(g *Graph) {
			*tensor(g, "x_pixels_gain") = *NewFloats("x_pixels_gain", []float32{58}, 1)
		},
		"a gain that is not there": func(g *Graph) { node(g, "Mul").Inputs[1] = "nowhere" },
		"a sum without operand":    func(g *Graph) { node(g, "Add").Inputs = []string{"x_pixels_scaled"} },
		"no bias":                  func(g *Graph) { node(g, "Conv").Inputs[2] = "" },
		"a bias with other steps": func(g *Graph) {
			*tensor(g, "x_pixels_bias_scale") = *NewFloats("x_pixels_bias_scale", make([]float32, 32), 32)
		},
		"weights around another zero": func(g *Graph) { tensor(g, "x_pixels_weight_zero_point").Raw[3] = 1 },
		"weights for two": func(g *Graph) {
			weight := node(g, "Conv").Inputs[1]
			g.Nodes = append(g.Nodes, &Node{Op: "Identity", Inputs: []string{weight}, Outputs: []string{"more"}})
		},
		"padding that the library reckons": func(g *Graph) {
			node(g, "Conv").Attribute("auto_pad").Bytes = []byte("SAME_UPPER")
		},
		"a bias that cannot be moved": func(g *Graph) {
			tensor(g, "x_pixels_bias_quantized").Raw = NewInts("", slices.Repeat([]int32{math.MinInt32}, 32)).Raw
		},
		"half of a bias":   func(g *Graph) { tensor(g, "x_pixels_bias_quantized").Raw = make([]byte, 64) },
		"negative padding": func(g *Graph) { node(g, "Conv").Attribute("pads").Ints[0] = -1 },
	} {
		m := parse(t, shippedInt8)
		change(m.Graph)
		if m.Graph.PixelInput("x") != nil {
			t.Errorf("found with %s", what)
		}
	}
	if _, err := new(Graph).GivePixels("nowhere", new(PixelInput)); err == nil {
		t.Error("pixels in place of an output that is not there")
	}
}

// TestTakePixels reads the changed file again: its form, and that nothing is left
// of what was there. Values are compared in model/ort.
func TestTakePixels(t *testing.T) {
	for _, asFloat := range []bool{false, true} {
		m := parse(t, shippedInt8)
		m.Graph.TakePixels(m.Graph.PixelInput("x"), asFloat)
		data, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if m, err = Parse(data); err != nil {
			t.Fatal(err)
		}
		g, ops := m.Graph, []string{"Transpose", "DequantizeLinear"}
		if asFloat {
			ops = []string{"Transpose", "Cast", "QuantizeLinear", "DequantizeLinear"}
		}
		for i, op := range ops {
			if g.Nodes[i].Op != op {
				t.Errorf("node %d is %s, not %s", i, g.Nodes[i].Op, op)
			}
		}
		if in := g.Inputs[0]; in.Elem() != Uint8 || !slices.Equal(in.Shape(), []int64{1, 482, 642, 3}) {
			t.Errorf("the input is %v of %v", in.Elem(), in.Shape())
		}
		used := map[string]bool{}
		for _, n := range g.Nodes {
			for _, name := range n.Uses() {
				used[name] = true
			}
		}
		for _, w := range g.Initializers {
			if !used[w.Name] {
				t.Errorf("nobody reads %s", w.Name)
			}
		}
		if g.PixelInput("x") != nil {
			t.Error("found once more")
		}
	}
}
