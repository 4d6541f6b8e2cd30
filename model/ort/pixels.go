package ort

import (
	"unsafe"

	"nightseg/model"
)

// picture is the inverse of model.Normaliser.Planes for any value: RGB bytes, rounded and clipped.
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
