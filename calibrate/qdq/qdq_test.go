package qdq

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"nightseg/calibrate/observe"
	"nightseg/model/onnx"
)

func plan(t testing.TB, m *onnx.Model, keep ...string) *Plan {
	t.Helper()
	p, err := New(m, Options{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// node makes a node of "op name: inputs -> outputs".
func node(text string, attributes ...*onnx.Attribute) *onnx.Node {
	head, ports, _ := strings.Cut(text, ":")
	in, out, _ := strings.Cut(ports, "->")
	op, name, _ := strings.Cut(head, " ")
	return &onnx.Node{
		Op: op, Name: name, Inputs: strings.Fields(in), Outputs: strings.Fields(out), Attributes: attributes,
	}
}

func network(weights []*onnx.Tensor, nodes ...*onnx.Node) *onnx.Model {
	return &onnx.Model{IRVersion: 8, Opsets: []*onnx.Opset{{Version: 17}}, Graph: &onnx.Graph{
		Name: "g", Nodes: nodes, Initializers: weights,
		Inputs:  []*onnx.Value{onnx.NewValue("x", onnx.Float)},
		Outputs: []*onnx.Value{onnx.NewValue("y", onnx.Float)},
	}}
}

// filled is a tensor whose values are all v.
func filled(name string, v float32, dims ...int64) *onnx.Tensor {
	n := 1
	for _, d := range dims {
		n *= int(d)
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = v
	}
	return onnx.NewFloats(name, values, dims...)
}

// text writes the nodes of a network, each "op: inputs -> outputs", with the tails
// of the names that rounding adds cut short.
func text(m *onnx.Model) []string {
	short := strings.NewReplacer("_QuantizeLinear_Output", ".q", "_DequantizeLinear_Output", ".dq",
		"_QuantizeLinear_Input", ".raw", "_zero_point", ".z", "_scale", ".s", "_quantized", ".i")
	var lines []string
	for _, n := range m.Graph.Nodes {
		lines = append(lines, short.Replace(n.Op+": "+strings.Join(n.Inputs, " ")+" -> "+strings.Join(n.Outputs, " ")))
	}
	return lines
}

// everyRange gives all tensors of a plan one range.
func everyRange(p *Plan, lo, hi float32) map[string]observe.Range {
	ranges := map[string]observe.Range{}
	for _, name := range p.Tensors() {
		ranges[name] = observe.Range{Min: lo, Max: hi}
	}
	return ranges
}

func written(t *testing.T, p *Plan, ranges map[string]observe.Range) *onnx.Model {
	t.Helper()
	m, err := p.Write(ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Write(ranges, nil)
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := again.Marshal(); err != nil || !slices.Equal(twice, data) {
		t.Errorf("another network the second time: %v", err)
	}
	return m
}

func tensor(t *testing.T, m *onnx.Model, name string) *onnx.Tensor {
	t.Helper()
	for _, w := range m.Graph.Initializers {
		if w.Name == name {
			return w
		}
	}
	t.Fatalf("no tensor %q", name)
	return nil
}

func floats(t *testing.T, m *onnx.Model, name string) []float32 {
	t.Helper()
	v, err := tensor(t, m, name).Floats()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func ints(t *testing.T, m *onnx.Model, name string) []int32 {
	t.Helper()
	raw := tensor(t, m, name).Raw
	v := make([]int32, len(raw)/4)
	for i := range v {
		v[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return v
}

func TestWhereValuesAreRounded(t *testing.T) {
	w := filled("w", 1, 4, 4, 1, 1)
	ends := []*onnx.Tensor{onnx.NewFloats("lo", []float32{0}), onnx.NewFloats("six", []float32{6})}
	for name, c := range map[string]struct {
		m     *onnx.Model
		keep  []string
		want  string // parts of the lines, one after the other
		float string // tensors that must have no range
	}{
		"a convolution and its Relu are one": {
			m:     network([]*onnx.Tensor{w}, node("Conv c: x w -> a"), node("Relu r: a -> b"), node("Conv d: b w -> y")),
			want:  "-> x.dq|Conv: x.dq w.dq -> b|-> b.q|-> b.dq|Conv: b.dq w.dq -> y.raw|y.raw y.s y.z -> y.q|-> y",
			float: "a",
		},
		"a Clip around 0 likewise": {
			m: network(append(ends, w), node("Conv c: x w -> a"), node("Clip r: a lo six -> b"),
				node("Conv d: b w -> y")),
			want: "Conv: x.dq w.dq -> b|Conv: b.dq", float: "a",
		},
		"a Clip beyond 0 stays": {
			m: network([]*onnx.Tensor{w, onnx.NewFloats("two", []float32{2})}, node("Conv c: x w -> a"),
				node("Clip r: a two -> b"), node("Conv d: b w -> y")),
			want: "Conv: x.dq w.dq -> a|Clip: a.dq two -> b|Conv: b.dq",
		},
		"a Relu whose input has another user stays": {
			m: network([]*onnx.Tensor{w}, node("Conv c: x w -> a"), node("Relu r: a -> b"), node("Add s: a b -> e"),
				node("Conv d: e w -> y")),
			want: "Conv: x.dq w.dq -> a|Relu: a.dq -> b|Add: a.dq b.dq -> e|Conv: e.dq",
		},
		"what is kept": {
			m: network([]*onnx.Tensor{w}, node("Conv c: x w -> a"), node("Relu r: a -> b"), node("Conv d: b w -> e"),
				node("Conv f: e w -> y")),
			keep: []string{"d"},
			want: "Conv: x.dq w.dq -> b|Conv: b.dq w d_bias.dq -> e|QuantizeLinear: e e.s|Conv: e.dq w.dq",
		},
		"a value that is made in float is read in float": {
			m: network([]*onnx.Tensor{w}, node("Tanh t: x -> a"), node("Conv c: a w -> b"), node("Exp e: a -> e"),
				node("Mul m: b e -> y")),
			want: "Tanh: x -> a|Conv: a.dq w.dq -> b|Exp: a -> e|Mul: b.dq e -> y", float: "x e y",
		},
		"values that only move keep their scale": {
			m: network([]*onnx.Tensor{w, onnx.NewFloats("by", []float32{1, 1, 2, 2})}, node("Conv c: x w -> a"),
				node("MaxPool p: a -> b"), node("Resize r: b none by -> e"), node("Conv d: e w -> y")),
			want:  "MaxPool: a.dq -> b|QuantizeLinear: b a.s a.z|Resize: b.dq none by -> e|QuantizeLinear: e a.s a.z",
			float: "b e",
		},
		"a pool has a scale of its own": {
			m: network([]*onnx.Tensor{w}, node("Conv c: x w -> a"), node("AveragePool p: a -> b"),
				node("Conv d: b w -> y")),
			want: "AveragePool: a.dq -> b|QuantizeLinear: b b.s b.z",
		},
		"joined and weighed": {
			m: network([]*onnx.Tensor{filled("w", 1, 4, 4, 1, 1), filled("v", 1, 4, 8, 1, 1)}, node("Conv c: x w -> a"),
				node("Sigmoid s: a -> g"), node("Mul m: a g -> h"), node("Concat k: a h -> e"), node("Conv d: e v -> y")),
			want: "Sigmoid: a.dq -> g|Mul: a.dq g.dq -> h|Concat: a.dq h.dq -> e|Conv: e.dq v.dq",
		},
		"a constant operand": {
			m: network([]*onnx.Tensor{w, onnx.NewFloats("k", []float32{-1, 1, 0, 0.5}, 4, 1, 1)}, node("Conv c: x w -> a"),
				node("Add s: a k -> b"), node("Conv d: b w -> y")),
			want: "DequantizeLinear: k.i k.s k.z -> k.dq|Add: a.dq k.dq -> b", float: "k",
		},
		"sizes are left alone": {
			m: network([]*onnx.Tensor{w}, node("Conv c: x w -> a"), node("Shape s: a -> n"), node("Add t: n n -> o"),
				node("Reshape r: a o -> b"), node("Conv d: b w -> y")),
			want: "Shape: a.dq -> n|Add: n n -> o|Reshape: a.dq o -> b", float: "n o b",
		},
	} {
		p := plan(t, c.m, c.keep...)
		lines := strings.Join(text(written(t, p, everyRange(p, -1, 3))), "\n")
		at := 0
		for _, part := range strings.Split(c.want, "|") {
			i := strings.Index(lines[at:], part)
			if i < 0 {
				t.Errorf("%s: no %q, or not there, in\n%s", name, part, lines)
				break
			}
			at += i + len(part)
		}
		for _, tensor := range strings.Fields(c.float) {
			if slices.Contains(p.Tensors(), tensor) {
				t.Errorf("%s: %s has a range", name, tensor)
			}
		}
	}
}

// Scales and values by hand.
func TestWeightsAndBias(t *testing.T) {
	w := onnx.NewFloats("w", []float32{127, -63.5, 0, 0, 0.5, 0.25}, 3, 2, 1, 1)
	b := onnx.NewFloats("b", []float32{1, -2, 0.125}, 3)
	p := plan(t, network([]*onnx.Tensor{w, b}, node("Conv c: x w b -> y")))
	m := written(t, p, map[string]observe.Range{"x": {Min: 0, Max: 127.5}, "y": {Min: -1, Max: 1}})
	if s := floats(t, m, "w_scale"); s[0] != 1 || s[1] != 1 || s[2] != float32(0.5/127.) {
		t.Errorf("scales %v", s)
	}
	if q := tensor(t, m, "w_quantized"); !slices.Equal(q.Raw, []byte{127, 0xc0, 0, 0, 127, 64}) || q.Type != onnx.Int8 {
		t.Errorf("weights %v", q.Raw) // -63.5 and 63.5 are ties: to -64 and 64
	}
	// The input's scale is 0.5, so that a step of the bias is half of the weight's.
	if q := ints(t, m, "b_quantized"); q[0] != 2 || q[1] != -4 || q[2] != int32(math.RoundToEven(0.125*127/0.25)) {
		t.Errorf("bias %v", q)
	}
	if z := tensor(t, m, "x_zero_point").Raw; floats(t, m, "x_scale")[0] != 0.5 || z[0] != 0 {
		t.Errorf("input: zero point %v", z)
	}
	if z := tensor(t, m, "y_zero_point").Raw; z[0] != 128 {
		t.Errorf("output: zero point %v", z)
	}
}

// A bias that is large beside its weights still fits into int32, with room.
func TestLargeBias(t *testing.T) {
	p := plan(t, network([]*onnx.Tensor{
		onnx.NewFloats("w", []float32{1e-12, 1}, 2, 1, 1, 1),
		onnx.NewFloats("b", []float32{1000, 1000}, 2),
	}, node("Conv c: x w b -> y")))
	m := written(t, p, everyRange(p, 0, 255))
	q, s := ints(t, m, "b_quantized"), floats(t, m, "b_scale")
	for i := range q {
		if v := float64(q[i]) * float64(s[i]); math.Abs(v-1000) > 0.01 || q[i] > maxBias+1000 {
			t.Errorf("bias %d: %d steps of %g", i, q[i], s[i])
		}
	}
}

func TestOtherLayers(t *testing.T) {
	group := onnx.IntAttribute("group", 2)
	deconv := network([]*onnx.Tensor{
		onnx.NewFloats("w", []float32{1, 2, 3, 4}, 4, 1, 1, 1), onnx.NewFloats("b", []float32{1, 2}, 2),
	}, node("ConvTranspose c: x w b -> y", group))
	p := plan(t, deconv)
	m := written(t, p, everyRange(p, 0, 255))
	if s := floats(t, m, "w_scale"); len(s) != 1 || s[0] != float32(4.0/127) { // one channel in each group
		t.Errorf("transposed: scales %v", s)
	}
	if q := ints(t, m, "b_quantized"); len(q) != 2 || q[0] != 32 || q[1] != 64 { // 127/4 is 31.75
		t.Errorf("transposed: bias %v", q)
	}
	beta := &onnx.Attribute{Name: "beta", Type: onnx.AttributeFloat, Float: 3}
	dense := network([]*onnx.Tensor{
		onnx.NewFloats("w", []float32{127, 1, 254, 2, 0, 127}, 2, 3), onnx.NewFloats("b", []float32{1, 2, 3}, 3),
	}, node("Gemm c: x w b -> y", beta))
	p = plan(t, dense)
	m = written(t, p, everyRange(p, 0, 255))
	if s := floats(t, m, "w_scale"); !slices.Equal(s, []float32{1, float32(1.0 / 127), 2}) {
		t.Errorf("dense: scales %v", s)
	}
	if q := ints(t, m, "b_quantized"); q[0] != 3 || q[2] != 4 { // 9 in steps of 2 is a tie
		t.Errorf("dense: bias %v", q)
	}
	for _, n := range m.Graph.Nodes {
		if n.Attribute("beta") != nil {
			t.Error("the bias counts three times again")
		}
	}
	p = plan(t, network([]*onnx.Tensor{onnx.NewFloats("w", []float32{127, 1, 254, 2}, 2, 2)}, node("MatMul c: x w -> y")))
	if s := floats(t, written(t, p, everyRange(p, 0, 1)), "w_scale"); !slices.Equal(s, []float32{2, float32(2.0 / 127)}) {
		t.Errorf("product: scales %v", s)
	}
}

// Weights that are stored as float16 and cast come out as those of float32.
func TestFloat16Weights(t *testing.T) {
	stored := &onnx.Tensor{Name: "h", Type: onnx.Float16, Dims: []int64{1, 2, 1, 1}, Raw: []byte{0, 0x3c, 0, 0xc0}}
	p := plan(t, network([]*onnx.Tensor{stored}, node("Cast k: h -> w", onnx.IntAttribute("to", 1)),
		node("Conv c: x w -> y")))
	m := written(t, p, everyRange(p, 0, 1))
	if q := tensor(t, m, "w_quantized"); !slices.Equal(q.Raw, []byte{64, 0x81}) { // 63.5 to 64, and -127
		t.Errorf("weights %v", q.Raw)
	}
	for _, w := range m.Graph.Initializers {
		if w.Name == "h" {
			t.Error("the float weights are still there")
		}
	}
	if lines := text(m); strings.Contains(strings.Join(lines, " "), "Cast") {
		t.Errorf("%q", lines)
	}
}

// A tensor that was always 0 while ranges were gathered keeps the limits of its Clip.
func TestIdleClip(t *testing.T) {
	p := plan(t, network([]*onnx.Tensor{
		filled("w", 1, 4, 4, 1, 1), onnx.NewFloats("lo", []float32{0}),
		onnx.NewFloats("six", []float32{6}),
	}, node("Conv c: x w -> a"), node("Clip r: a lo six -> b"), node("Conv d: b w -> y")))
	m := written(t, p, everyRange(p, 0, 0))
	if b, y := floats(t, m, "b_scale")[0], floats(t, m, "y_scale")[0]; b != float32(6.0/255) || y != 1 {
		t.Errorf("scales %g and %g", b, y)
	}
}

// What is next to the output behind arithmetic, and narrow, stays float.
func TestPictures(t *testing.T) {
	weights := []*onnx.Tensor{
		filled("w", 1, 8, 3, 3, 3), filled("k", 1, 8, 8, 1, 1), filled("v", 1, 1, 8, 3, 3), filled("u", 1, 4, 1, 3, 3),
	}
	nodes := []*onnx.Node{
		node("Conv in: x w -> h"), node("Conv wide: h k -> a"), node("Conv map: a v -> b"), node("Conv grow: b u -> c"),
		node("DepthToSpace d: c -> e"),
	}
	p := plan(t, network(weights, append(nodes, node("Mul m: e x -> y"))...))
	if !slices.Equal(p.Kept(), []string{"grow", "map"}) || !slices.Equal(p.Layers(), []string{"in", "wide"}) {
		t.Errorf("a map times a picture: float %q, integer %q", p.Kept(), p.Layers())
	}
	p = plan(t, network(weights, append(nodes, node("Identity m: e -> y"))...))
	if len(p.Kept()) != 0 || len(p.Layers()) != 4 {
		t.Errorf("values as they are: float %q, integer %q", p.Kept(), p.Layers())
	}
}

func TestRangeModel(t *testing.T) {
	m := network([]*onnx.Tensor{filled("w", 1, 4, 4, 1, 1)}, node("Conv c: x w -> a"), node("Relu r: a -> b"),
		node("Conv d: b w -> y"))
	p := plan(t, m)
	var names []string
	for _, v := range p.RangeModel().Graph.Outputs {
		names = append(names, v.Name)
	}
	if !slices.Equal(names, []string{"y", "b"}) || !slices.Equal(p.Tensors(), []string{"x", "b", "y"}) {
		t.Errorf("outputs %v for %v", names, p.Tensors())
	}
	if len(m.Graph.Outputs) != 1 {
		t.Error("the network itself has changed")
	}
}

func TestRefused(t *testing.T) {
	w := filled("w", 1, 4, 4, 1, 1)
	good := func() *onnx.Model { return network([]*onnx.Tensor{w}, node("Conv conv: x w -> y")) }
	old, foreign, nan := good(), good(), good()
	old.Opsets[0].Version = 12
	foreign.Graph.Initializers = []*onnx.Tensor{{Name: "w", Type: onnx.Float, Location: 1}}
	nan.Graph.Initializers = []*onnx.Tensor{filled("w", float32(math.NaN()), 4, 4, 1, 1)}
	twice := network(nil, node("QuantizeLinear q: x s z -> y"))
	for name, c := range map[string]struct {
		m    *onnx.Model
		keep []string
		want string
	}{
		"an old set": {old, nil, "set 12"}, "weights elsewhere": {foreign, nil, "other files"},
		"no number": {nan, nil, `"conv": a weight is NaN`}, "an integer one": {twice, nil, "already"},
		"nothing left": {good(), []string{"con"}, "no layer"},
		"a circle":     {network(nil, node("Relu r: y -> y")), nil, "own result"},
	} {
		if _, err := New(c.m, Options{Keep: c.keep}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	p := plan(t, good())
	for name, ranges := range map[string]map[string]observe.Range{
		"none":     {"x": {Max: 1}},
		"reversed": {"x": {Min: 1}, "y": {}},
		"infinite": {"x": {Max: float32(math.Inf(1))}, "y": {}},
	} {
		if _, err := p.Write(ranges, nil); err == nil {
			t.Errorf("ranges: %s was accepted", name)
		}
	}
	if !Names(good(), "nv") || Names(good(), "pool") {
		t.Error("parts of names")
	}
}
