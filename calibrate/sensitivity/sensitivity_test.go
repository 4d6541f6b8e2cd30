package sensitivity

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"nightseg/calibrate/observe"
	"nightseg/calibrate/qdq"
	"nightseg/calibrate/quantize"
	"nightseg/model"
	"nightseg/model/onnx"
)

const tiny = "../../model/testdata/tiny"

// network gives its input times a gain, which is 1 in float, and less where
// something is rounded.
type network struct {
	x      []float32
	u8     []uint8
	output string
	gain   float32
	size   int
	open   *int
}

func (n *network) Floats() []float32 { return n.x }
func (n *network) Bytes() []uint8    { return n.u8 }
func (n *network) Library() string   { return "fake" }
func (n *network) Close() error      { *n.open--; return nil }

func (n *network) Run(see func(string, []int64, []float32) error) error {
	y := make([]float32, n.size)
	for i := range y {
		if n.u8 != nil {
			y[i] = n.gain * float32(n.u8[i])
		} else {
			y[i] = n.gain * n.x[i]
		}
	}
	return see(n.output, nil, y)
}

// gain is 1 less a tenth per node that is rounded.
func gain(m *onnx.Model) float32 {
	g := float32(1)
	for _, n := range m.Graph.Nodes {
		if n.Op == "QuantizeLinear" {
			g -= 0.1
		}
	}
	return g
}

func probe(t *testing.T) (p *Probe, open *int) {
	t.Helper()
	b, err := model.Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	open = new(int)
	frames := []Frame{make(Frame, 3*48*32), make(Frame, 3*48*32)}
	for i := range frames[0] {
		frames[0][i], frames[1][i] = byte(i%7+1), byte(i%5+1)
	}
	p, err = New(t.Context(), Options{
		Bundle: b, Frames: frames,
		Load: func(m *onnx.Model, shape []int64) (quantize.Network, error) {
			*open++
			n := &network{output: m.Graph.Outputs[0].Name, gain: gain(m), open: open, size: 48 * 32 * 3}
			if shape[3] == 3 {
				n.u8 = make([]uint8, n.size)
			} else {
				n.x = make([]float32, n.size)
			}
			return n, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, open
}

// parts are the plans of the tiny bundle with ranges that do not matter here.
func parts(t *testing.T, b *model.Bundle) (parts []quantize.Part) {
	t.Helper()
	for _, name := range []string{"relight", "segment"} {
		m, err := quantize.Float(b, name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := qdq.New(m, qdq.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ranges := map[string]observe.Range{}
		for _, tensor := range p.Tensors() {
			ranges[tensor] = observe.Range{Min: -1, Max: 1}
		}
		parts = append(parts, quantize.Part{Graph: name, Plan: p, Ranges: ranges})
	}
	return parts
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-5 }

// A network whose results are a gain g of what they should be has an error of
// (1-g)² of their energy, and changes no class.
func TestErrorOfAGain(t *testing.T) {
	p, open := probe(t)
	for _, part := range parts(t, p.Bundle) {
		m, err := part.Plan.Write(part.Ranges, part.Means)
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.Of(t.Context(), map[string]*onnx.Model{part.Graph: m})
		if err != nil {
			t.Fatal(err)
		}
		want := float64(1 - gain(m))
		want *= want
		if !near(e.Noise, want) || e.Changed != 0 {
			t.Errorf("%s: %+v, want %g", part.Graph, e, want)
		}
		if picture := map[bool]float64{true: want}[part.Graph == "relight"]; !near(e.Picture, picture) {
			t.Errorf("%s: picture %g, want %g", part.Graph, e.Picture, picture)
		}
	}
	if err := p.Close(); err != nil || p.Close() != nil || *open != 0 {
		t.Errorf("%d left open, %v", *open, err)
	}
}

// Layers that are known are not measured again, and the result is the same.
func TestLayersGoOn(t *testing.T) {
	p, _ := probe(t)
	all := parts(t, p.Bundle)
	steps := 0
	layers, err := p.Layers(t.Context(), all, nil, func(l []Layer) error {
		if steps++; len(l) != steps {
			t.Errorf("%d layers after %d steps", len(l), steps)
		}
		return nil
	})
	if err != nil || steps != len(layers) || steps < 3 {
		t.Fatalf("%d steps for %d layers, %v", steps, len(layers), err)
	}
	steps = 0
	again, err := p.Layers(t.Context(), all, layers[1:2], func([]Layer) error { steps++; return nil })
	if err != nil || steps != len(layers)-1 || !slices.Equal(again, layers) {
		t.Errorf("%d steps, %v", steps, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = p.Layers(ctx, all, nil, func([]Layer) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("broken off: %v", err)
	}
	if _, err := New(t.Context(), Options{Bundle: p.Bundle}); err == nil {
		t.Error("no frames")
	}
}

func TestNoise(t *testing.T) {
	var s sums
	s.add([]float32{3, 4}, []float32{3, 5})
	if s.noise() != 1.0/25 || !near(Decibels(s.noise()), 10*math.Log10(25)) {
		t.Errorf("noise %g", s.noise())
	}
	if (&sums{}).noise() != 0 || (&sums{err: 4}).noise() != 1 {
		t.Error("a signal of zeros")
	}
	// Two classes at three places: a tie goes to the first.
	a, b := []float32{1, 0, 2, 0, 1, 2}, []float32{0, 0, 2, 1, 1, 3}
	if n := differ(a, b, 3, 2); n != 2 {
		t.Errorf("%d places differ", n)
	}
}

func TestOrderAndSteps(t *testing.T) {
	layers := []Layer{
		{Graph: "r", Name: "a", Error: Error{Noise: 0.1}},
		{Graph: "s", Name: "b", Error: Error{Noise: 0.3}},
		{Graph: "s", Name: "c", Error: Error{Noise: 0.1}},
		{Graph: "s", Name: "d", Error: Error{Noise: 0.2}},
	}
	var names string
	for _, l := range Order(layers) {
		names += l.Name
	}
	if names != "bdac" || layers[0].Name != "a" {
		t.Errorf("order %s", names)
	}
	if u := Units(layers[:2]); len(u) != 2 || !slices.Equal(u["s"], []string{"b"}) {
		t.Errorf("units %v", u)
	}
	for most, want := range map[int][]int{
		0: {0}, 1: {0, 1}, 2: {0, 1, 2}, 3: {0, 1, 2, 3}, 8: {0, 1, 2, 4, 8}, 50: {0, 1, 2, 4, 8, 16, 32, 50},
	} {
		if got := Steps(most); !slices.Equal(got, want) {
			t.Errorf("steps up to %d: %v", most, got)
		}
	}
	if sets := Firsts(0, 2); len(sets) != 2 || len(sets[0]) != 0 || !slices.Equal(sets[1], []int{1, 2}) {
		t.Errorf("firsts %v", sets)
	}
	for _, c := range []struct {
		fails, holds int
		want         []int
	}{
		{0, 1, nil},
		{1, 2, nil},
		{2, 4, []int{3}},
		{4, 8, []int{5, 6, 7}},
		{16, 32, []int{20, 24, 28}},
		{8, -1, nil},
		{-1, 0, nil},
	} {
		if got := Between(c.fails, c.holds); !slices.Equal(got, c.want) {
			t.Errorf("between %d and %d: %v", c.fails, c.holds, got)
		}
	}
}
