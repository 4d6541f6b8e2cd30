package onnx

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

const tiny = "../testdata/tiny"

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, name string) *Model {
	t.Helper()
	m, err := Parse(readFile(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// networks lists the files of this repository.
func networks(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"../testdata/nets", tiny, "../bundles/*"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
		if err != nil || len(names) == 0 {
			t.Fatal("no networks in ", dir)
		}
		all = append(all, names...)
	}
	return all
}

func TestUnchangedFilesKeepTheirBytes(t *testing.T) {
	for _, name := range networks(t) {
		data := readFile(t, name)
		m, err := Parse(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, data) {
			t.Errorf("%s: %d bytes were read, %d other ones written", name, len(data), len(again))
		}
	}
}

func TestParse(t *testing.T) {
	m := parse(t, filepath.Join(tiny, "relight.onnx"))
	in, out := Find(m.Graph.RealInputs(), "image"), Find(m.Graph.Outputs, "relit")
	if in == nil || in.Elem() != Uint8 || len(in.Shape()) != 4 || in.Shape()[1] != 32 || in.Shape()[3] != 3 {
		t.Errorf("input %+v", in)
	}
	if out == nil || out.Elem().String() != "float32" || out.Shape()[3] != 48 {
		t.Errorf("output %+v", out)
	}
	convs := 0
	for _, n := range m.Graph.Nodes {
		if n.Op == "Conv" && n.Standard() && len(n.Attribute("kernel_shape").Ints) == 2 {
			convs++
		}
	}
	if m.Opset() != 17 || m.Graph.Work() != 10 || convs != 2 || m.Graph.External() {
		t.Errorf("opset %d, %d nodes, %d convolutions", m.Opset(), m.Graph.Work(), convs)
	}
	if free := parse(t, "../testdata/nets/free-size.onnx"); free.Graph.RealInputs()[0].Shape()[2] != -1 {
		t.Errorf("free size: %v", free.Graph.RealInputs()[0].Shape())
	}
}

func TestParseRefuses(t *testing.T) {
	nested := []byte{}
	for range 2 * maxDepth { // graphs of nodes of graphs
		nested = appendBytes(nil, 1, appendBytes(nil, 5, appendBytes(nil, 6, nested)))
	}
	data := readFile(t, filepath.Join(tiny, "segment.onnx"))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":       {nil, "no graph"},
		"text":          {[]byte("a text that is no network"), "not a protocol buffer"},
		"cut off":       {data[:len(data)/2], "truncated"},
		"without ir":    {appendBytes(nil, 7, []byte{}), "no graph"},
		"too deep":      {appendBytes(protowire.AppendVarint(protowire.AppendTag(nil, 1, 0), 8), 7, nested), "too deep"},
		"broken floats": {appendBytes(nil, 7, appendBytes(nil, 5, appendBytes(nil, 4, []byte{1, 2}))), "truncated"},
	} {
		if _, err := Parse(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A message with every kind of field, and fields that are not known.
func TestWriteAndRead(t *testing.T) {
	m := &Model{
		IRVersion: 8, Opsets: []*Opset{{Version: 17}, {Domain: "com.example", Version: 1}},
		Graph: &Graph{
			Name: "g",
			Nodes: []*Node{{
				Name: "n", Op: "If", Inputs: []string{"a", "", "b"}, Outputs: []string{"c"},
				Attributes: []*Attribute{
					IntAttribute("zero", 0),
					{Name: "f", Type: AttributeFloat, Float: -1.5},
					{Name: "s", Type: AttributeString, Bytes: []byte("text")},
					{Name: "l", Type: AttributeInts, Ints: []int64{-1, 0, math.MaxInt64}},
					{Name: "fl", Type: AttributeFloats, Floats: []float32{0, 2}},
					{Name: "sl", Type: AttributeStrings, Strings: [][]byte{[]byte("x"), {}}},
					{Name: "t", Type: AttributeTensor, Tensor: NewFloats("", []float32{3})},
					{Name: "g", Type: AttributeGraph, Graph: &Graph{Nodes: []*Node{{Inputs: []string{"outer"}}}}},
				},
			}},
			Initializers: []*Tensor{
				NewFloats("w", []float32{1, 2}, 2), NewInts("i", []int32{-1}, 1), NewBytes("z", Uint8, []byte{7}),
				{Name: "list", Type: Float, Dims: []int64{1}, Floats32: []float32{4}, Floats64: []float64{1}},
			},
			Inputs: []*Value{NewValue("a", Float)},
			Outputs: []*Value{{Name: "c", Type: &Type{Tensor: &TensorType{Elem: Float, Shape: &Shape{
				Dims: []*Dim{{Value: 1}, {Param: "N"}},
			}}}}},
		},
	}
	m.Graph.unknown = []rawField{{10, appendBytes(nil, 10, "notes")}, {16, appendBytes(nil, 16, "more")}}
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, m) {
		t.Errorf("read back as %+v", again.Graph.Nodes[0])
	}
	if a := again.Graph.Nodes[0].Attribute("zero"); a == nil || a.Int != 0 || !bytes.Contains(data, []byte("notes")) {
		t.Errorf("attribute %+v", a)
	}
	if s := again.Graph.Outputs[0].Shape(); !slices.Equal(s, []int64{1, -1}) {
		t.Errorf("shape %v", s)
	}
	if uses := again.Graph.Nodes[0].Uses(); !slices.Equal(uses, []string{"a", "b", "outer"}) {
		t.Errorf("uses %v", uses)
	}
}

func TestFloats(t *testing.T) {
	for name, c := range map[string]struct {
		t    Tensor
		want []float32
	}{
		"float32": {*NewFloats("", []float32{1, -2}, 2), []float32{1, -2}},
		"list":    {Tensor{Type: Float, Dims: []int64{2}, Floats32: []float32{3, 4}}, []float32{3, 4}},
		"scalar":  {*NewFloats("", []float32{5}), []float32{5}},
		"nothing": {Tensor{Type: Float, Dims: []int64{0}}, []float32{}},
		"float64": {Tensor{Type: Double, Dims: []int64{1}, Floats64: []float64{0.5}}, []float32{0.5}},
		"float16": {
			Tensor{Type: Float16, Dims: []int64{6}, Raw: []byte{0, 0x3c, 0, 0xc0, 1, 0, 0xff, 0x7b, 0, 0x7c, 0, 0x80}},
			[]float32{1, -2, 1.0 / (1 << 24), 65504, float32(math.Inf(1)), float32(math.Copysign(0, -1))},
		},
		"float16, list": {Tensor{Type: Float16, Dims: []int64{1}, Ints32: []int32{0x3800}}, []float32{0.5}},
		"bfloat16":      {Tensor{Type: BFloat16, Dims: []int64{1}, Raw: []byte{0x80, 0x3f}}, []float32{1}},
	} {
		got, err := c.t.Floats()
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		}
		for i := range got {
			if math.Signbit(float64(got[i])) != math.Signbit(float64(c.want[i])) {
				t.Errorf("%s: sign of value %d", name, i)
			}
		}
	}
	for name, c := range map[string]struct {
		t    Tensor
		want string
	}{
		"integers":   {*NewInts("i", []int32{1}, 1), "int32"},
		"too few":    {*NewFloats("f", []float32{1}, 2), "1 values"},
		"half a one": {Tensor{Type: Float, Raw: []byte{1, 2}}, "0 values"},
		"negative":   {Tensor{Type: Float, Dims: []int64{-1}}, "[-1]"},
		"overflow":   {Tensor{Type: Float, Dims: []int64{1 << 30, 1 << 30, 1 << 30}}, "too large"},
		"elsewhere":  {Tensor{Type: Float, Location: 1}, "another file"},
	} {
		if _, err := c.t.Floats(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func node(op string, inputs, outputs string) *Node {
	return &Node{Name: op + " " + outputs, Op: op, Inputs: strings.Fields(inputs), Outputs: strings.Fields(outputs)}
}

func TestIndex(t *testing.T) {
	cast := node("Cast", "h", "w")
	cast.Attributes = []*Attribute{IntAttribute("to", int64(Float))}
	constant := node("Constant", "", "k")
	constant.Attributes = []*Attribute{{Name: "value", Type: AttributeTensor, Tensor: NewFloats("", []float32{7})}}
	g := &Graph{
		Nodes: []*Node{cast, constant, node("Identity", "k", "same"), node("Conv", "x w", "y"), node("Add", "y y", "z")},
		Initializers: []*Tensor{
			{Name: "h", Type: Float16, Dims: []int64{1, 2}, Raw: []byte{0, 0x3c, 0, 0x40}},
		},
	}
	x, err := g.Index()
	if err != nil {
		t.Fatal(err)
	}
	w := x.Constant("w")
	if w == nil || w.Type != Float || !slices.Equal(w.Dims, []int64{1, 2}) {
		t.Fatalf("a cast weight: %+v", w)
	}
	if v, err := w.Floats(); err != nil || !slices.Equal(v, []float32{1, 2}) {
		t.Errorf("%v, %v", v, err)
	}
	if x.Constant("same") == nil || x.Constant("x") != nil || x.Constant("y") != nil {
		t.Error("what is constant")
	}
	if x.Maker("y").Op != "Conv" || x.Maker("x") != nil || len(x.Users("y")) != 1 || len(x.Users("z")) != 0 {
		t.Error("makers and users")
	}
	g.Nodes = append(g.Nodes, node("Relu", "x", "y"))
	if _, err := g.Index(); err == nil || !strings.Contains(err.Error(), `"y" is made twice`) {
		t.Errorf("made twice: %v", err)
	}
}

func TestSort(t *testing.T) {
	g := &Graph{Nodes: []*Node{node("C", "b a", "c"), node("A", "x", "a"), node("B", "a", "b"), node("D", "x", "d")}}
	if err := g.Sort(); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, n := range g.Nodes {
		order = append(order, n.Op)
	}
	if got := strings.Join(order, ""); got != "ABCD" {
		t.Errorf("order %s", got)
	}
	g.Nodes = []*Node{node("A", "b", "a"), node("B", "a", "b")}
	if err := g.Sort(); err == nil || !strings.Contains(err.Error(), "own result") {
		t.Errorf("a circle: %v", err)
	}
	g.Nodes = []*Node{node("A", "a", "a")}
	if err := g.Sort(); err == nil {
		t.Error("a node that needs itself")
	}
}

func TestAddOutput(t *testing.T) {
	g := &Graph{Outputs: []*Value{NewValue("a", Float)}}
	g.AddOutput("b", Float)
	g.AddOutput("a", Float)
	if len(g.Outputs) != 2 || g.Outputs[1].Elem() != Float {
		t.Errorf("%d outputs", len(g.Outputs))
	}
}

// What is read and written reads back as the same.
func FuzzParse(f *testing.F) {
	for _, name := range networks(f) {
		if data := readFile(f, name); len(data) < 1<<15 {
			f.Add(data)
		}
	}
	if data, err := smallPixels().Marshal(); err != nil {
		f.Fatal(err)
	} else {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		written, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(written)
		if err != nil {
			t.Fatalf("written, but: %v", err)
		}
		twice, err := again.Marshal()
		if err != nil || !bytes.Equal(twice, written) {
			t.Errorf("another file the second time: %v", err)
		}
		for _, w := range m.Graph.Initializers {
			if v, err := w.Floats(); err == nil {
				if n, err := w.Len(); err != nil || n != len(v) {
					t.Errorf("%d values for %v", len(v), w.Dims)
				}
			}
		}
		if m.Graph.Sort() == nil {
			if _, err := m.Graph.Index(); err != nil {
				t.Errorf("sorted, but: %v", err)
			}
		}
		if p := m.Graph.PixelInput("x"); p != nil {
			m.Graph.TakePixels(p, true)
			if _, err := m.Marshal(); err != nil {
				t.Errorf("takes pixels, but: %v", err)
			}
		}
	})
}
