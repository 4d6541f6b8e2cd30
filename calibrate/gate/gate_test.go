package gate

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nightseg/edge/decide"
	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/score"
)

var names = []string{"road", "car", "pole"}

// scored are n frames of 1000 pixels (500 road, 496 car, 4 pole), in which the
// first wrong(i) cars are taken for road.
func scored(t *testing.T, n int, wrong func(i int) int) []*score.Confusion {
	t.Helper()
	var out []*score.Confusion
	for i := range n {
		label := make([]uint8, 1000)
		for p := 500; p < 1000; p++ {
			label[p] = 1
		}
		for p := 996; p < 1000; p++ {
			label[p] = 2
		}
		mask := slices.Clone(label)
		for p := range wrong(i) {
			mask[500+p] = 0
		}
		c := score.NewConfusion(3)
		if err := c.Add(label, mask); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func judge(t *testing.T, float, int8 []*score.Confusion) []model.GateFigure {
	t.Helper()
	f, err := Labelled(float, int8, names, Default(), score.Bootstrap{Block: 1, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLabelled(t *testing.T) {
	always := func(v int) func(int) int { return func(int) int { return v } }
	float := scored(t, 40, always(10))
	same := judge(t, float, float)
	if !Holds(same) || len(same) != 3 || same[0].Name != MIoUDrop || same[2].Class != "car" {
		t.Errorf("float against itself: %+v", same) // pole has 0.4 % of the pixels: not judged alone
	}
	// 10 and 12 of 496 cars wrong: IoU (496-n)/496 and 500/(500+n); pole stays at 1.
	little := judge(t, float, scored(t, 40, always(12)))
	car, road := 100*2/496.0, 100*(500/510.0-500/512.0)
	for i, want := range []float64{(car + road) / 3, road, car} {
		if f := little[i]; math.Abs(f.Value-want) > 1e-3 || math.Abs(*f.Bound-want) > 1e-3 || !f.Holds {
			t.Errorf("%+v, bound %g, want %g", f, *f.Bound, want)
		}
	}
	much := judge(t, float, scored(t, 40, always(25)))
	text := Text(much[2])
	if Holds(much) || much[0].Holds || much[2].Holds || !strings.Contains(text, "IoU of car down by 3.02 points") {
		t.Errorf("15 more cars wrong: %+v, %s", much, text)
	}
}

// The mean is within the limit, but chance may hide a loss: the bound decides.
func TestBoundDecides(t *testing.T) {
	float := scored(t, 12, func(int) int { return 20 })
	int8 := scored(t, 12, func(i int) int {
		if i == 3 {
			return 60
		}
		return 20
	})
	f := judge(t, float, int8)
	if f[0].Value >= 0.5 || *f[0].Bound <= 0.5 || f[0].Holds || Holds(f) {
		t.Errorf("mean %g, bound %g, holds %v", f[0].Value, *f[0].Bound, f[0].Holds)
	}
}

func TestLabelledRefuses(t *testing.T) {
	one := scored(t, 1, func(int) int { return 0 })
	if _, err := Labelled(one, nil, names, Default(), score.Bootstrap{}); err == nil {
		t.Error("frames of one side only")
	}
	void := []*score.Confusion{score.NewConfusion(3)}
	if _, err := Labelled(void, void, names, Default(), score.Bootstrap{}); err == nil {
		t.Error("nothing labelled, and judged")
	}
	if Holds(nil) {
		t.Error("no figure holds")
	}
}

// lot are n pixels of a class with a margin, of which int8 takes some for another.
type lot struct {
	class, other uint8
	n, wrong     int
	margin       float32
}

func pooled(t *testing.T, lots ...lot) []model.GateFigure {
	t.Helper()
	p := NewPooled(3)
	for _, l := range lots {
		var a, b frame.Mask
		a.Reset(l.n, 1)
		b.Reset(l.n, 1)
		margins := make([]float32, l.n)
		for i := range l.n {
			a.Class[i], b.Class[i], margins[i] = l.class, l.class, l.margin
			if i < l.wrong {
				b.Class[i] = l.other
			}
		}
		if err := p.Add(&a, &b, margins); err != nil {
			t.Fatal(err)
		}
	}
	f, err := p.Figures(names, Default())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPooled(t *testing.T) {
	// All errors where float is unsure: 10 % of the pixels.
	f := pooled(t, lot{0, 1, 100, 60, 0.1}, lot{0, 1, 500, 0, 5}, lot{1, 0, 400, 0, 5})
	if f[0].Value != 100 || !f[0].Holds || len(f) != 3 {
		t.Errorf("errors among the unsure: %+v", f)
	}
	// IoU of road: 540 of 600; of car: 400 of 460.
	if f[1].Value != 90 || !f[1].Holds || f[2].Value != 86.957 || f[2].Holds {
		t.Errorf("IoU %+v", f[1:])
	}
	// The same errors where float is sure: 60 of 900 that count.
	f = pooled(t, lot{0, 1, 100, 0, 0.1}, lot{0, 1, 500, 60, 5}, lot{1, 0, 400, 0, 5})
	if f[0].Value != 93.333 || f[0].Holds {
		t.Errorf("errors among the sure: %+v", f[0])
	}
	// Margins that are all equal: none is among the lowest tenth, all count.
	if f = pooled(t, lot{0, 1, 1000, 20, 5}); f[0].Value != 98 || f[0].Holds {
		t.Errorf("equal margins: %+v", f[0])
	}
	// A class that int8 invents on 1 % of the pixels, and a rare one that is not judged.
	f = pooled(t, lot{0, 2, 9990, 100, 5}, lot{1, 0, 9, 9, 5})
	if i := slices.IndexFunc(f, func(f model.GateFigure) bool { return f.Class == "pole" }); i < 0 || f[i].Holds {
		t.Errorf("an invented class: %+v", f)
	}
	if slices.ContainsFunc(f, func(f model.GateFigure) bool { return f.Class == "car" }) {
		t.Errorf("0.09 %% of the pixels are judged: %+v", f)
	}
	// Padding does not count.
	if f = pooled(t, lot{255, 1, 500, 500, 5}, lot{0, 1, 2000, 1, 5}); f[0].Value != 99.95 || len(f) != 2 {
		t.Errorf("padding: %+v", f)
	}
	if _, err := NewPooled(3).Figures(names, Default()); err == nil {
		t.Error("nothing was compared, and judged")
	}
	if err := NewPooled(3).Add(&frame.Mask{Class: []uint8{1}}, &frame.Mask{Class: []uint8{1}}, nil); err == nil {
		t.Error("no margins")
	}
}

// Where the margin is above 0, the class of the decision is the one before all
// others; the margins equal those of logits that were enlarged one by one.
func TestMargins(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var l frame.Logits
	l.Reset(3, 5, 7)
	l.OutW, l.OutH = 28, 20
	for i := range l.Data {
		l.Data[i] = float32(rng.NormFloat64())
	}
	shares := []float64{0.7, 0.2, 0.1}
	for _, s := range []decide.Settings{
		{},
		{AlignCorners: true},
		{Mode: decide.Logit, Std: 0.2, Shares: shares, Temperature: 2},
		{Mode: decide.Probability, Std: 0.3, Shares: shares},
	} {
		m, err := NewMargins(s, 3)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Of(&l)
		if err != nil {
			t.Fatal(err)
		}
		weighted := l
		weighted.Data = slices.Clone(m.grid)
		want := model.FullSizeArgMax(&weighted, s.AlignCorners)
		d, err := decide.New(s)
		if err != nil {
			t.Fatal(err)
		}
		var mask frame.Mask
		if err := d.Decide(&mask, &l); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if v > 1e-4 && mask.Class[i] != want[i] {
				t.Fatalf("%+v: pixel %d is decided %d, the margins are those of %d", s, i, mask.Class[i], want[i])
			}
			if v < 0 || math.IsNaN(float64(v)) {
				t.Fatalf("%+v: margin %g", s, v)
			}
		}
		// At the grid's own corner nothing is mixed.
		z := []float32{m.grid[0], m.grid[35], m.grid[70]}
		slices.Sort(z)
		if d := got[0] - (z[2] - z[1]); math.Abs(float64(d)) > 1e-6 {
			t.Errorf("%+v: the corner's margin is off by %g", s, d)
		}
	}
	if _, err := NewMargins(decide.Settings{Std: 0.1, Shares: shares}, 4); err == nil {
		t.Error("three shares for four classes")
	}
	m, err := NewMargins(decide.Settings{}, 4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Of(&l); err == nil {
		t.Error("three classes for four")
	}
}

// The worst figure is the one with least room, by its bound where it has one.
func TestWorst(t *testing.T) {
	bound := func(v float64) *float64 { return &v }
	figures := []model.GateFigure{
		{Name: MIoUDrop, Value: -1, Bound: bound(0.2), Limit: 0.5},
		{Name: IoU, Class: "a", Value: 92, Limit: 90},
		{Name: IoU, Class: "b", Value: 90.1, Limit: 90},
		{Name: Agreement, Value: 99.5, Limit: 99},
	}
	if w := Worst(figures); w.Class != "b" {
		t.Errorf("all hold: %+v", w)
	}
	figures[0].Bound = bound(2.5)
	if w := Worst(figures); w.Name != MIoUDrop {
		t.Errorf("the bound is beyond its limit: %+v", w)
	}
}
