// Package pick holds the choice of a few frames that stand for a drive: they
// cover its range of luminance, and of frames alike in light they take those
// that look least like one another. Frames are fed in order, once; only small
// descriptors are kept.
package pick

import (
	"cmp"
	"slices"

	"nightseg/edge/frame"
)

// Capacity is how many different frames are remembered of a drive where
// nothing else is said: more than calibrations use, 0.5 MB.
const Capacity = 2048

// alike is the distance up to which two frames count as the same: camera noise
// and recoding lie below, a few metres of driving above.
const alike = 1.0

// strata is the number of parts of equal size, by luminance, that a choice is
// spread over.
const strata = 8

// Picker remembers the frames of a drive that differ. When it holds as many as
// it may, it demands twice the difference and forgets those that are too near
// to an older one (the doubling algorithm for k centres, Charikar et al. 1997):
// whatever was seen stays near to something that is remembered, in memory that
// does not grow and a time per frame that does not either.
type Picker struct {
	capacity int
	radius   float64 // remembered frames lie further apart
	seen     int
	kept     []descriptor
}

// New returns a picker that remembers at most capacity frames; 0 means Capacity.
// A choice of n frames is good where capacity is several times n.
func New(capacity int) *Picker {
	if capacity <= 0 {
		capacity = Capacity
	}
	return &Picker{capacity: capacity, radius: alike}
}

// Look looks at the next frame of the drive. A frame that the camera repeated
// (frame.FlagFrozen), or that looks like one before, is counted only.
func (p *Picker) Look(f *frame.Frame) {
	index := p.seen
	p.seen++
	if f.Flags&frame.FlagFrozen != 0 || f.W < 1 || f.H < 1 {
		return
	}
	d := describe(f)
	d.index = index
	if p.near(&d, p.kept) {
		return
	}
	p.kept = append(p.kept, d)
	for len(p.kept) > p.capacity {
		p.radius *= 2
		p.thin()
	}
}

// String says how frames are chosen.
func (p *Picker) String() string { return "by luminance and novelty" }

// Seen returns the number of frames so far, Kept how many of them are remembered.
func (p *Picker) Seen() int { return p.seen }

// Kept returns how many different frames are remembered.
func (p *Picker) Kept() int { return len(p.kept) }

func (p *Picker) near(d *descriptor, to []descriptor) bool {
	for i := len(to) - 1; i >= 0; i-- { // the last ones are the likeliest
		if d.distance(&to[i]) <= p.radius {
			return true
		}
	}
	return false
}

// thin forgets frames that are near to an older one.
func (p *Picker) thin() {
	left := p.kept[:0]
	for i := range p.kept {
		if !p.near(&p.kept[i], left) {
			left = append(left, p.kept[i])
		}
	}
	p.kept = left
}

// Choose returns the numbers of n frames, counted from 0 in the order of the
// drive, in rising order; fewer where fewer differ. The remembered frames are
// cut by luminance into parts of equal size, which take turns: each gives the
// frame that is furthest from all chosen so far. Of equally far ones the
// earlier is taken, so that the same drive gives the same choice.
func (p *Picker) Choose(n int) []int {
	n = min(n, len(p.kept))
	if n <= 0 {
		return nil
	}
	order := make([]int, len(p.kept)) // places in kept, the darkest first
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.kept[a].luma, p.kept[b].luma) })
	parts := make([][]int, min(n, strata))
	for s := range parts {
		parts[s] = order[s*len(order)/len(parts) : (s+1)*len(order)/len(parts)]
	}
	far := make([]float64, len(p.kept)) // distance to the nearest chosen frame; below 0: chosen
	for i := range far {
		far[i] = maxDistance
	}
	var chosen []int
	for turn := 0; len(chosen) < n; turn++ {
		i := furthest(parts[turn%len(parts)], far)
		if i < 0 { // all of this part are chosen
			continue
		}
		chosen = append(chosen, p.kept[i].index)
		far[i] = -1
		for k := range far {
			if far[k] >= 0 {
				far[k] = min(far[k], p.kept[k].distance(&p.kept[i]))
			}
		}
	}
	slices.Sort(chosen)
	return chosen
}

// furthest returns the place with the greatest distance that is not chosen yet;
// of equal ones the earliest frame; -1 where all are.
func furthest(part []int, far []float64) int {
	best := -1
	for _, i := range part {
		if far[i] < 0 {
			continue
		}
		if best < 0 || far[i] > far[best] || far[i] == far[best] && i < best {
			best = i
		}
	}
	return best
}
