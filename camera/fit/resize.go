package fit

import "encoding/binary"

// resize brings the crop of the turned picture src into the inner rectangle of
// dst: first along the rows, into a buffer, then along the columns.
func (f *Fitter) resize(dst, src []byte) {
	p := &f.plan
	stride, w, h := 3*p.ow, 3*f.columns.out, f.columns.in
	from := src[p.crop.Y0*stride+3*p.crop.X0:]
	if !f.columns.copies {
		n := f.rows.in
		f.between = grow(f.between, n*w)
		f.pair = grow(f.pair, 3*h)
		for y := 0; y < n; y += 2 {
			z := min(y+1, n-1) // of an odd number of rows, the last comes twice
			join(f.pair, from[y*stride:][:3*h], from[z*stride:][:3*h])
			f.columns.along(f.between[y*w:][:w], f.between[z*w:][:w], f.pair)
		}
		from, stride = f.between, w
	}
	out, to := 3*p.outW, dst[3*(p.inner.Y0*p.outW+p.inner.X0):]
	for y := range f.rows.out {
		row := to[y*out:][:w]
		first, n := int(f.rows.first[y]), int(f.rows.count[y])
		if f.rows.copies || f.rows.plain || n == 1 {
			copy(row, from[first*stride:][:w])
			continue
		}
		f.rows.across(row, from[first*stride:], stride, f.rows.weight[y*f.rows.taps:][:n])
	}
}

// Sums of two bytes travel in the halves of one 64-bit word: a half holds an
// 8-bit value times a coefficient, and the sum of them, without carrying into the
// other half. That takes a third of the instructions of sums on their own.
const (
	lanes     = 0x000000ff_000000ff // the lowest byte of each half
	halfLanes = half<<32 | half
)

// join puts two rows into the halves of one.
func join(dst []uint64, upper, lower []byte) {
	upper, lower = upper[:len(dst)], lower[:len(dst)]
	for i := range dst {
		dst[i] = uint64(upper[i]) | uint64(lower[i])<<32
	}
}

// along makes two rows of pixels out of two of the source's, which are joined.
func (t *table) along(upper, lower []byte, src []uint64) {
	for x, first := range t.first {
		n := int(t.count[x])
		in := src[3*first:][:3*n]
		weights := t.weight[x*t.taps:][:n]
		r, g, b := uint64(halfLanes), uint64(halfLanes), uint64(halfLanes)
		for len(in) >= 6 && len(weights) >= 2 { // two at a time: half of the loop's own work
			k, l := uint64(weights[0]), uint64(weights[1])
			r += in[0]*k + in[3]*l
			g += in[1]*k + in[4]*l
			b += in[2]*k + in[5]*l
			in, weights = in[6:], weights[2:]
		}
		if len(in) >= 3 && len(weights) > 0 {
			k := uint64(weights[0])
			r += in[0] * k
			g += in[1] * k
			b += in[2] * k
		}
		p, q := upper[3*x:][:3], lower[3*x:][:3]
		p[0], p[1], p[2] = byte(r>>precision), byte(g>>precision), byte(b>>precision)
		q[0], q[1], q[2] = byte(r>>(precision+32)), byte(g>>(precision+32)), byte(b>>(precision+32))
	}
}

// across makes one row out of len(weights) rows of the source, eight bytes at a
// time.
func (t *table) across(dst, src []byte, stride int, weights []uint32) {
	i := 0
	switch len(weights) {
	case 2:
		k, l := uint64(weights[0]), uint64(weights[1])
		one, two := src[:len(dst)], src[stride:][:len(dst)]
		for ; i+8 <= len(dst); i += 8 {
			p, q := binary.LittleEndian.Uint64(one[i:]), binary.LittleEndian.Uint64(two[i:])
			binary.LittleEndian.PutUint64(dst[i:], merge(
				halfLanes+(p&lanes)*k+(q&lanes)*l,
				halfLanes+(p>>8&lanes)*k+(q>>8&lanes)*l,
				halfLanes+(p>>16&lanes)*k+(q>>16&lanes)*l,
				halfLanes+(p>>24&lanes)*k+(q>>24&lanes)*l))
		}
	default:
		for ; i+8 <= len(dst); i += 8 {
			a, b, c, d := uint64(halfLanes), uint64(halfLanes), uint64(halfLanes), uint64(halfLanes)
			at := i
			for _, w := range weights {
				p, k := binary.LittleEndian.Uint64(src[at:]), uint64(w)
				a += (p & lanes) * k
				b += (p >> 8 & lanes) * k
				c += (p >> 16 & lanes) * k
				d += (p >> 24 & lanes) * k
				at += stride
			}
			binary.LittleEndian.PutUint64(dst[i:], merge(a, b, c, d))
		}
	}
	for ; i < len(dst); i++ {
		sum, at := uint64(half), i
		for _, k := range weights {
			sum += uint64(src[at]) * uint64(k)
			at += stride
		}
		dst[i] = byte(sum >> precision)
	}
}

// merge takes the fractions off four pairs of sums: of the bytes 0 and 4, 1 and 5
// and so on of the result.
func merge(a, b, c, d uint64) uint64 {
	return a>>precision&lanes | b>>precision&lanes<<8 | c>>precision&lanes<<16 | d>>precision&lanes<<24
}
