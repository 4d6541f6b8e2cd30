package fit

import "math"

// precision is the number of fractional bits of a coefficient: what 32 bits
// hold beside an 8-bit value and two bits of head-room.
const precision = 22

const half = 1 << (precision - 1)

// table says of which source pixels, and how much of each, every pixel along
// one axis of the result is made.
type table struct {
	in, out int
	first   []int32  // per result pixel: the first source pixel
	count   []int32  // how many
	taps    int      // room per result pixel
	weight  []uint32 // out x taps
	copies  bool     // every result pixel is the source pixel of the same place
	plain   bool     // every result pixel is one source pixel
}

// bilinear fills the table for the triangle filter. Every product is rounded
// before it is added (the conversions), so that processors which fuse the two
// make the same table.
func (t *table) bilinear(in, out int, wide bool) {
	t.in, t.out, t.plain, t.copies = in, out, false, in == out
	scale := float64(in) / float64(out)
	filter := 1.0
	if wide {
		filter = max(scale, 1)
	}
	t.taps = 2*int(math.Ceil(filter)) + 1
	t.first, t.count = grow(t.first, out), grow(t.count, out)
	t.weight = grow(t.weight, out*t.taps)
	inverse := 1 / filter
	w := make([]float64, t.taps)
	for x := range out {
		centre := float64((float64(x) + 0.5) * scale)
		lo := max(int(centre-filter+0.5), 0)
		n := min(int(centre+filter+0.5), in) - lo
		sum := 0.0
		for i := range n {
			w[i] = max(1-math.Abs(float64((float64(i+lo)-centre+0.5)*inverse)), 0)
			sum += w[i]
		}
		t.first[x], t.count[x] = int32(lo), int32(n)
		row := t.weight[x*t.taps:][:t.taps]
		clear(row)
		for i := range n {
			row[i] = uint32(0.5 + float64(w[i]/sum*(1<<precision)))
		}
		t.trim(x, row)
	}
}

// trim drops taps of weight 0 at both ends: they cost time and change nothing.
func (t *table) trim(x int, row []uint32) {
	n := int(t.count[x])
	for n > 1 && row[n-1] == 0 {
		n--
	}
	skip := 0
	for skip < n-1 && row[skip] == 0 {
		skip++
	}
	copy(row, row[skip:n])
	clear(row[n-skip:])
	t.first[x] += int32(skip)
	t.count[x] = int32(n - skip)
}

// nearest fills the table for the nearest filter. Positions are summed up as
// Pillow does it, so that pixels on an edge fall to the same side.
func (t *table) nearest(in, out int, _ bool) {
	t.in, t.out, t.taps, t.plain, t.copies = in, out, 1, true, in == out
	t.first, t.count = grow(t.first, out), grow(t.count, out)
	t.weight = grow(t.weight, out)
	scale := float64(in) / float64(out)
	at := float64(scale * 0.5)
	for x := range out {
		t.first[x], t.count[x], t.weight[x] = int32(min(int(at), in-1)), 1, 1<<precision
		at += scale
	}
}
