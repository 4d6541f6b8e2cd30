package fit

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

// along makes one row of len(dst)/3 pixels out of one of the source's.
func (t *table) along(dst, src []byte) {
	for x, first := range t.first {
		n := int(t.count[x])
		in := src[3*first:][:3*n]
		out := dst[3*x:][:3]
		if n == 1 {
			out[0], out[1], out[2] = in[0], in[1], in[2]
			continue
		}
		weights := t.weight[x*t.taps:][:n]
		r, g, b := uint32(half), uint32(half), uint32(half)
		for _, k := range weights {
			if len(in) < 3 {
				break
			}
			r += uint32(in[0]) * k
			g += uint32(in[1]) * k
			b += uint32(in[2]) * k
			in = in[3:]
		}
		out[0], out[1], out[2] = clip(r), clip(g), clip(b)
	}
}

// across makes one row out of len(weights) rows of the source.
func (t *table) across(dst, src []byte, stride int, weights []uint32) {
	switch len(weights) {
	case 2:
		a, b := src[:len(dst)], src[stride:][:len(dst)]
		k0, k1 := weights[0], weights[1]
		for i := range dst {
			dst[i] = clip(half + uint32(a[i])*k0 + uint32(b[i])*k1)
		}
	case 3:
		a, b, c := src[:len(dst)], src[stride:][:len(dst)], src[2*stride:][:len(dst)]
		k0, k1, k2 := weights[0], weights[1], weights[2]
		for i := range dst {
			dst[i] = clip(half + uint32(a[i])*k0 + uint32(b[i])*k1 + uint32(c[i])*k2)
		}
	default:
		for i := range dst {
			sum, at := uint32(half), i
			for _, k := range weights {
				sum += uint32(src[at]) * k
				at += stride
			}
			dst[i] = clip(sum)
		}
	}
}

// clip takes the fraction off. Weights sum up to 1 but for rounding, so that a
// sum may be a hair above 255.
func clip(v uint32) byte { return byte(min(v>>precision, 255)) }
