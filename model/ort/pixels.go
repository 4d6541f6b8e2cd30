package ort

import (
	"unsafe"

	"nightseg/model"
)

// normaliser turns RGB bytes into normalised channel planes.
type normaliser struct{ r, g, b [256]float32 }

func newNormaliser(n model.Normalise) *normaliser {
	t := new(normaliser)
	for c, table := range []*[256]float32{&t.r, &t.g, &t.b} {
		for v := range table {
			table[v] = float32((float64(v)/255 - n.Mean[c]) / n.Std[c])
		}
	}
	return t
}

// planes writes the three planes of dst (len 3*n) from n packed RGB pixels.
func (t *normaliser) planes(dst []float32, pix []byte) {
	n := len(dst) / 3
	pix = pix[:3*n]
	r, g, b := dst[:n], dst[n:2*n], dst[2*n:3*n]
	g, b = g[:len(r)], b[:len(r)] // lets the compiler drop the bounds checks
	i := 0
	for ; i+4 <= len(r); i += 4 { // 12 bytes at a time
		p := (*[12]byte)(pix[3*i:])
		dr, dg, db := (*[4]float32)(r[i:]), (*[4]float32)(g[i:]), (*[4]float32)(b[i:])
		dr[0], dg[0], db[0] = t.r[p[0]], t.g[p[1]], t.b[p[2]]
		dr[1], dg[1], db[1] = t.r[p[3]], t.g[p[4]], t.b[p[5]]
		dr[2], dg[2], db[2] = t.r[p[6]], t.g[p[7]], t.b[p[8]]
		dr[3], dg[3], db[3] = t.r[p[9]], t.g[p[10]], t.b[p[11]]
	}
	for ; i < len(r); i++ {
		r[i], g[i], b[i] = t.r[pix[3*i]], t.g[pix[3*i+1]], t.b[pix[3*i+2]]
	}
}

// picture is the inverse of planes for any value: RGB bytes, rounded and clipped.
func picture(dst []byte, planes []float32, n model.Normalise) {
	size := len(planes) / 3
	for c := range 3 {
		scale, shift := float32(255*n.Std[c]), float32(255*n.Mean[c]+0.5)
		for i, v := range planes[c*size:][:size] {
			dst[3*i+c] = uint8(min(max(v*scale+shift, 0), 255))
		}
	}
}

// finite reports whether no value is NaN or infinite. The exponent of such a
// value has all bits set; adding one to it carries into the sign bit.
func finite(v []float32) bool {
	const exponent, one = 0x7f800000, 0x00800000
	if len(v) == 0 {
		return true
	}
	bits := unsafe.Slice((*uint32)(unsafe.Pointer(&v[0])), len(v))
	var a, b, c, d uint32
	for len(bits) >= 4 {
		q := (*[4]uint32)(bits)
		a |= q[0]&exponent + one
		b |= q[1]&exponent + one
		c |= q[2]&exponent + one
		d |= q[3]&exponent + one
		bits = bits[4:]
	}
	for _, x := range bits {
		a |= x&exponent + one
	}
	return (a|b|c|d)>>31 == 0
}
