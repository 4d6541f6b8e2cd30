package quantize

import "nightseg/edge/frame"

// Spread chooses frames that are evenly spread over the drive.
type Spread struct{ seen int }

var _ Chooser = (*Spread)(nil)

// Look implements Chooser.
func (s *Spread) Look(*frame.Frame) { s.seen++ }

// Choose implements Chooser: the drive is cut into n equal parts, and the middle of
// each is taken; of a drive with fewer frames, all.
func (s *Spread) Choose(n int) []int {
	n = min(n, s.seen)
	list := make([]int, n)
	for i := range list {
		list[i] = (2*i + 1) * s.seen / (2 * n)
	}
	return list
}

// String implements Chooser.
func (s *Spread) String() string { return "evenly over the drive" }
