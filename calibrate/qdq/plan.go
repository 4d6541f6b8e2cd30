// Package qdq makes 8-bit networks of float ones: it says where values are to be
// rounded to bytes, gives the float network with those tensors as outputs, so that
// their ranges can be gathered, and writes the integer network once they are known.
//
// The form is QDQ: a QuantizeLinear and a DequantizeLinear node around each
// rounded tensor, which ONNX Runtime, OpenVINO and TensorRT fuse with the nodes
// beside them. Weights are int8, symmetric, with a scale per output channel; biases
// int32 with the scale of input times weight; activations uint8 with one scale and
// an exact 0. The places are those of onnxruntime's quantiser, with the differences
// that docs/quantisation.md lists.
package qdq

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"nightseg/calibrate/observe"
	"nightseg/model/onnx"
)

// ErrNoLayers is returned for a network of which nothing would become integer.
var ErrNoLayers = errors.New("no layer with constant float32 weights is left to become integer")

// minOpset is the first set of operators with a scale per channel.
const minOpset = 13

// Plan says what of a network becomes integer. It does not change the network.
type Plan struct {
	model *onnx.Model
	graph onnx.Graph // nodes in an order in which they can run
	index *onnx.Index
	types map[string]onnx.DType
	most  float64 // largest magnitude of a rounded weight

	layers map[*onnx.Node]*layer  // nodes with weights that become integer
	whole  map[*onnx.Node]bool    // all nodes that work on bytes, layers among them
	folded map[*onnx.Node]*limits // Relu and Clip that the range of the node before them does
	makes  map[*onnx.Node]string  // what a node gives in place of its own output: that of what was folded
	places map[string]*place      // the tensors that are rounded
	order  []string               // their names, in the order of the graph
	kept   []string               // nodes with weights that stay float
	spared map[*onnx.Node]*layer  // these nodes
	whose  map[string]string      // of a part of a plan: tensors that have the range of another one, see part
}

// place is a tensor that is rounded to bytes.
type place struct {
	from     string        // it has the scale of that tensor; "": one of its own
	constant *onnx.Tensor  // its values, where they are always the same
	idle     observe.Range // range for a tensor that was always 0
}

// limits are the ends of a Clip; those of a Relu are 0 and none.
type limits struct{ lo, hi float32 }

// Options say how a network becomes integer. The zero value is the usual way.
type Options struct {
	Keep []string // nodes whose names hold one of these words stay float
	// WeightBits is 8, which 0 means as well, or 7: on processors that add products in
	// pairs in 16 bits, such as x86 without VNNI, two products of 8 bits run over, and
	// those with weights from -64 to 64 do not.
	WeightBits int
}

// New plans the integer form of a network. Nodes that only lie before the first or
// behind the last layer with weights, and narrow layers behind which a picture is
// put together, stay float.
func New(m *onnx.Model, o Options) (*Plan, error) {
	most, ok := map[int]float64{0: 127, 8: 127, 7: 64}[o.WeightBits]
	if !ok {
		return nil, fmt.Errorf("weights of %d bits; there are 8 and 7", o.WeightBits)
	}
	p := &Plan{
		most:  most,
		model: m, graph: *m.Graph, layers: map[*onnx.Node]*layer{}, whole: map[*onnx.Node]bool{},
		folded: map[*onnx.Node]*limits{}, makes: map[*onnx.Node]string{}, places: map[string]*place{},
		spared: map[*onnx.Node]*layer{},
	}
	if v := m.Opset(); v < minOpset {
		return nil, fmt.Errorf("the network has operators of set %d; export it with set %d or a newer one", v, minOpset)
	}
	if m.Graph.External() {
		return nil, errors.New("the network keeps weights in other files; export it as one file")
	}
	for _, n := range m.Graph.Nodes {
		if n.Op == "QuantizeLinear" || n.Op == "DequantizeLinear" || strings.HasPrefix(n.Op, "QLinear") {
			return nil, fmt.Errorf("node %q: the network is an integer one already; give the float one", n.Name)
		}
	}
	p.graph.Nodes = slices.Clone(m.Graph.Nodes)
	if err := p.graph.Sort(); err != nil {
		return nil, err
	}
	var err error
	if p.index, err = p.graph.Index(); err != nil {
		return nil, err
	}
	p.types = elementTypes(&p.graph, p.index)
	kept := func(n *onnx.Node) bool {
		return slices.ContainsFunc(o.Keep, func(word string) bool { return strings.Contains(label(n), word) })
	}
	if err := p.chooseLayers(kept); err != nil {
		return nil, err
	}
	p.chooseOthers(kept)
	p.mark()
	return p, nil
}

// Names reports whether a word is in the name of a node of the network.
func Names(m *onnx.Model, word string) bool {
	return slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool { return strings.Contains(label(n), word) })
}

// label is the name of a node, or of what it makes where it has none.
func label(n *onnx.Node) string {
	if n.Name == "" && len(n.Outputs) > 0 {
		return n.Outputs[0]
	}
	return n.Name
}

// Kept returns the names of the nodes with weights that stay float; those of a
// part of a plan are all units that became float there, too.
func (p *Plan) Kept() []string { return slices.Clone(p.kept) }

// Layers returns the names of the nodes with weights that become integer.
func (p *Plan) Layers() []string {
	var names []string
	for _, n := range p.graph.Nodes {
		if p.layers[n] != nil {
			names = append(names, label(n))
		}
	}
	return names
}

// chooseLayers finds the nodes with weights that become integer.
func (p *Plan) chooseLayers(kept func(*onnx.Node) bool) error {
	for _, n := range p.graph.Nodes {
		l, err := p.layerOf(n)
		if err != nil {
			return err
		}
		if l == nil {
			continue
		}
		if kept(n) {
			p.kept, p.spared[n] = append(p.kept, label(n)), l
			continue
		}
		p.layers[n] = l
	}
	after, _ := p.between()
	seen := map[path]bool{}
	for _, out := range p.graph.Outputs {
		p.freePicture(path{out.Name, false}, after, seen)
	}
	if len(p.layers) == 0 {
		return ErrNoLayers
	}
	return nil
}

// freePicture takes layers out that are next to an output behind arithmetic and
// have few channels: there a picture is put together from a map or a residual, and
// bytes would show in it as steps. Such layers cost next to nothing.
func (p *Plan) freePicture(at path, after map[*onnx.Node]bool, seen map[path]bool) {
	n := p.index.Maker(at.tensor)
	if n == nil || seen[at] {
		return
	}
	seen[at] = true
	switch {
	case p.layers[n] != nil:
		if at.arithmetic && p.layers[n].narrow(after[n]) {
			p.kept, p.spared[n] = append(p.kept, label(n)), p.layers[n]
			delete(p.layers, n)
			p.freePicture(path{n.Input(0), true}, after, seen)
		}
	case moves[n.Op] || rearranges[n.Op]:
		p.freePicture(path{n.Input(0), at.arithmetic}, after, seen)
	case elementwise[n.Op]:
		for _, in := range n.Inputs {
			p.freePicture(path{in, true}, after, seen)
		}
	}
}

// path is how far a walk back from an output came, and whether over arithmetic.
type path struct {
	tensor     string
	arithmetic bool
}

// chooseOthers finds the nodes without weights that work on bytes, and the
// activations that fold into the node before them.
func (p *Plan) chooseOthers(kept func(*onnx.Node) bool) {
	after, before := p.between()
	for n := range p.layers {
		p.whole[n] = true
	}
	p.follow(kept, before, func(n *onnx.Node) bool { return bytewise[n.Op] && after[n] && before[n] })
}

// follow adds the nodes without weights that are chosen to those that work on
// bytes, folds the activations behind all of these, and adds the nodes that only
// move bytes.
func (p *Plan) follow(kept func(*onnx.Node) bool, before map[*onnx.Node]bool, chosen func(*onnx.Node) bool) {
	for _, n := range p.graph.Nodes {
		if !p.float(n) || kept(n) || len(n.Outputs) != 1 {
			continue
		}
		if chosen(n) {
			p.whole[n] = true
		}
		if l := p.foldable(n); l != nil {
			maker := p.index.Maker(n.Input(0))
			p.folded[n], p.makes[maker] = l, n.Outputs[0]
		} else if clips[n.Op] && before[n] && p.byBytes(n.Input(0)) {
			p.whole[n] = true
		}
	}
	// Nodes that only move values do so with bytes where they get bytes.
	rounded := map[string]bool{}
	for n := range p.whole {
		for _, in := range p.roundedInputs(n) {
			rounded[in] = true
		}
	}
	for _, n := range p.graph.Nodes {
		if p.mover(n) && !kept(n) && (rounded[n.Input(0)] || p.byBytes(n.Input(0))) {
			p.whole[n] = true
			for _, out := range n.Outputs {
				rounded[out] = true
			}
		}
	}
}

// byBytes reports whether a tensor comes out of a node that works on bytes.
func (p *Plan) byBytes(tensor string) bool {
	n := p.index.Maker(tensor)
	return n != nil && (p.whole[n] || p.folded[n] != nil)
}

// between tells the nodes behind a layer and those before one.
func (p *Plan) between() (after, before map[*onnx.Node]bool) {
	after, before = map[*onnx.Node]bool{}, map[*onnx.Node]bool{}
	for _, n := range p.graph.Nodes {
		after[n] = slices.ContainsFunc(n.Uses(), func(in string) bool {
			m := p.index.Maker(in)
			return m != nil && (p.layers[m] != nil || after[m])
		})
	}
	for _, n := range slices.Backward(p.graph.Nodes) {
		for _, out := range n.Outputs {
			before[n] = before[n] || slices.ContainsFunc(p.index.Users(out), func(m *onnx.Node) bool {
				return p.layers[m] != nil || before[m]
			})
		}
	}
	return after, before
}

// foldable returns the limits of a Relu or Clip that needs no node of its own: the
// bytes of the node before it end where it would cut. For that the node must have
// no other user and a range of its own, and 0 must lie within the limits, as it
// lies within each range.
func (p *Plan) foldable(n *onnx.Node) *limits {
	if !clips[n.Op] {
		return nil
	}
	in := n.Input(0)
	maker := p.index.Maker(in)
	if maker == nil || !p.whole[maker] || len(p.index.Users(in)) != 1 || p.isOutput(in) {
		return nil
	}
	l := p.limitsOf(n)
	if l == nil || l.lo > 0 || l.hi < 0 {
		return nil
	}
	return l
}

// limitsOf returns the limits of a Relu or Clip, nil where they are not constant.
func (p *Plan) limitsOf(n *onnx.Node) *limits {
	if n.Op == "Relu" {
		return &limits{0, largest}
	}
	l := &limits{-largest, largest}
	for i, end := range []*float32{&l.lo, &l.hi} {
		name := n.Input(i + 1)
		if name == "" {
			continue
		}
		t := p.index.Constant(name)
		if t == nil {
			return nil
		}
		v, err := t.Floats()
		if err != nil || len(v) != 1 {
			return nil
		}
		*end = v[0]
	}
	return l
}

func (p *Plan) isOutput(tensor string) bool { return onnx.Find(p.graph.Outputs, tensor) != nil }

// output returns the tensor that a node gives in the integer network.
func (p *Plan) output(n *onnx.Node) string {
	if name := p.makes[n]; name != "" {
		return name
	}
	return n.Outputs[0]
}

// mark notes the tensors that are rounded, in the order of the graph.
func (p *Plan) mark() {
	for _, n := range p.graph.Nodes {
		if !p.whole[n] {
			continue
		}
		for _, in := range p.roundedInputs(n) {
			p.place(in, "")
		}
		if p.layers[n] == nil && p.mover(n) {
			for _, out := range n.Outputs {
				p.place(out, n.Inputs[0])
			}
			continue
		}
		p.place(p.output(n), "")
	}
	for n, l := range p.folded {
		if l.lo > -largest && l.hi < largest {
			p.places[n.Outputs[0]].idle = observe.Range{Min: l.lo, Max: l.hi}
		}
	}
}

func (p *Plan) place(tensor, from string) {
	if p.places[tensor] == nil {
		p.places[tensor] = &place{from: from, constant: p.index.Constant(tensor)}
		p.order = append(p.order, tensor)
	}
}
