package sweep

import (
	"math"
	"strings"
	"testing"

	"nightseg/edge/decide"
	"nightseg/score"
)

// frames are n frames of 100 pixels of two classes, of which right(i) are right.
func frames(t *testing.T, n int, right func(i int) int) []*score.Confusion {
	t.Helper()
	var out []*score.Confusion
	for i := range n {
		label, mask := make([]uint8, 100), make([]uint8, 100)
		for p := range label {
			label[p] = uint8(p % 2)
			mask[p] = label[p]
			if p >= right(i) {
				mask[p] = 1 - label[p]
			}
		}
		c := score.NewConfusion(2)
		if err := c.Add(label, mask); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func TestChoose(t *testing.T) {
	const n = 60
	always := func(v int) func(int) int { return func(int) int { return v } }
	// Better by half a pixel on average, but as often worse: chance.
	noisy := func(i int) int {
		if i/6%2 == 0 {
			return 62
		}
		return 99
	}
	at := func(mode decide.Mode, std float64, right func(int) int) Scored {
		return Scored{mode, std, frames(t, n, right)}
	}
	p, l := decide.Probability, decide.Logit
	for name, c := range map[string]struct {
		all          []Scored
		best, chosen int
	}{
		"a gain on every frame is taken": {
			[]Scored{at(p, 0, always(80)), at(p, 0.1, always(81)), at(p, 0.2, always(83))},
			2, 2,
		},
		"a gain within chance is not": {
			[]Scored{at(p, 0, always(80)), at(p, 0.1, noisy)},
			1, 0,
		},
		"equal means: the smaller std": {
			[]Scored{at(p, 0, always(80)), at(p, 0.2, always(84)), at(p, 0.1, always(84))},
			2, 2,
		},
		"equal std: the mode with more": {
			[]Scored{at(p, 0, always(80)), at(p, 0.1, always(83)), at(l, 0.1, always(84))},
			2, 2,
		},
		"all equal: off, in the first": {
			[]Scored{at(p, 0, always(80)), at(l, 0, always(80)), at(l, 0.1, always(80))},
			0, 0,
		},
		"a smaller one that is as good": {
			[]Scored{at(p, 0, always(70)), at(l, 0.1, always(80)), at(p, 0.2, noisy)},
			2, 1,
		},
		"the order in the list is nothing": {
			[]Scored{at(p, 0.2, always(83)), at(p, 0.1, always(81)), at(p, 0, always(80))},
			0, 0,
		},
	} {
		got, err := Choose(c.all, score.Bootstrap{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got.Best != c.best || got.Chosen != c.chosen {
			t.Errorf("%s: best %d, chosen %d of %+v", name, got.Best, got.Chosen, got.Points)
		}
	}
}

// IoU of two balanced classes with a share e of errors is (1-e)/(1+e).
func TestFigures(t *testing.T) {
	all := []Scored{
		{decide.Logit, 0, frames(t, 9, func(int) int { return 80 })},
		{decide.Logit, 0.1, frames(t, 9, func(int) int { return 90 })},
	}
	c, err := Choose(all, score.Bootstrap{})
	if err != nil {
		t.Fatal(err)
	}
	a, b := 0.8/1.2, 0.9/1.1
	p := c.Points[1]
	for name, d := range map[string]float64{
		"mean": p.MIoU - b, "low": p.Interval.Low - b, "high": p.Interval.High - b, "gain": p.Gain - (b - a),
		"gain, low": p.Spread.Low - (b - a), "behind": c.Points[0].Behind.High - (b - a),
	} {
		if math.Abs(d) > 1e-12 {
			t.Errorf("%s is off by %g", name, d)
		}
	}
}

func TestChooseRefuses(t *testing.T) {
	right := func(int) int { return 50 }
	for want, all := range map[string][]Scored{
		"no std 0":  {{decide.Logit, 0.1, frames(t, 2, right)}},
		"2 frames":  {{decide.Logit, 0, frames(t, 3, right)}, {decide.Logit, 0.1, frames(t, 2, right)}},
		"on 0":      {{decide.Logit, 0, nil}},
		"no std 0 ": nil,
	} {
		if _, err := Choose(all, score.Bootstrap{}); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
