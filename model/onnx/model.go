// Package onnx holds ONNX model files as Go values: it reads and writes them,
// and knows what is constant, who uses a tensor, and in which order nodes run.
//
// Fields of a file that have no place in these structs are kept byte for byte,
// and a message that was not changed is written as it was read, provided that its
// fields came in the order of their numbers, as serialisers write them.
package onnx

import "slices"

// Model is a file (ModelProto).
type Model struct {
	IRVersion int64
	Producer  string
	Opsets    []*Opset
	Graph     *Graph
	rest
}

// Opset says which version of a set of operators a model uses; the default set
// has the domain "".
type Opset struct {
	Domain  string
	Version int64
	rest
}

// Graph is a network: nodes in an order in which they can run (GraphProto).
type Graph struct {
	Name         string
	Nodes        []*Node
	Initializers []*Tensor
	Inputs       []*Value // old files list the initializers, too
	Outputs      []*Value
	Values       []*Value // what is known of other tensors
	rest
}

// Node is one operation; an input "" is one that is left out.
type Node struct {
	Name       string
	Op         string
	Domain     string
	Inputs     []string
	Outputs    []string
	Attributes []*Attribute
	rest
}

// AttributeType says which field of an Attribute holds its value.
type AttributeType int32

// The types of attributes.
const (
	AttributeFloat   AttributeType = 1
	AttributeInt     AttributeType = 2
	AttributeString  AttributeType = 3
	AttributeTensor  AttributeType = 4
	AttributeGraph   AttributeType = 5
	AttributeFloats  AttributeType = 6
	AttributeInts    AttributeType = 7
	AttributeStrings AttributeType = 8
	AttributeTensors AttributeType = 9
	AttributeGraphs  AttributeType = 10
)

// Attribute is a named value of a node.
type Attribute struct {
	Name    string
	Type    AttributeType
	Float   float32
	Int     int64
	Bytes   []byte // of a string
	Tensor  *Tensor
	Graph   *Graph
	Floats  []float32
	Ints    []int64
	Strings [][]byte
	Tensors []*Tensor
	Graphs  []*Graph
	rest
}

// Value is a named input, output or other tensor and what is known of it.
type Value struct {
	Name string
	Type *Type
	rest
}

// Type is the type of a Value; Tensor is nil where it is none.
type Type struct {
	Tensor *TensorType
	rest
}

// TensorType is element type and shape; Shape is nil where it is not known.
type TensorType struct {
	Elem  DType
	Shape *Shape
	rest
}

// Shape is a list of dimensions.
type Shape struct {
	Dims []*Dim
	rest
}

// Dim is a dimension: a number, or a name of one that is open.
type Dim struct {
	Value int64
	Param string
	rest
}

// The fields of the messages, by their numbers in onnx.proto, in ascending order.

func (m *Model) fields() []field {
	return []field{
		integer(1, &m.IRVersion), text(2, &m.Producer), message(7, &m.Graph), messages(8, &m.Opsets),
	}
}

func (o *Opset) fields() []field { return []field{text(1, &o.Domain), integer(2, &o.Version)} }

func (g *Graph) fields() []field {
	return []field{
		messages(1, &g.Nodes), text(2, &g.Name), messages(5, &g.Initializers),
		messages(11, &g.Inputs), messages(12, &g.Outputs), messages(13, &g.Values),
	}
}

func (n *Node) fields() []field {
	return []field{
		texts(1, &n.Inputs), texts(2, &n.Outputs), text(3, &n.Name), text(4, &n.Op),
		messages(5, &n.Attributes), text(7, &n.Domain),
	}
}

func (a *Attribute) fields() []field {
	return []field{
		text(1, &a.Name), float(2, &a.Float), integer(3, &a.Int), blob(4, &a.Bytes), message(5, &a.Tensor),
		message(6, &a.Graph), numbers(7, &a.Floats, fixed32, false), numbers(8, &a.Ints, varint[int64], false),
		blobs(9, &a.Strings), messages(10, &a.Tensors), messages(11, &a.Graphs), integer(20, &a.Type),
	}
}

func (v *Value) fields() []field { return []field{text(1, &v.Name), message(2, &v.Type)} }

func (t *Type) fields() []field { return []field{message(1, &t.Tensor)} }

func (t *TensorType) fields() []field { return []field{integer(1, &t.Elem), message(2, &t.Shape)} }

func (s *Shape) fields() []field { return []field{messages(1, &s.Dims)} }

func (d *Dim) fields() []field { return []field{integer(1, &d.Value), text(2, &d.Param)} }

// Elem returns the element type of a tensor, 0 where it is not known.
func (v *Value) Elem() DType {
	if v.Type == nil || v.Type.Tensor == nil {
		return 0
	}
	return v.Type.Tensor.Elem
}

// Shape returns the dimensions of a tensor, -1 for an open one; nil where the
// file does not say.
func (v *Value) Shape() []int64 {
	if v.Type == nil || v.Type.Tensor == nil || v.Type.Tensor.Shape == nil {
		return nil
	}
	dims := make([]int64, 0, len(v.Type.Tensor.Shape.Dims))
	for _, d := range v.Type.Tensor.Shape.Dims {
		n := d.Value
		if n < 0 || n == 0 && !d.said(1) {
			n = -1
		}
		dims = append(dims, n)
	}
	return dims
}

// NewValue describes a tensor of any shape.
func NewValue(name string, elem DType) *Value {
	return &Value{Name: name, Type: &Type{Tensor: &TensorType{Elem: elem}}}
}

// IntAttribute is an attribute with a whole number.
func IntAttribute(name string, v int64) *Attribute {
	a := &Attribute{Name: name, Type: AttributeInt, Int: v}
	a.say(3) // 0 is a value, too
	return a
}

// IntsAttribute is an attribute with whole numbers.
func IntsAttribute(name string, v ...int64) *Attribute {
	return &Attribute{Name: name, Type: AttributeInts, Ints: v}
}

// Attribute returns the attribute of that name, or nil.
func (n *Node) Attribute(name string) *Attribute {
	i := slices.IndexFunc(n.Attributes, func(a *Attribute) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return n.Attributes[i]
}

// Int returns the value of an attribute, or what holds where it is missing.
func (n *Node) Int(name string, missing int64) int64 {
	if a := n.Attribute(name); a != nil {
		return a.Int
	}
	return missing
}

// Float is Int for an attribute with a fraction.
func (n *Node) Float(name string, missing float32) float32 {
	if a := n.Attribute(name); a != nil {
		return a.Float
	}
	return missing
}

// Text is Int for an attribute with a text.
func (n *Node) Text(name, missing string) string {
	if a := n.Attribute(name); a != nil {
		return string(a.Bytes)
	}
	return missing
}

// Input returns the name of an input, "" where it is left out.
func (n *Node) Input(i int) string {
	if i >= len(n.Inputs) {
		return ""
	}
	return n.Inputs[i]
}

// Standard reports whether the operator is of the default set.
func (n *Node) Standard() bool { return n.Domain == "" || n.Domain == "ai.onnx" }
