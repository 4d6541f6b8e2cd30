package qdq

import (
	"slices"

	"nightseg/model/onnx"
)

// Tensors returns the names of the tensors whose ranges Write needs, in the order
// of the graph: they are inputs of the float network, or made by it.
func (p *Plan) Tensors() []string {
	var names []string
	seen := map[string]bool{}
	for _, name := range p.own() {
		if r := p.rangeOf(name); !seen[r] {
			names, seen[r] = append(names, r), true
		}
	}
	return names
}

// own returns the tensors with a scale of their own.
func (p *Plan) own() []string {
	var names []string
	for _, name := range p.order {
		if pl := p.places[name]; pl.from == "" && pl.constant == nil {
			names = append(names, name)
		}
	}
	return names
}

// rangeOf names the tensor whose range a tensor has.
func (p *Plan) rangeOf(tensor string) string {
	if other := p.whose[tensor]; other != "" {
		return other
	}
	return tensor
}

// Input is a tensor that a convolution reads, one channel after the other.
type Input struct {
	Tensor   string
	Channels int
}

// Inputs returns the tensors whose means by channel Write can correct biases with,
// in the order of the graph: those that convolutions read.
func (p *Plan) Inputs() []Input {
	var inputs []Input
	for _, n := range p.graph.Nodes {
		if l := p.layers[n]; l != nil && n.Op == "Conv" {
			in := Input{n.Input(0), int(l.inputs)}
			if !slices.Contains(inputs, in) {
				inputs = append(inputs, in)
			}
		}
	}
	return inputs
}

// RangeModel returns the float network with the tensors that Write needs the
// ranges or the means of as further outputs, behind those that it has. Its inputs
// are not among them: who runs it has these.
func (p *Plan) RangeModel() *onnx.Model {
	m, g := *p.model, p.graph
	g.Outputs = slices.Clone(g.Outputs)
	names := p.Tensors()
	for _, in := range p.Inputs() {
		names = append(names, in.Tensor)
	}
	for _, name := range names {
		if onnx.Find(g.Inputs, name) == nil {
			g.AddOutput(name, onnx.Float)
		}
	}
	m.Graph = &g
	return &m
}
