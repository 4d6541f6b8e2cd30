package onnx

import (
	"fmt"
	"slices"
)

// Opset returns the version of the default set of operators, 0 where none is stated.
func (m *Model) Opset() int64 {
	for _, o := range m.Opsets {
		if o.Domain == "" || o.Domain == "ai.onnx" {
			return o.Version
		}
	}
	return 0
}

// RealInputs returns the inputs that have no initializer: those that a caller gives.
func (g *Graph) RealInputs() []*Value {
	weights := map[string]bool{}
	for _, t := range g.Initializers {
		weights[t.Name] = true
	}
	var in []*Value
	for _, v := range g.Inputs {
		if !weights[v.Name] {
			in = append(in, v)
		}
	}
	return in
}

// Find returns the value of that name, or nil.
func Find(list []*Value, name string) *Value {
	if i := slices.IndexFunc(list, func(v *Value) bool { return v.Name == name }); i >= 0 {
		return list[i]
	}
	return nil
}

// External reports whether weights are in other files.
func (g *Graph) External() bool { return slices.ContainsFunc(g.Initializers, (*Tensor).External) }

// Work returns the number of nodes that do something: constants are not counted.
func (g *Graph) Work() int {
	n := 0
	for _, node := range g.Nodes {
		if node.Op != "Constant" {
			n++
		}
	}
	return n
}

// AddOutput makes a tensor an output of the graph; one that is an output stays one.
func (g *Graph) AddOutput(name string, elem DType) {
	if Find(g.Outputs, name) == nil {
		g.Outputs = append(g.Outputs, NewValue(name, elem))
	}
}

// Sweep takes out what no output needs: nodes, initializers, also where old files
// list them as inputs, and notes on tensors that are gone. Nodes must be in an order
// in which they can run.
func (g *Graph) Sweep() {
	used := map[string]bool{}
	for _, v := range g.Outputs {
		used[v.Name] = true
	}
	var nodes []*Node
	made := map[string]bool{}
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(out string) bool { return used[out] }) {
			continue
		}
		nodes = append(nodes, n)
		for _, in := range n.Uses() {
			used[in] = true
		}
		for _, out := range n.Outputs {
			made[out] = true
		}
	}
	slices.Reverse(nodes)
	weights := map[string]bool{}
	for _, t := range g.Initializers {
		weights[t.Name] = true
	}
	g.Nodes = nodes
	g.Initializers = slices.DeleteFunc(slices.Clone(g.Initializers), func(t *Tensor) bool { return !used[t.Name] })
	g.Values = slices.DeleteFunc(slices.Clone(g.Values), func(v *Value) bool { return !made[v.Name] })
	g.Inputs = slices.DeleteFunc(slices.Clone(g.Inputs), func(v *Value) bool { return !used[v.Name] && weights[v.Name] })
}

// Uses returns the tensors that a node reads, those that graphs in its attributes
// take from around them among them. Inputs that are left out are not in it.
func (n *Node) Uses() []string {
	var names []string
	for _, in := range n.Inputs {
		if in != "" {
			names = append(names, in)
		}
	}
	for _, a := range n.Attributes {
		if a.Graph != nil {
			names = append(names, a.Graph.takes()...)
		}
		for _, g := range a.Graphs {
			names = append(names, g.takes()...)
		}
	}
	return names
}

// takes returns the tensors that a graph reads and does not make.
func (g *Graph) takes() []string {
	own := map[string]bool{}
	for _, v := range g.Inputs {
		own[v.Name] = true
	}
	for _, t := range g.Initializers {
		own[t.Name] = true
	}
	for _, n := range g.Nodes {
		for _, out := range n.Outputs {
			own[out] = true
		}
	}
	var names []string
	for _, n := range g.Nodes {
		names = append(names, n.Uses()...)
	}
	for _, v := range g.Outputs {
		names = append(names, v.Name)
	}
	return slices.DeleteFunc(names, func(name string) bool { return own[name] })
}

// Index finds the makers and users of the tensors of a graph. It shows the graph
// as it was when the index was made.
type Index struct {
	makers    map[string]*Node
	users     map[string][]*Node
	constants map[string]*Tensor
}

// Index makes an index of a graph. A tensor that is made twice is an error.
func (g *Graph) Index() (*Index, error) {
	x := &Index{makers: map[string]*Node{}, users: map[string][]*Node{}, constants: map[string]*Tensor{}}
	for _, t := range g.Initializers {
		x.constants[t.Name] = t
	}
	for _, n := range g.Nodes {
		for _, out := range n.Outputs {
			if out == "" {
				continue
			}
			if x.makers[out] != nil || x.constants[out] != nil {
				return nil, fmt.Errorf("tensor %q is made twice", out)
			}
			x.makers[out] = n
		}
		for _, in := range n.Uses() {
			if users := x.users[in]; len(users) == 0 || users[len(users)-1] != n {
				x.users[in] = append(users, n)
			}
		}
	}
	return x, nil
}

// Maker returns the node that makes a tensor, nil for inputs and initializers.
func (x *Index) Maker(name string) *Node { return x.makers[name] }

// Users returns the nodes that read a tensor, each once, in the order of the graph.
func (x *Index) Users(name string) []*Node { return x.users[name] }

// Constant returns the values of a tensor that is always the same: an
// initializer, a Constant node, or either of them behind Identity or a Cast to
// float32, as of weights that are stored as float16. It is nil for others.
func (x *Index) Constant(name string) *Tensor {
	if t := x.constants[name]; t != nil {
		return t
	}
	n := x.makers[name]
	if n == nil || !n.Standard() {
		return nil
	}
	var t *Tensor
	switch n.Op {
	case "Constant":
		if a := n.Attribute("value"); a != nil {
			t = a.Tensor
		}
	case "Identity":
		t = x.Constant(n.Input(0))
	case "Cast":
		if from := x.Constant(n.Input(0)); from != nil && DType(n.Int("to", 0)) == Float {
			if v, err := from.Floats(); err == nil {
				t = NewFloats(name, v, from.Dims...)
			}
		}
	}
	if t != nil {
		x.constants[name] = t
	}
	return t
}

// Sort puts the nodes into an order in which each runs after those that it needs;
// nodes that can run keep the order that they have. A circle is an error.
func (g *Graph) Sort() error {
	x, err := g.Index()
	if err != nil {
		return err
	}
	done := make(map[*Node]bool, len(g.Nodes))
	sorted := make([]*Node, 0, len(g.Nodes))
	// An explicit stack: graphs of others may be deep.
	for _, first := range g.Nodes {
		stack := []*Node{first}
		open := map[*Node]bool{}
		for len(stack) > 0 {
			n := stack[len(stack)-1]
			before := x.waitsFor(n, done)
			switch {
			case done[n]:
				stack = stack[:len(stack)-1]
			case before == nil:
				done[n], sorted, stack = true, append(sorted, n), stack[:len(stack)-1]
			case open[before]:
				return fmt.Errorf("node %q needs its own result", before.Name)
			default:
				open[n] = true
				stack = append(stack, before)
			}
		}
	}
	g.Nodes = sorted
	return nil
}

// waitsFor returns a node that must run before n and has not, or nil.
func (x *Index) waitsFor(n *Node, done map[*Node]bool) *Node {
	for _, name := range n.Uses() {
		if m := x.makers[name]; m != nil && !done[m] {
			return m
		}
	}
	return nil
}
