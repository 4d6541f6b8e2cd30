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
	g := *m.Graph
	x, err := g.Index()
	in := g.RealInputs()
	if err != nil || len(in) != 1 || in[0].Elem() != onnx.Float {
		return nil, "", r, false
	}
	users := x.Users(in[0].Name)
	if len(users) != 1 || users[0].Op != "Conv" || !users[0].Standard() {
		return nil, "", r, false
	}
	w, b := x.Constant(users[0].Input(1)), x.Constant(users[0].Input(2))
	if w == nil || len(w.Dims) != 4 || w.Dims[1] != 3 || users[0].Input(2) != "" && b == nil {
		return nil, "", r, false
	}
	weight, err := w.Floats()
	if err != nil {
		return nil, "", r, false
	}
	bias := make([]float32, w.Dims[0])
	if b != nil {
		old, err := b.Floats()
		if err != nil || len(old) != len(bias) {
			return nil, "", r, false
		}
		copy(bias, old)
	}
	// One zero point serves the three channels: the grey in their middle.
	grey := math.RoundToEven(255 * (mean[0] + mean[1] + mean[2]) / 3)
	var gain, offset [3]float32
	for c := range gain {
		gain[c], offset[c] = float32(255*std[c]), float32(255*mean[c]-grey)
	}
	weight = slices.Clone(weight)
	taps := len(weight) / len(bias) / 3
	for o := range bias {
		sum := 0.0
		for i := o * 3 * taps; i < (o+1)*3*taps; i++ {
			c := i / taps % 3
			weight[i] /= gain[c]
			sum += float64(weight[i]) * float64(offset[c])
		}
		bias[o] -= float32(sum)
	}
	name := in[0].Name
	tensor = name + "_pixels"
	conv := *users[0]
	conv.Inputs = []string{tensor, tensor + "_weight", tensor + "_bias"}
	g.Nodes = slices.Clone(g.Nodes)
	at := slices.Index(g.Nodes, users[0])
	g.Nodes[at] = &conv
	g.Nodes = slices.Insert(
		g.Nodes, at,
		&onnx.Node{Name: tensor + "_mul", Op: "Mul", Inputs: []string{name, tensor + "_gain"}, Outputs: []string{tensor + "_scaled"}},
		&onnx.Node{Name: tensor + "_add", Op: "Add", Inputs: []string{tensor + "_scaled", tensor + "_offset"}, Outputs: []string{tensor}},
	)
	g.Initializers = append(
		slices.Clone(g.Initializers),
		onnx.NewFloats(tensor+"_gain", gain[:], 1, 3, 1, 1), onnx.NewFloats(tensor+"_offset", offset[:], 1, 3, 1, 1),
		onnx.NewFloats(tensor+"_weight", weight, w.Dims...), onnx.NewFloats(tensor+"_bias", bias, w.Dims[0]),
	)
	n := *m
	n.Graph = &g
	return &n, tensor, observe.Range{Min: float32(-grey), Max: float32(255 - grey)}, true
}
