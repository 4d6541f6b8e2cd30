package decide

import (
	"encoding/binary"
	"math"
)

// axis maps the pixels of one side of the mask to the cells between grid
// points. There is one cell more than grid points: cell c lies between the
// points c-1 and c, and the outermost two, beyond the first and last point,
// have that point on both sides. So the clamping at the edges is a cell like
// any other, and inside a cell the weight of the far point grows by step from
// pixel to pixel.
type axis struct {
	in, out int
	align   bool

	first []int32   // first pixel of cell c; first[c+1] ends it; len = in+2
	t0    []float32 // weight of the far point at the cell's first pixel
	step  float32
}

// set makes the tables for in grid points and out pixels; it does nothing
// where they are as asked for.
func (a *axis) set(in, out int, align bool) {
	if a.in == in && a.out == out && a.align == align {
		return
	}
	a.in, a.out, a.align = in, out, align
	a.first, a.t0 = make([]int32, in+2), make([]float32, in+1)
	scale, shift := float64(in)/float64(out), 0.5
	if align {
		scale, shift = 0, 0
		if out > 1 {
			scale = float64(in-1) / float64(out-1)
		}
	}
	a.step = float32(scale)
	cell := 0
	for i := range out {
		pos := (float64(i)+shift)*scale - shift
		at := min(max(int(math.Floor(pos))+1, 0), in)
		for cell < at {
			cell++
			a.first[cell] = int32(i)
			a.t0[cell] = float32(pos - float64(cell-1))
		}
	}
	for cell <= in {
		cell++
		a.first[cell] = int32(out)
	}
}

// span returns the pixels first <= i < end of cell c and its two grid points.
func (a *axis) span(c int) (first, end, lo, hi int) {
	return int(a.first[c]), int(a.first[c+1]), max(c-1, 0), min(c, a.in-1)
}

const ones = 0x0101010101010101

// fill sets every byte of s to v, eight at a time.
func fill(s []uint8, v uint8) {
	word := uint64(v) * ones
	for len(s) >= 8 {
		binary.LittleEndian.PutUint64(s, word)
		s = s[8:]
	}
	for i := range s {
		s[i] = v
	}
}
