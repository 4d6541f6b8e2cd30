package qdq

import (
	"fmt"
	"math"
	"slices"

	"nightseg/model/onnx"
)

// layer is a node with weights that can become integer.
type layer struct {
	weight *onnx.Tensor
	values []float32
	bias   []float32 // nil: none
	axis   int       // of the weight, along which each index has a scale; -1: one scale for all
	groups int       // how often the scales repeat in the output channels
	inputs int64     // channels in, and out
	output int64
	beta   float32 // of a Gemm, which the bias already has
	most   float64 // largest magnitude of a rounded weight

	fitted   []byte // weights that Fit rounded to steps of these scales
	fittedTo []float32
}

// narrow layers make a picture or a map, or take one that another layer made.
func (l *layer) narrow(after bool) bool { return l.output <= 3 || after && l.inputs <= 3 }

// layerOf returns the weights of a node, nil for one that has none or cannot be
// integer: with weights or a bias that are computed, in float16, or scaled.
func (p *Plan) layerOf(n *onnx.Node) (*layer, error) {
	if !p.float(n) || len(n.Outputs) != 1 {
		return nil, nil
	}
	l := &layer{groups: 1, beta: 1, most: p.most}
	if l.weight = p.index.Constant(n.Input(1)); l.weight == nil || l.weight.Type != onnx.Float ||
		p.index.Constant(n.Input(0)) != nil {
		return nil, nil
	}
	if !l.shape(n) {
		return nil, nil
	}
	var err error
	if l.values, err = l.weight.Floats(); err != nil {
		return nil, fmt.Errorf("node %q: %w", n.Name, err)
	}
	if name := n.Input(2); name != "" {
		t := p.index.Constant(name)
		if t == nil || t.Type != onnx.Float || len(t.Dims) != 1 || t.Dims[0] != l.output {
			return nil, nil
		}
		if l.bias, err = t.Floats(); err != nil {
			return nil, fmt.Errorf("node %q: %w", n.Name, err)
		}
		l.bias = slices.Clone(l.bias)
		for i := range l.bias {
			l.bias[i] *= l.beta
		}
	}
	for _, v := range slices.Concat(l.values, l.bias) {
		if v-v != 0 {
			return nil, fmt.Errorf("node %q: a weight is %g", n.Name, v)
		}
	}
	return l, nil
}

// shape finds the axis of the output channels; false for a node without weights.
func (l *layer) shape(n *onnx.Node) bool {
	d := l.weight.Dims
	switch n.Op {
	case "Conv":
		if len(d) < 3 {
			return false
		}
		l.axis, l.inputs, l.output = 0, d[1]*n.Int("group", 1), d[0]
	case "ConvTranspose": // channels in, channels out of a group, ...
		if len(d) < 3 {
			return false
		}
		l.groups = int(max(n.Int("group", 1), 1))
		l.axis, l.inputs, l.output = 1, d[0], d[1]*int64(l.groups)
	case "Gemm":
		if len(d) != 2 || n.Float("alpha", 1) != 1 || n.Int("transA", 0) != 0 {
			return false
		}
		l.axis, l.beta = 1, n.Float("beta", 1)
		if n.Int("transB", 0) != 0 {
			l.axis = 0
		}
		l.inputs, l.output = d[1-l.axis], d[l.axis]
	case "MatMul":
		if len(d) < 2 {
			return false
		}
		l.axis, l.inputs, l.output = 1, d[len(d)-2], d[len(d)-1]
		if len(d) > 2 {
			l.axis = -1 // a matrix per item: the engines have no scales for that
		}
	default:
		return false
	}
	return true
}

// channels is the number of scales of the weight.
func (l *layer) channels() int {
	if l.axis < 0 {
		return 1
	}
	return int(l.weight.Dims[l.axis])
}

// channelOf returns the scale's index for the i-th value of the weight.
func (l *layer) channelOf() func(i int) int {
	if l.axis < 0 {
		return func(int) int { return 0 }
	}
	inner := 1
	for _, d := range l.weight.Dims[l.axis+1:] {
		inner *= int(d)
	}
	n := l.channels()
	return func(i int) int { return i / inner % n }
}

// maxBias is the largest bias in steps of its scale: half of what int32 holds, so
// that the sum with the products does not run over.
const maxBias = 1 << 30

// scales returns the scale of each channel: the largest magnitude becomes l.most. A
// channel of small weights and a large bias gets larger steps, so that the bias
// fits; one of zeros the scale 1.
func (l *layer) scales(input float32) []float32 {
	most := make([]float32, l.channels())
	channel := l.channelOf()
	for i, v := range l.values {
		c := channel(i)
		most[c] = max(most[c], float32(math.Abs(float64(v))))
	}
	for c, m := range most {
		s := float64(m) / l.most
		if s < 0x1p-126 {
			s = 1
		}
		most[c] = float32(s)
	}
	for i, b := range l.bias {
		c := i % len(most)
		least := float32(math.Abs(float64(b)) / (float64(input) * maxBias))
		most[c] = max(most[c], least)
	}
	return most
}

// quantise returns the weights as int8.
func (l *layer) quantise(scales []float32) []byte {
	q := l.nearest(scales)
	for c := range l.fittedTo {
		if size := len(q) / len(scales); scales[c] == l.fittedTo[c] { // by channel: a large bias may want larger steps
			copy(q[c*size:(c+1)*size], l.fitted[c*size:])
		}
	}
	return q
}

// nearest returns the weights as the nearest int8.
func (l *layer) nearest(scales []float32) []byte {
	q := make([]byte, len(l.values))
	channel := l.channelOf()
	for i, v := range l.values {
		r := math.RoundToEven(float64(v / scales[channel(i)]))
		q[i] = byte(int8(min(max(r, -l.most), l.most)))
	}
	return q
}

// corrected returns the bias of a convolution less what its rounded weights add
// to each output on the average, where the input has those means by channel.
func (l *layer) corrected(scales []float32, means []float64) []float32 {
	bias := make([]float32, l.output)
	copy(bias, l.bias)
	q := l.quantise(scales)
	read := int(l.weight.Dims[1]) // channels that an output reads
	taps := len(q) / (len(bias) * read)
	outputs := len(bias) * read / len(means) // that read the same channels
	for o := range bias {
		sum := 0.0
		for i := range read {
			for k := (o*read + i) * taps; k < (o*read+i+1)*taps; k++ {
				sum += (float64(int8(q[k]))*float64(scales[o]) - float64(l.values[k])) * means[o/outputs*read+i]
			}
		}
		bias[o] -= float32(sum)
	}
	return bias
}

// quantiseBias returns a bias as int32 and the scale of each of its values.
func quantiseBias(bias []float32, input float32, scales []float32) (q []int32, steps []float32) {
	q, steps = make([]int32, len(bias)), make([]float32, len(bias))
	for i, b := range bias {
		steps[i] = input * scales[i%len(scales)]
		r := math.RoundToEven(float64(b) / float64(steps[i]))
		q[i] = int32(min(max(r, -math.MaxInt32), math.MaxInt32))
	}
	return q, steps
}
