package main

import (
	"fmt"
	"slices"
	"testing"

	"nightseg/calibrate/sensitivity"
)

// tryWith is a gate that holds where all the layers of one of the sets are in float; each layer in float costs a
// tenth of float's time, the first two five tenths.
func tryWith(steps *[]*step, sets ...[]int) func([][]int) ([]*step, error) {
	return func(tries [][]int) (holds []*step, err error) {
		for _, ranks := range tries {
			st := &step{Float: ranks}
			for _, r := range ranks {
				st.Ratio += map[bool]float64{true: 0.5, false: 0.1}[r <= 2]
			}
			st.Holds = slices.ContainsFunc(sets, func(set []int) bool {
				return !slices.ContainsFunc(set, func(r int) bool { return !slices.Contains(ranks, r) })
			})
			if *steps = append(*steps, st); st.Holds {
				holds = append(holds, st)
			}
		}
		return holds, nil
	}
}

// The quickest layers that hold are found, alone and among those that hold together.
func TestQuickerLayers(t *testing.T) {
	for name, c := range map[string]struct {
		holds int
		sets  [][]int
		want  string
	}{
		"a later one alone":        {2, [][]int{{1, 2}, {3}}, "[3]"},
		"the quickest of two":      {1, [][]int{{1}, {4}}, "[4]"},
		"none alone":               {2, [][]int{{1, 2}}, "[1 2]"},
		"two of four":              {4, [][]int{{3, 4}}, "[3 4]"},
		"the slow ones are needed": {4, [][]int{{1, 2, 4}}, "[1 2 4]"},
		"too many to take out":     {9, [][]int{{1, 9}}, "[1 2 3 4 5 6 7 8 9]"},
		"all hold in 8 bits":       {0, [][]int{{}}, "[]"},
	} {
		steps := []*step{}
		try := tryWith(&steps, c.sets...)
		if _, err := try(sensitivity.Firsts(c.holds)); err != nil {
			t.Fatal(err)
		}
		if err := quicker(try, 12, c.holds); err != nil {
			t.Fatal(err)
		}
		if best := choose(steps); best == nil || fmt.Sprint(best.Float) != c.want {
			t.Errorf("%s: %+v, want %s", name, best, c.want)
		}
	}
	if choose([]*step{{Ratio: 1}}) != nil {
		t.Error("chosen though nothing holds")
	}
}

// A gain in time that two passes may differ by is none.
func TestChooseKeepsTheSensitiveOnes(t *testing.T) {
	steps := []*step{{Float: []int{1}, Holds: true, Ratio: 0.4}, {Float: []int{3}, Holds: true, Ratio: 0.395}}
	if best := choose(steps); best != steps[0] {
		t.Errorf("chosen %+v", best)
	}
	if fails, holds := fewest([]*step{{}, {Float: []int{1}}, {Float: []int{3}, Holds: true}}); fails != 1 || holds != -1 {
		t.Errorf("fails %d, holds %d", fails, holds)
	}
}

func TestWhichLayers(t *testing.T) {
	for want, ranks := range map[string][]int{"none": nil, "1": {1}, "1 to 3": {1, 2, 3}, "3": {3}, "1, 3": {1, 3}} {
		if got := (&step{Float: ranks}).which(); got != want {
			t.Errorf("%v is written %q, want %q", ranks, got, want)
		}
	}
}
