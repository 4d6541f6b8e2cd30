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
		for y := range n {
			f.columns.along(f.between[y*w:][:w], from[y*stride:][:3*h])
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

// along makes one row of len(dst)/3 pixels out of one of the source's.
func (t *table) along(dst, src []byte) {
	for x, first := range t.first {
		n := int(t.count[x])
		in := src[3*first:]
		out := dst[3*x:][:3]
		if n == 1 {
			in = in[:3]
			out[0], out[1], out[2] = in[0], in[1], in[2]
			continue
		}
		rb, g := uint64(halfLanes), uint64(half)
		for _, k := range t.weight[x*t.taps:][:n] {
			var p uint64
			if len(in) >= 4 {
				p = uint64(binary.LittleEndian.Uint32(in))
			} else { // the last pixel of the row
				p = uint64(in[0]) | uint64(in[1])<<8 | uint64(in[2])<<16
			}
			rb += (p&0xff | (p&0xff0000)<<16) * uint64(k)
			g += (p >> 8 & 0xff) * uint64(k)
			in = in[3:]
		}
		out[0], out[1], out[2] = byte(rb>>precision), byte(g>>precision), byte(rb>>(precision+32))
	}
}

// across makes one row out of len(weights) rows of the source, eight bytes at a
// time.
func (t *table) across(dst, src []byte, stride int, weights []uint32) {
	i := 0
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
		binary.LittleEndian.PutUint64(dst[i:],
			(a>>precision&lanes)|(b>>precision&lanes)<<8|(c>>precision&lanes)<<16|(d>>precision&lanes)<<24)
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
