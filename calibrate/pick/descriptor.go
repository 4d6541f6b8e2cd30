package pick

import (
	"math"

	"nightseg/edge/frame"
)

// Sizes of a descriptor.
const (
	thumbW, thumbH = 16, 12
	bins           = 32
)

// maxDistance is further apart than two frames can be.
const maxDistance = 1024

// descriptor is what is remembered of a frame. Values are luma on a scale of
// square roots (0..255), because differences by night lie in the dark values.
type descriptor struct {
	index int
	luma  float32
	thumb [thumbW * thumbH]uint8 // means of cells
	below [bins]uint8            // share of the pixels up to each bin, 0..255
}

// rootOf maps luma to the scale of the descriptors.
var rootOf = func() (t [256]uint8) {
	for v := range t {
		t[v] = uint8(math.Round(math.Sqrt(float64(v) * 255)))
	}
	return t
}()

// part is the part of a frame that shows the camera's picture.
func part(f *frame.Frame) frame.Rect {
	r := f.Valid
	r.X0, r.Y0, r.X1, r.Y1 = max(r.X0, 0), max(r.Y0, 0), min(r.X1, f.W), min(r.Y1, f.H)
	if r.Empty() {
		return frame.Rect{X1: f.W, Y1: f.H}
	}
	return r
}

// describe looks at every second pixel of every second row: cells average over
// hundreds all the same.
func describe(f *frame.Frame) (d descriptor) {
	r := part(f)
	w, h := r.X1-r.X0, r.Y1-r.Y0
	var sum, n [thumbW * thumbH]uint32
	var hist [bins]uint32
	var all, count uint64
	for y := 0; y < h; y += 2 {
		row := f.Pix[3*((r.Y0+y)*f.W+r.X0):]
		cells := y * thumbH / h * thumbW
		for x := 0; x < w; x += 2 {
			p := row[3*x : 3*x+3]
			// Rec.709 in 16 bits
			luma := (13933*uint32(p[0]) + 46871*uint32(p[1]) + 4732*uint32(p[2])) >> 16
			v := uint32(rootOf[luma])
			c := cells + x*thumbW/w
			sum[c] += v
			n[c]++
			hist[v*bins/256]++
			all += uint64(v)
			count++
		}
	}
	d.luma = float32(all) / float32(count)
	for c := range sum {
		if n[c] > 0 {
			d.thumb[c] = uint8((sum[c] + n[c]/2) / n[c])
		}
	}
	total := uint64(0)
	for b, k := range hist {
		total += uint64(k)
		d.below[b] = uint8((total*255 + count/2) / count)
	}
	return d
}

// distance is the mean difference of the cells, plus how far light must be
// shifted on average to turn one histogram into the other; both in steps of
// the scale.
func (d *descriptor) distance(o *descriptor) float64 {
	cells, shift := 0, 0
	for i, v := range d.thumb {
		cells += abs(int(v) - int(o.thumb[i]))
	}
	for i, v := range d.below {
		shift += abs(int(v) - int(o.below[i]))
	}
	return float64(cells)/(thumbW*thumbH) + float64(shift)/255*(256/bins)
}

func abs(v int) int {
	if v < 0 {
		return -v
	}
	return v
}
