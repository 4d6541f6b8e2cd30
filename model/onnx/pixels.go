package onnx

import (
	"fmt"
	"math"
	"slices"
)

// PixelInput is the beginning of an integer network that turns normalised planes
// back into pixels, as calibrate/qdq.OnPixels writes it: a product and a sum by
// channel, rounded to bytes that a convolution reads. Graph.TakePixels takes it
// away, so that the network is given the pixels; Graph.GivePixels puts it behind a
// network that gives planes, so that it gives pixels.
type PixelInput struct {
	Grey         uint8 // the byte that stands for zero, also around the picture
	Gain, Offset [3]float32
	// The convolution sees so many zeros around the picture.
	Top, Left, Bottom, Right int

	input              *Value
	mul, add, quantize *Node
	dequantize, conv   *Node
	biasFrom           *Node   // which makes numbers of the convolution's bias
	bias               []int32 // that for pixels in place of pixels less Grey
	step, grey, zero   string  // names: of the step of quantize, its Grey, and a Grey of 0
}

// Byte returns the pixel that a normalised value of a channel becomes.
func (p *PixelInput) Byte(channel int, v float32) uint8 {
	x := float32(v*p.Gain[channel]) + p.Offset[channel]
	return uint8(min(max(math.RoundToEven(float64(x))+float64(p.Grey), 0), 255))
}

// PixelInput finds the beginning of a network; nil where it begins otherwise.
func (g *Graph) PixelInput(input string) *PixelInput {
	x, err := g.Index()
	p := &PixelInput{input: Find(g.RealInputs(), input)}
	if err != nil || p.input == nil || p.input.Elem() != Float {
		return nil
	}
	if s := p.input.Shape(); len(s) != 4 || s[0] != 1 || s[1] != 3 || s[2] <= 0 || s[3] <= 0 {
		return nil
	}
	next := func(from, op string) *Node {
		users := x.Users(from)
		if len(users) != 1 || users[0].Op != op || !users[0].Standard() || users[0].Input(0) != from ||
			len(users[0].Outputs) != 1 || Find(g.Outputs, from) != nil {
			return nil
		}
		return users[0]
	}
	at := input
	for _, step := range []struct {
		op   string
		node **Node
	}{
		{"Mul", &p.mul},
		{"Add", &p.add},
		{"QuantizeLinear", &p.quantize},
		{"DequantizeLinear", &p.dequantize},
		{"Conv", &p.conv},
	} {
		n := next(at, step.op)
		if n == nil {
			return nil
		}
		*step.node, at = n, n.Outputs[0]
	}
	if !p.readFront(x) || !p.readConv(x) {
		return nil
	}
	return p
}

// readFront reads what is before the convolution.
func (p *PixelInput) readFront(x *Index) bool {
	for node, to := range map[*Node]*[3]float32{p.mul: &p.Gain, p.add: &p.Offset} {
		t := x.Constant(node.Input(1))
		if t == nil || !slices.Equal(t.Dims, []int64{1, 3, 1, 1}) {
			return false
		}
		v, err := t.Floats()
		if err != nil || len(v) != 3 {
			return false
		}
		*to = [3]float32(v)
	}
	p.step, p.grey = p.quantize.Input(1), p.quantize.Input(2)
	step, grey := x.Constant(p.step), x.Constant(p.grey)
	if step == nil || grey == nil || grey.Type != Uint8 || p.dequantize.Input(1) != p.step ||
		p.dequantize.Input(2) != p.grey {
		return false
	}
	steps, err := step.Floats()
	if err != nil || len(steps) != 1 || steps[0] != 1 { // else a byte is no pixel
		return false
	}
	bytes, err := grey.Bytes()
	if err != nil || len(bytes) != 1 {
		return false
	}
	p.Grey, p.zero = bytes[0], p.grey+"_none"
	return true
}

// readConv reads the convolution, whose weights and bias must be integers of the same steps.
func (p *PixelInput) readConv(x *Index) bool {
	weight, bias := dequantized(x, p.conv.Input(1), Int8), dequantized(x, p.conv.Input(2), Int32)
	if weight == nil || bias == nil || !slices.Equal(weight.steps, bias.steps) {
		return false
	}
	if d := weight.values.Dims; len(d) != 4 || d[0] <= 0 || d[1] != 3 || !slices.Equal(bias.values.Dims, d[:1]) {
		return false
	}
	p.biasFrom, p.bias = bias.node, shifted(bias.values, weight.values, p.Grey)
	if p.bias == nil {
		return false
	}
	if p.conv.Text("auto_pad", "NOTSET") != "NOTSET" {
		return false
	}
	if pads := p.conv.Attribute("pads"); pads != nil {
		if len(pads.Ints) != 4 || slices.Min(pads.Ints) < 0 || slices.Max(pads.Ints) > 64 {
			return false
		}
		p.Top, p.Left, p.Bottom, p.Right = int(pads.Ints[0]), int(pads.Ints[1]), int(pads.Ints[2]), int(pads.Ints[3])
	}
	return true
}

// integers are constant whole numbers that a DequantizeLinear for one reader
// multiplies by steps.
type integers struct {
	node   *Node
	values *Tensor
	steps  []float32
}

func dequantized(x *Index, name string, kind DType) *integers {
	n := x.Maker(name)
	if n == nil || n.Op != "DequantizeLinear" || !n.Standard() || len(x.Users(name)) != 1 {
		return nil
	}
	values, steps := x.Constant(n.Input(0)), x.Constant(n.Input(1))
	if values == nil || values.Type != kind || steps == nil {
		return nil
	}
	if zero := n.Input(2); zero != "" {
		t := x.Constant(zero)
		if t == nil || len(t.Raw) == 0 || slices.Max(t.Raw) != 0 {
			return nil
		}
	}
	s, err := steps.Floats()
	if err != nil {
		return nil
	}
	return &integers{n, values, s}
}

// shifted returns a bias, in int32, less grey times the sum of the weights of each
// output, in int8; nil where a value is missing or becomes too large.
func shifted(bias, weight *Tensor, grey uint8) []int32 {
	w, err := weight.Bytes()
	if err != nil {
		return nil
	}
	b, err := bias.Ints()
	if err != nil {
		return nil
	}
	out := make([]int32, len(b))
	taps := len(w) / len(b)
	for o := range out {
		sum := int64(0)
		for _, v := range w[o*taps:][:taps] {
			sum += int64(int8(v))
		}
		v := int64(b[o]) - int64(grey)*sum
		if v != int64(int32(v)) {
			return nil
		}
		out[o] = int32(v)
	}
	return out
}

// TakePixels makes the network take pixels, bytes of 1 x (Top + height + Bottom)
// x (Left + width + Right) x 3, with Grey around the picture. All values behind
// are as they were: the convolution adds up the same whole numbers, less Grey
// times the sum of its weights, which its bias now holds.
//
// With asFloat the bytes are turned into float32 and back, which OpenVINO takes
// for what it is, an integer convolution, while it does others in bfloat16 without.
func (g *Graph) TakePixels(p *PixelInput, asFloat bool) {
	shape := p.input.Shape()
	input, channels, pixels := p.input.Name, p.input.Name+"_channels", p.quantize.Outputs[0]
	front := []*Node{{
		Name: channels, Op: "Transpose", Inputs: []string{input}, Outputs: []string{pixels},
		Attributes: []*Attribute{IntsAttribute("perm", 0, 3, 1, 2)},
	}}
	if asFloat {
		front[0].Outputs = []string{channels}
		front = append(front,
			&Node{
				Name: channels + "_float", Op: "Cast", Inputs: []string{channels}, Outputs: []string{channels + "_float"},
				Attributes: []*Attribute{IntAttribute("to", int64(Float))},
			},
			&Node{
				Name: p.quantize.Name, Op: "QuantizeLinear", Inputs: []string{channels + "_float", p.step, p.zero},
				Outputs: []string{pixels},
			})
	}
	g.Nodes = slices.Insert(g.Nodes, slices.Index(g.Nodes, p.mul), front...)
	g.Nodes = slices.DeleteFunc(g.Nodes, func(n *Node) bool { return n == p.mul || n == p.add || n == p.quantize })
	p.dequantize.Inputs = []string{pixels, p.step, p.zero}
	p.biasFrom.Inputs[0] += "_pixels"
	p.conv.Attributes = slices.DeleteFunc(p.conv.Attributes, func(a *Attribute) bool { return a.Name == "pads" })
	g.Initializers = append(g.Initializers,
		NewBytes(p.zero, Uint8, []byte{0}), NewInts(p.biasFrom.Inputs[0], p.bias, int64(len(p.bias))))
	g.Sweep()
	g.Values = slices.DeleteFunc(g.Values, func(v *Value) bool {
		return v.Name == pixels || v.Name == p.dequantize.Outputs[0] // they have another size
	})
	p.input.Type = bytesType(1, shape[2]+int64(p.Top+p.Bottom), shape[3]+int64(p.Left+p.Right), 3)
}

// GivePixels makes a network whose output are normalised planes give the pixels
// that p would make of them, bytes of 1 x height x width x 3, and returns the
// name of that output.
func (g *Graph) GivePixels(output string, p *PixelInput) (string, error) {
	i := slices.IndexFunc(g.Outputs, func(v *Value) bool { return v.Name == output })
	if i < 0 {
		return "", fmt.Errorf("there is no output %q", output)
	}
	name := func(s string) string { return output + "_" + s }
	g.Initializers = append(g.Initializers,
		NewFloats(name("gain"), p.Gain[:], 1, 3, 1, 1), NewFloats(name("offset"), p.Offset[:], 1, 3, 1, 1),
		NewFloats(name("step"), []float32{1}), NewBytes(name("grey"), Uint8, []byte{p.Grey}))
	last := output
	add := func(op, to string, inputs ...string) *Node {
		n := &Node{Name: name(to), Op: op, Inputs: append([]string{last}, inputs...), Outputs: []string{name(to)}}
		g.Nodes, last = append(g.Nodes, n), name(to)
		return n
	}
	add("Mul", "scaled", name("gain"))
	add("Add", "pixels", name("offset"))
	add("QuantizeLinear", "bytes", name("step"), name("grey"))
	add("Transpose", "packed").Attributes = []*Attribute{IntsAttribute("perm", 0, 2, 3, 1)}
	g.Outputs[i] = NewValue(last, Uint8)
	return last, nil
}

func bytesType(dims ...int64) *Type {
	s := new(Shape)
	for _, d := range dims {
		s.Dims = append(s.Dims, &Dim{Value: d})
	}
	return &Type{Tensor: &TensorType{Elem: Uint8, Shape: s}}
}
