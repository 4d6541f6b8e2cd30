package qdq

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"nightseg/model/onnx"
)

// branchy has what a plan can hold: layers, a folded Relu, nodes that move bytes,
// and nodes without weights between layers.
func branchy() *onnx.Model {
	return network([]*onnx.Tensor{
		filled("w", 1, 4, 4, 1, 1), filled("v", 1, 4, 8, 1, 1), onnx.NewFloats("by", []float32{1, 1, 2, 2}),
	},
		node("Conv c: x w -> a"), node("Relu r: a -> b"), node("MaxPool p: b -> e"), node("Conv d: e w -> f"),
		node("Add s: e f -> g"), node("Resize z: g none by -> h"), node("Concat k: h h -> i"), node("Conv o: i v -> y"))
}

func TestUnits(t *testing.T) {
	p := plan(t, branchy())
	if got := p.Units(); !slices.Equal(got, []string{"c", "d", "s", "k", "o"}) {
		t.Errorf("units %q", got)
	}
}

func TestOnly(t *testing.T) {
	p := plan(t, branchy())
	for unit, want := range map[string]string{
		"c": "QuantizeLinear: x x.s|Conv: x.dq w.dq -> b|b b.s b.z -> b.q|MaxPool: b.dq|Conv: e.dq w -> f|" +
			"Add: e.dq f -> g|Resize: g none by -> h|Concat: h h -> i|Conv: i v -> y",
		"d": "Conv: x w -> a|Relu: a -> b|MaxPool: b -> e|Conv: e.dq w.dq -> f|f.q f.s f.z -> f.dq|" +
			"Add: e f.dq -> g|Conv: i v -> y",
		"s": "Conv: x w -> a|Conv: e w -> f|Add: e.dq f.dq -> g|g g.s g.z -> g.q|Conv: i v -> y",
		"k": "Conv: e w -> f|Add: e f -> g|Concat: h.dq h.dq -> i|i i.s i.z -> i.q",
	} {
		part, err := p.Only(unit)
		if err != nil {
			t.Fatal(err)
		}
		inOrder(t, unit, text(written(t, part, everyRange(p, -1, 3))), want)
	}
	if _, err := p.Only("z"); !errors.Is(err, ErrNoLayers) {
		t.Errorf("a node that rounds nothing of its own: %v", err)
	}
}

// inOrder looks for the parts of want in lines, one after the other.
func inOrder(t *testing.T, name string, lines []string, want string) {
	t.Helper()
	all, at := strings.Join(lines, "\n"), 0
	for _, part := range strings.Split(want, "|") {
		i := strings.Index(all[at:], part)
		if i < 0 {
			t.Errorf("%s: no %q, or not there, in\n%s", name, part, all)
			return
		}
		at += i + len(part)
	}
}

func TestWithout(t *testing.T) {
	p := plan(t, branchy())
	part, err := p.Without([]string{"c", "s"})
	if err != nil {
		t.Fatal(err)
	}
	// The pool has float on both sides now; what it gives is rounded by the range that
	// its input had.
	inOrder(t, "c and s", text(written(t, part, everyRange(p, -1, 3))),
		"Conv: x w -> a|Relu: a -> b|MaxPool: b -> e|QuantizeLinear: e e.s|Conv: e.dq w.dq -> f|Add: e f.dq -> g|"+
			"Concat: h.dq h.dq -> i|Conv: i.dq v.dq -> y")
	if got := part.Kept(); !slices.Equal(got, []string{"c", "s"}) {
		t.Errorf("kept %q", got)
	}
	// Without the last layer, what was between layers is behind the last one.
	if part, err = p.Without([]string{"o"}); err != nil {
		t.Fatal(err)
	}
	if got := part.Kept(); !slices.Equal(got, []string{"s", "k", "o"}) {
		t.Errorf("kept %q", got)
	}
	if again, err := part.Without([]string{"d"}); err != nil || !slices.Equal(again.Units(), []string{"c"}) {
		t.Errorf("a part of a part: %v, %v", again.Units(), err)
	}
	if _, err := p.Without([]string{"c", "d", "o"}); !errors.Is(err, ErrNoLayers) {
		t.Errorf("nothing left: %v", err)
	}
	if got := p.Units(); len(got) != 5 || len(p.Kept()) != 0 {
		t.Errorf("the whole plan has changed: %q", got)
	}
}

// No part needs a range that the whole plan does not.
func TestPartsNeedNoFurtherRanges(t *testing.T) {
	p := plan(t, branchy())
	check := func(name string, part *Plan, err error) {
		t.Helper()
		if errors.Is(err, ErrNoLayers) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range part.Tensors() {
			if !slices.Contains(p.Tensors(), tensor) {
				t.Errorf("%s: range of %s", name, tensor)
			}
		}
		written(t, part, everyRange(p, -1, 3))
	}
	units := p.Units()
	for set := range 1 << len(units) {
		var float []string
		for i, name := range units {
			if set>>i&1 != 0 {
				float = append(float, name)
			}
		}
		part, err := p.Without(float)
		check("without "+strings.Join(float, " "), part, err)
	}
	for _, name := range units {
		part, err := p.Only(name)
		check("only "+name, part, err)
	}
}

// Operators of DANNet's networks that are known to hurt in 8 bits.
func TestTraps(t *testing.T) {
	text1 := func(name, value string) *onnx.Attribute {
		return &onnx.Attribute{Name: name, Type: onnx.AttributeString, Bytes: []byte(value)}
	}
	pads := onnx.NewInts("pads", []int32{0, 0, 1, 1, 0, 0, 1, 1}, 8)
	for name, c := range map[string]struct {
		m     *onnx.Model
		want  string
		float string
	}{
		"a residual behind Tanh, added to the picture": {
			m: network([]*onnx.Tensor{filled("w", 1, 8, 3, 3, 3), filled("v", 1, 3, 8, 3, 3)},
				node("Conv c: x w -> a"), node("Relu r: a -> b"), node("Conv last: b v -> e"), node("Tanh t: e -> f"),
				node("Add s: f x -> y")),
			want:  "Conv: x.dq w.dq -> b|Conv: b.dq v -> e|Tanh: e -> f|Add: f x -> y",
			float: "e f y",
		},
		"reflected edges have the scale of what they reflect": {
			m: network([]*onnx.Tensor{filled("w", 1, 4, 4, 1, 1), pads}, node("Conv c: x w -> a"),
				node("Pad p: a pads -> b", text1("mode", "reflect")), node("Conv d: b w -> y")),
			want: "Pad: a.dq pads -> b|QuantizeLinear: b a.s a.z|Conv: b.dq w.dq", float: "b",
		},
		"a transposed convolution takes its Relu along": {
			m: network([]*onnx.Tensor{filled("w", 1, 4, 4, 3, 3)}, node("ConvTranspose c: x w -> a"),
				node("Relu r: a -> b"), node("ConvTranspose d: b w -> y")),
			want: "ConvTranspose: x.dq w.dq -> b|b b.s b.z -> b.q|ConvTranspose: b.dq w.dq", float: "a",
		},
		"branches that are joined have scales of their own": {
			m: network([]*onnx.Tensor{filled("w", 1, 4, 4, 1, 1), filled("v", 1, 4, 8, 1, 1)}, node("Conv c: x w -> a"),
				node("GlobalAveragePool g: a -> b"), node("Conv d: b w -> e"),
				node("Concat k: a e -> f"), node("Conv o: f v -> y")),
			want: "GlobalAveragePool: a.dq -> b|b b.s b.z|e e.s e.z|Concat: a.dq e.dq -> f|f f.s f.z",
		},
		"corners on corners": {
			m: network([]*onnx.Tensor{filled("w", 1, 4, 4, 1, 1), onnx.NewFloats("by", []float32{1, 1, 2, 2})},
				node("Conv c: x w -> a"),
				node("Resize r: a none by -> b", text1("mode", "linear"), text1("coordinate_transformation_mode", "align_corners")),
				node("Conv d: b w -> y")),
			want: "Resize: a.dq none by -> b|QuantizeLinear: b a.s a.z", float: "b",
		},
	} {
		p := plan(t, c.m)
		inOrder(t, name, text(written(t, p, everyRange(p, -1, 3))), c.want)
		for _, tensor := range strings.Fields(c.float) {
			if slices.Contains(p.Tensors(), tensor) {
				t.Errorf("%s: %s has a range", name, tensor)
			}
		}
	}
}

// A layer in float between rounded values has a bias that is computed, with its
// values exactly: else the engine would round its weights by itself.
func TestSparedLayer(t *testing.T) {
	values := []float32{0, 1.1, -3e-20, 12345.678}
	m := network([]*onnx.Tensor{filled("w", 1, 4, 4, 1, 1), onnx.NewFloats("b", values, 4)},
		node("Conv c: x w -> a"), node("Conv d: a w b -> e"), node("Relu r: e -> f"), node("Conv o: f w -> y"))
	part, err := plan(t, m).Without([]string{"d"})
	if err != nil {
		t.Fatal(err)
	}
	out := written(t, part, everyRange(part, -1, 3))
	inOrder(t, "d", text(out), "DequantizeLinear: b.i b.s b.z -> b.dq|Conv: a.dq w b.dq -> e|Relu: e -> f|f f.s f.z")
	q, s := ints(t, out, "b_quantized"), floats(t, out, "b_scale")
	for i, v := range values {
		if float32(q[i])*s[i] != v {
			t.Errorf("bias %g became %d steps of %g", v, q[i], s[i])
		}
	}
	if part, err = plan(t, m).Without([]string{"o"}); err != nil { // float on its other side
		t.Fatal(err)
	}
	inOrder(t, "o", text(written(t, part, everyRange(part, -1, 3))), "Conv: f.dq w -> y")
}
