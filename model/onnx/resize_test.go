package onnx

import (
	"slices"
	"strings"
	"testing"
)

const shipped = "../bundles/street-11/segment.onnx"

// sizes returns what the Resize nodes of a network give, by node.
func sizes(t *testing.T, g *Graph) map[string][]int64 {
	t.Helper()
	x, err := g.Index()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]int64{}
	for _, n := range g.Nodes {
		if n.Op != "Resize" || n.Input(3) == "" {
			continue
		}
		if found[n.Name], err = x.Constant(n.Input(3)).Longs(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestSetSizeRoundsUpAsStridesDo(t *testing.T) {
	m := parse(t, shipped)
	if err := m.Graph.SetSize("x", [2]int{2, 3}, 720, 1288); err != nil {
		t.Fatal(err)
	}
	if got := m.Graph.Inputs[0].Shape(); !slices.Equal(got, []int64{1, 3, 720, 1288}) {
		t.Errorf("the input has the shape %v", got)
	}
	if got := m.Graph.Outputs[0].Shape(); got != nil {
		t.Errorf("the output has the shape %v, which was of the old size", got)
	}
	got := sizes(t, m.Graph)
	if len(got) != 5 {
		t.Fatalf("sizes of %d nodes, not of 5", len(got))
	}
	for name, v := range got {
		want := []int64{23, 41} // 1/32
		switch name {
		case "/net/Resize":
			want = []int64{45, 81} // 1/16
		case "/net/Resize_1":
			want = []int64{90, 161} // 1/8
		}
		if !slices.Equal(v[2:], want) {
			t.Errorf("%s gives %v, not %v", name, v, want)
		}
	}
}

func TestSetSizeOfItsOwnSizeChangesNothing(t *testing.T) {
	m := parse(t, shipped)
	if err := m.Graph.SetSize("x", [2]int{2, 3}, 480, 640); err != nil {
		t.Fatal(err)
	}
	got, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, readFile(t, shipped)) {
		t.Error("the file is another one")
	}
}

func TestSetSizeRefuses(t *testing.T) {
	for _, c := range []struct{ what, input, want string }{
		{"an input that is not there", "y", "no input"},
		{"a size that is no part of the picture's", "x", "no whole part"},
		{"a size that is computed", "x", "stand in the file"},
	} {
		m := parse(t, shipped)
		i := slices.IndexFunc(m.Graph.Nodes, func(n *Node) bool { return n.Op == "Resize" })
		switch c.want {
		case "no whole part":
			m.Graph.Initializers = append(m.Graph.Initializers, NewLongs("odd", []int64{1, 64, 7, 20}, 4))
			m.Graph.Nodes[i].Inputs[3] = "odd"
		case "stand in the file":
			m.Graph.Nodes[i].Inputs[3] = "computed"
		}
		err := m.Graph.SetSize(c.input, [2]int{2, 3}, 720, 1280)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, where %q is wanted", c.what, err, c.want)
		}
	}
}
