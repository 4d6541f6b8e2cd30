package qdq

import (
	"math"
	"slices"

	"nightseg/calibrate/observe"
	"nightseg/model/onnx"
)

// OnPixels returns a network whose first convolution reads pixels, from 0 to 255
// less a whole number, in place of its normalised planes, and the tensor that
// holds them with its range. A byte holds each of these exactly, while the steps
// of a range over normalised planes lie between those of the pixels: rounding there
// is the largest error of a network in 8 bits that reads dark pictures.
//
// The input stays as it is, (pixel / 255 - mean) / std by channel; a product and a
// sum behind it undo that, and the weights do it. Only the zeros around the picture
// mean another grey than before, by a few steps. False: the network does not begin
// with a convolution of three channels.
func OnPixels(m *onnx.Model, mean, std [3]float64) (
	pixels *onnx.Model, tensor string, r observe.Range, ok bool,
) {
	first := firstConv(m.Graph)
	if first == nil {
		return nil, "", r, false
	}
	// One zero point serves the three channels: the grey in their middle.
	grey := math.RoundToEven(255 * (mean[0] + mean[1] + mean[2]) / 3)
	var gain, offset [3]float32
	for c := range gain {
		gain[c], offset[c] = float32(255*std[c]), float32(255*mean[c]-grey)
	}
	taps := len(first.weight) / len(first.bias) / 3
	for o := range first.bias {
		sum := 0.0
		for i := o * 3 * taps; i < (o+1)*3*taps; i++ {
			c := i / taps % 3
			first.weight[i] /= gain[c]
			sum += float64(first.weight[i]) * float64(offset[c])
		}
		first.bias[o] -= float32(sum)
	}
	tensor = first.input + "_pixels"
	conv := *first.node
	conv.Inputs = []string{tensor, tensor + "_weight", tensor + "_bias"}
	g := *m.Graph
	at := slices.Index(g.Nodes, first.node)
	g.Nodes = slices.Concat(g.Nodes[:at], []*onnx.Node{
		behind("Mul", first.input, tensor+"_gain", tensor+"_scaled"),
		behind("Add", tensor+"_scaled", tensor+"_offset", tensor),
		&conv,
	}, g.Nodes[at+1:])
	g.Initializers = append(
		slices.Clone(g.Initializers),
		onnx.NewFloats(tensor+"_gain", gain[:], 1, 3, 1, 1), onnx.NewFloats(tensor+"_offset", offset[:], 1, 3, 1, 1),
		onnx.NewFloats(tensor+"_weight", first.weight, first.dims...),
		onnx.NewFloats(tensor+"_bias", first.bias, first.dims[0]),
	)
	n := *m
	n.Graph = &g
	return &n, tensor, observe.Range{Min: float32(-grey), Max: float32(255 - grey)}, true
}

func behind(op, input, operand, output string) *onnx.Node {
	return &onnx.Node{Name: output, Op: op, Inputs: []string{input, operand}, Outputs: []string{output}}
}

// first is the convolution that a network begins with, and copies of its weights.
type first struct {
	node   *onnx.Node
	input  string
	weight []float32
	dims   []int64
	bias   []float32 // of zeros where it has none
}

// firstConv finds the convolution that alone reads the input of a network and has
// three channels; nil where there is none.
func firstConv(g *onnx.Graph) *first {
	in := g.RealInputs()
	x, err := g.Index()
	if err != nil || len(in) != 1 || in[0].Elem() != onnx.Float {
		return nil
	}
	users := x.Users(in[0].Name)
	if len(users) != 1 || users[0].Op != "Conv" || !users[0].Standard() {
		return nil
	}
	w, b := x.Constant(users[0].Input(1)), x.Constant(users[0].Input(2))
	if w == nil || len(w.Dims) != 4 || w.Dims[1] != 3 || users[0].Input(2) != "" && b == nil {
		return nil
	}
	f := &first{node: users[0], input: in[0].Name, dims: w.Dims, bias: make([]float32, w.Dims[0])}
	if f.weight, err = w.Floats(); err != nil {
		return nil
	}
	f.weight = slices.Clone(f.weight)
	if b != nil {
		old, err := b.Floats()
		if err != nil || len(old) != len(f.bias) {
			return nil
		}
		copy(f.bias, old)
	}
	return f
}
