package qdq

import (
	"maps"
	"slices"

	"nightseg/model/onnx"
)

// Units returns the names of the nodes that round what they read or give and can
// be given back to float one by one, in the order of the graph: layers with
// weights, and what joins, adds or weighs values between them.
func (p *Plan) Units() []string {
	var names []string
	for _, n := range p.graph.Nodes {
		if p.unit(n) {
			names = append(names, label(n))
		}
	}
	return names
}

func (p *Plan) unit(n *onnx.Node) bool {
	return p.layers[n] != nil || p.whole[n] && bytewise[n.Op]
}

// Only returns the plan in which that unit alone works on bytes, with the
// activation that is folded into it: what it reads is rounded, so are its weights,
// and what it gives.
func (p *Plan) Only(unit string) (*Plan, error) {
	return p.part(func(n *onnx.Node) bool { return label(n) == unit }, true)
}

// Without returns the plan in which those units are float as well. What then no
// longer lies between two layers becomes float with them.
func (p *Plan) Without(units []string) (*Plan, error) {
	return p.part(func(n *onnx.Node) bool { return !slices.Contains(units, label(n)) }, false)
}

// part returns the plan in which only those units work on bytes that stay. Its
// ranges are those of the whole plan, also of tensors that had the scale of
// another one there: so no frame is needed again.
func (p *Plan) part(stays func(*onnx.Node) bool, alone bool) (*Plan, error) {
	q := &Plan{
		model: p.model, graph: p.graph, index: p.index, types: p.types, layers: map[*onnx.Node]*layer{},
		whole: map[*onnx.Node]bool{}, folded: map[*onnx.Node]*limits{}, makes: map[*onnx.Node]string{},
		places: map[string]*place{}, whose: maps.Clone(p.whose), spared: maps.Clone(p.spared),
	}
	if q.whose == nil {
		q.whose = map[string]string{}
	}
	for _, name := range p.order {
		root := name
		for p.places[root].from != "" {
			root = p.places[root].from
		}
		if root != name {
			q.whose[name] = p.rangeOf(root)
		}
	}
	some := false
	for _, n := range p.graph.Nodes {
		l := p.layers[n]
		switch {
		case p.unit(n) && stays(n):
			some = true
			if l != nil {
				q.layers[n] = l
			}
		case l != nil:
			q.spared[n] = l
		}
	}
	if !some || !alone && len(q.layers) == 0 {
		return nil, ErrNoLayers
	}
	for n := range q.layers {
		q.whole[n] = true
	}
	after, before := q.between()
	float := func(n *onnx.Node) bool {
		return !p.whole[n] && p.folded[n] == nil || p.unit(n) && !stays(n)
	}
	q.follow(float, before, func(n *onnx.Node) bool {
		return p.unit(n) && (alone || after[n] && before[n])
	})
	for _, n := range p.graph.Nodes {
		if p.unit(n) && !q.whole[n] || slices.Contains(p.kept, label(n)) {
			q.kept = append(q.kept, label(n))
		}
	}
	q.mark()
	return q, nil
}
