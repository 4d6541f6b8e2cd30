package qdq

import (
	"math"

	"nightseg/model/onnx"
)

const largest = math.MaxFloat32

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

var (
	// bytewise are operators without weights that ONNX Runtime has for bytes.
	bytewise = set("Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu")
	// moves are operators whose output holds values of the input, or lies between
	// them, so that it can have the input's scale.
	moves = set("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Expand",
		"Tile", "MaxPool", "Resize", "Pad")
	// rearranges are such operators that the engines have for float only.
	rearranges = set("DepthToSpace", "SpaceToDepth", "Identity", "Dropout")
	// clips are operators that the end of a range can do.
	clips = set("Relu", "Clip")
	// elementwise are the operators that a picture is put together with.
	elementwise = set("Add", "Sub", "Mul", "Div", "Tanh", "Sigmoid", "Clip", "Relu", "Min", "Max", "Pow", "Exp",
		"Sqrt", "Neg")
)

// mover reports whether a node gives values of its first input, which are float.
func (p *Plan) mover(n *onnx.Node) bool {
	if !moves[n.Op] || !p.float(n) || p.index.Constant(n.Input(0)) != nil {
		return false
	}
	switch n.Op {
	case "Split":
		return true
	case "Resize":
		if mode := n.Text("mode", "nearest"); mode != "nearest" && mode != "linear" {
			return false // cubic goes beyond its values
		}
	case "Pad":
		if n.Text("mode", "constant") == "constant" && !p.padsZero(n) {
			return false
		}
	}
	return len(n.Outputs) == 1
}

func (p *Plan) padsZero(n *onnx.Node) bool {
	name := n.Input(2)
	if name == "" {
		return true
	}
	t := p.index.Constant(name)
	if t == nil {
		return false
	}
	v, err := t.Floats()
	return err == nil && len(v) == 1 && v[0] == 0
}

// float reports whether a node is of the default set and works on float32.
func (p *Plan) float(n *onnx.Node) bool {
	return n.Standard() && len(n.Inputs) > 0 && len(n.Outputs) > 0 && p.types[n.Outputs[0]] == onnx.Float &&
		p.types[n.Inputs[0]] == onnx.Float
}

// roundedInputs returns the inputs of a node on bytes that are rounded as
// activations are: not weights, biases, sizes or axes.
func (p *Plan) roundedInputs(n *onnx.Node) []string {
	if p.layers[n] != nil || clips[n.Op] || moves[n.Op] {
		return n.Inputs[:1]
	}
	return n.Inputs
}

// elementTypes finds out what type the tensors of a graph have, 0 where that is
// not clear.
func elementTypes(g *onnx.Graph, x *onnx.Index) map[string]onnx.DType {
	types := map[string]onnx.DType{}
	for _, t := range g.Initializers {
		types[t.Name] = t.Type
	}
	for _, list := range [][]*onnx.Value{g.Values, g.Inputs, g.Outputs} {
		for _, v := range list {
			types[v.Name] = v.Elem()
		}
	}
	for _, n := range g.Nodes {
		for i, out := range n.Outputs {
			if _, known := types[out]; !known {
				types[out] = resultType(n, i, types, x)
			}
		}
	}
	return types
}

func resultType(n *onnx.Node, output int, types map[string]onnx.DType, x *onnx.Index) onnx.DType {
	if !n.Standard() {
		return 0
	}
	switch n.Op {
	case "Cast":
		return onnx.DType(n.Int("to", 0))
	case "Constant":
		if t := x.Constant(n.Outputs[0]); t != nil {
			return t.Type
		}
		return 0
	case "ConstantOfShape":
		if a := n.Attribute("value"); a != nil && a.Tensor != nil {
			return a.Tensor.Type
		}
		return onnx.Float
	case "Shape", "Size", "ArgMax", "ArgMin", "NonZero":
		return onnx.Int64
	case "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "IsNaN", "IsInf":
		return onnx.Bool
	case "Where":
		return types[n.Input(1)]
	case "If", "Loop", "Scan":
		return 0
	case "Split":
		return types[n.Input(0)]
	}
	if output > 0 { // indices, masks
		return 0
	}
	return types[n.Input(0)]
}
