package main

import (
	"cmp"
	"slices"

	"nightseg/calibrate/sensitivity"
)

const (
	// mostAlone is how many layers are tried one by one: each try is a network that runs over the
	// gate's frames.
	mostAlone = 8
	// worthTime is the share of a frame's time for which other layers are taken than the most sensitive
	// ones: less is what two passes differ by.
	worthTime = 0.02
)

// fewest returns with how many of the most sensitive layers the gate holds, and the
// largest number below it with which it does not; -1 for none.
func fewest(steps []*step) (fails, holds int) {
	fails, holds = -1, -1
	for _, st := range steps {
		if !st.firsts() {
			continue
		}
		if st.Holds {
			return fails, len(st.Float)
		}
		fails = len(st.Float)
	}
	return fails, holds
}

// firsts says whether the layers are the most sensitive ones.
func (s *step) firsts() bool { return len(s.Float) == 0 || slices.Max(s.Float) == len(s.Float) }

// quicker tries each of the most sensitive layers alone. Where none of them will do, it takes layers out of those
// with which the gate holds, one by one, the slowest first. Layers' times are not alike: what two early ones do at
// the gate, a later one may do in a tenth of their time. try returns those of the sets of ranks that hold.
func quicker(try func(sets [][]int) ([]*step, error), layers, holds int) error {
	if holds <= 0 {
		return nil
	}
	var alone [][]int
	for rank := 1; rank <= min(mostAlone, layers); rank++ {
		alone = append(alone, []int{rank})
	}
	found, err := try(alone)
	if err != nil || len(found) > 0 || holds > mostAlone {
		return err
	}
	ranks := sensitivity.Firsts(holds)[0]
	for len(ranks) > 2 {
		var fewer [][]int
		for i := range ranks {
			fewer = append(fewer, slices.Delete(slices.Clone(ranks), i, i+1))
		}
		found, err := try(fewer)
		if err != nil || len(found) == 0 {
			return err
		}
		ranks = slices.MinFunc(found, faster).Float
	}
	return nil
}

// choose returns the step with the fewest of the most sensitive layers, or one that holds, too, and is quicker;
// nil where nothing holds.
func choose(steps []*step) *step {
	var good []*step
	for _, st := range steps {
		if st.Holds {
			good = append(good, st)
		}
	}
	at := slices.IndexFunc(good, (*step).firsts)
	if at < 0 {
		return nil
	}
	if best := slices.MinFunc(good, faster); best.Ratio < (1-worthTime)*good[at].Ratio {
		return best
	}
	return good[at]
}

func faster(a, b *step) int { return cmp.Compare(a.Ratio, b.Ratio) }
