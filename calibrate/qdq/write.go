package qdq

import (
	"fmt"
	"math"
	"slices"

	"nightseg/calibrate/observe"
	"nightseg/model/onnx"
)

// producer is what the files say of who made them.
const producer = "nightseg"

// writer puts the integer network together.
type writer struct {
	*Plan
	params map[string]observe.Params // of the tensors that have a scale of their own
	means  map[string][]float64      // by channel, of what convolutions read
	out    onnx.Graph
	names  map[string]bool   // that are taken
	scale  map[string]string // names of a tensor's scale and zero point
	zero   map[string]string
	bytes  map[string]string // what a node on bytes reads in place of a tensor
	weight map[string]string // the same of weights, by weight and scales
}

// Write returns the integer network. Ranges of all Tensors are needed. Where there
// are means of what a convolution reads, by channel, its bias makes up for what the
// rounded weights add on the average (Nagel et al. 2019, Data-Free Quantization
// Through Weight Equalization and Bias Correction, section 4.2).
func (p *Plan) Write(ranges map[string]observe.Range, means map[string][]float64) (*onnx.Model, error) {
	w := &writer{
		Plan: p, params: map[string]observe.Params{}, means: means, out: p.graph, names: map[string]bool{},
		scale: map[string]string{}, zero: map[string]string{}, bytes: map[string]string{}, weight: map[string]string{},
	}
	if err := w.takeRanges(ranges); err != nil {
		return nil, err
	}
	w.takeNames()
	w.out.Nodes, w.out.Initializers = nil, slices.Clone(p.graph.Initializers)
	for _, in := range p.graph.Inputs {
		w.round(in.Name, in.Name)
	}
	for _, name := range p.order {
		if t := p.places[name].constant; t != nil {
			if err := w.constant(name, t); err != nil {
				return nil, err
			}
		}
	}
	for _, n := range p.graph.Nodes {
		if p.folded[n] != nil {
			continue
		}
		if err := w.node(n); err != nil {
			return nil, err
		}
	}
	w.out.Sweep() // float weights, and notes on tensors that are gone
	m := *p.model
	m.Producer, m.Graph = producer, &w.out
	return &m, nil
}

// takeRanges turns the ranges into scales and zero points.
func (w *writer) takeRanges(ranges map[string]observe.Range) error {
	for _, name := range w.own() {
		r, ok := ranges[w.rangeOf(name)]
		if !ok {
			return fmt.Errorf("tensor %q has no range", name)
		}
		if !(r.Min <= r.Max) || r.Min-r.Min != 0 || r.Max-r.Max != 0 {
			return fmt.Errorf("tensor %q has the range from %g to %g", name, r.Min, r.Max)
		}
		if r == (observe.Range{}) {
			r = w.places[name].idle
		}
		w.params[name] = r.Uint8()
	}
	return nil
}

func (w *writer) takeNames() {
	for _, t := range w.graph.Initializers {
		w.names[t.Name] = true
	}
	for _, v := range w.graph.Inputs {
		w.names[v.Name] = true
	}
	for _, n := range w.graph.Nodes {
		w.names[n.Name] = true
		for _, out := range n.Outputs {
			w.names[out] = true
		}
	}
}

// fresh returns a name that is not taken: that which was asked for, or with a number.
func (w *writer) fresh(name string) string {
	plain := name
	for i := 2; w.names[name]; i++ {
		name = fmt.Sprintf("%s_%d", plain, i)
	}
	w.names[name] = true
	return name
}

func (w *writer) add(t *onnx.Tensor) string {
	t.Name = w.fresh(t.Name)
	w.out.Initializers = append(w.out.Initializers, t)
	return t.Name
}

// root follows tensors that have the scale of another one.
func (w *writer) root(tensor string) string {
	for w.places[tensor].from != "" {
		tensor = w.places[tensor].from
	}
	return tensor
}

// setScale adds the scale and zero point of a tensor.
func (w *writer) setScale(tensor string, p observe.Params) {
	w.scale[tensor] = w.add(onnx.NewFloats(tensor+"_scale", []float32{p.Scale}))
	w.zero[tensor] = w.add(onnx.NewBytes(tensor+"_zero_point", onnx.Uint8, []byte{p.Zero}))
}

// round adds the two nodes behind a tensor that is rounded; made is the name under
// which it is made. A tensor that is not rounded is left as it is.
func (w *writer) round(tensor, made string) {
	if w.places[tensor] == nil {
		return
	}
	from := w.root(tensor)
	if w.scale[from] == "" {
		w.setScale(from, w.params[from])
	}
	quantised := w.fresh(tensor + "_QuantizeLinear_Output")
	back := tensor
	if made == tensor {
		back = w.fresh(tensor + "_DequantizeLinear_Output")
	}
	w.out.Nodes = append(w.out.Nodes, &onnx.Node{
		Name: w.fresh(tensor + "_QuantizeLinear"), Op: "QuantizeLinear",
		Inputs: []string{made, w.scale[from], w.zero[from]}, Outputs: []string{quantised},
	}, &onnx.Node{
		Name: w.fresh(tensor + "_DequantizeLinear"), Op: "DequantizeLinear",
		Inputs: []string{quantised, w.scale[from], w.zero[from]}, Outputs: []string{back},
	})
	w.bytes[tensor] = back
}

// dequantise adds a node that gives the values of a constant, and returns their name.
func (w *writer) dequantise(name string, q *onnx.Tensor, scale, zero string, axis int) string {
	out := w.fresh(name + "_DequantizeLinear_Output")
	n := &onnx.Node{
		Name: w.fresh(name + "_DequantizeLinear"), Op: "DequantizeLinear",
		Inputs: []string{w.add(q), scale, zero}, Outputs: []string{out},
	}
	if axis >= 0 {
		n.Attributes = []*onnx.Attribute{onnx.IntAttribute("axis", int64(axis))}
	}
	w.out.Nodes = append(w.out.Nodes, n)
	return out
}

// constant rounds a constant operand, such as what is added to all values, to
// bytes by its own extremes.
func (w *writer) constant(name string, t *onnx.Tensor) error {
	v, err := t.Floats()
	if err != nil {
		return err
	}
	o := new(observe.Observer)
	if err := o.Add(v); err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	p := observe.Range{Min: o.Min, Max: o.Max}.Uint8()
	w.setScale(name, p)
	q := make([]byte, len(v))
	for i, x := range v {
		q[i] = p.Quantise(x)
	}
	w.bytes[name] = w.dequantise(name, onnx.NewBytes(name+"_quantized", onnx.Uint8, q, t.Dims...),
		w.scale[name], w.zero[name], -1)
	return nil
}

// node adds a node of the float network with what it reads and gives.
func (w *writer) node(n *onnx.Node) error {
	c := *n
	c.Inputs, c.Outputs = slices.Clone(n.Inputs), slices.Clone(n.Outputs)
	rounded := w.roundedInputs(n)
	for i, in := range n.Inputs {
		// What is rounded before others read it is rounded for all: engines fuse a
		// node with the rounding behind it only where nothing else reads between.
		if back := w.bytes[in]; back != "" && (w.byBytes(in) || w.whole[n] && slices.Contains(rounded, in)) {
			c.Inputs[i] = back
		}
	}
	if l := w.layers[n]; l != nil {
		if err := w.layer(&c, l, n.Input(0)); err != nil {
			return err
		}
	} else if l := w.spared[n]; l != nil && c.Inputs[0] != n.Inputs[0] && w.leadsToBytes(n) {
		w.spare(&c, l)
	}
	w.out.Nodes = append(w.out.Nodes, &c)
	if len(n.Outputs) > 0 && w.makes[n] != "" {
		c.Outputs[0] = w.makes[n]
	}
	for i, out := range c.Outputs {
		if out == "" || w.places[out] == nil {
			continue
		}
		made := out
		if w.isOutput(out) && w.whole[n] {
			made = w.fresh(out + "_QuantizeLinear_Input")
			c.Outputs[i] = made
		}
		w.round(out, made)
	}
	return nil
}

// layer gives a node its integer weights and bias.
func (w *writer) layer(n *onnx.Node, l *layer, input string) error {
	step := w.params[w.root(input)].Scale
	scales := l.scales(step)
	n.Inputs[1] = w.weights(n.Inputs[1], l, scales)
	bias := l.bias
	if mean := w.means[input]; mean != nil && n.Op == "Conv" {
		if len(mean) != int(l.inputs) {
			return fmt.Errorf("tensor %q has %d channels and %d means", input, l.inputs, len(mean))
		}
		bias = l.corrected(scales, mean)
	}
	if bias == nil {
		return nil
	}
	q, steps := quantiseBias(bias, step, scales)
	w.bias(n, q, steps)
	return nil
}

// bias gives a node a bias of whole numbers, each with a step of its own.
func (w *writer) bias(n *onnx.Node, q []int32, steps []float32) {
	size := int64(len(q))
	name := n.Name + "_bias"
	if n.Input(2) != "" {
		name = n.Inputs[2]
	}
	for len(n.Inputs) < 3 {
		n.Inputs = append(n.Inputs, "")
	}
	n.Inputs[2] = w.dequantise(name, onnx.NewInts(name+"_quantized", q, size),
		w.add(onnx.NewFloats(name+"_scale", steps, size)),
		w.add(onnx.NewInts(name+"_zero_point", make([]int32, size), size)), 0)
	if n.Attribute("beta") != nil { // it is in the bias now
		n.Attributes = slices.DeleteFunc(slices.Clone(n.Attributes), func(a *onnx.Attribute) bool {
			return a.Name == "beta"
		})
	}
}

// leadsToBytes reports whether what a node gives is rounded, maybe behind a Relu or
// Clip.
func (w *writer) leadsToBytes(n *onnx.Node) bool {
	out := n.Outputs[0]
	for w.places[out] == nil {
		users := w.index.Users(out)
		if len(users) != 1 || !clips[users[0].Op] {
			return false
		}
		out = users[0].Outputs[0]
	}
	return true
}

// spare keeps a layer in float that has rounded values on both sides. ONNX Runtime
// (WeightBiasQuantization) rounds the weights of such a layer by itself, to one
// scale for all channels, unless its bias is computed: so the bias becomes one, of
// whole numbers and powers of two that give its values exactly.
func (w *writer) spare(n *onnx.Node, l *layer) {
	if n.Op == "MatMul" {
		return // it has no bias, and is left alone
	}
	bias := l.bias
	if bias == nil {
		bias = make([]float32, l.output)
	}
	q, steps := make([]int32, len(bias)), make([]float32, len(bias))
	for i, b := range bias {
		q[i], steps[i] = exactly(b)
	}
	w.bias(n, q, steps)
}

// exactly returns a float32 as a whole number of steps, which are a power of two.
func exactly(v float32) (q int32, step float32) {
	if v == 0 {
		return 0, 1
	}
	_, e := math.Frexp(float64(v))
	s := math.Ldexp(1, max(e-24, -126))
	return int32(math.RoundToEven(float64(v) / s)), float32(s)
}

// weights adds integer weights, once for nodes that share them and their scales.
func (w *writer) weights(name string, l *layer, scales []float32) string {
	t := onnx.NewFloats(name+"_scale", scales, int64(len(scales)))
	zero := onnx.NewBytes(name+"_zero_point", onnx.Int8, make([]byte, len(scales)), int64(len(scales)))
	if l.axis < 0 {
		t.Dims, zero.Dims = nil, nil
	}
	key := fmt.Sprintf("%s %d %x", name, l.axis, t.Raw)
	if w.weight[key] == "" {
		q := onnx.NewBytes(name+"_quantized", onnx.Int8, l.quantise(scales), l.weight.Dims...)
		w.weight[key] = w.dequantise(name, q, w.add(t), w.add(zero), l.axis)
	}
	return w.weight[key]
}
