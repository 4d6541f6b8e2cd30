package ort

import (
	"math"
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
// value has all bits set; adding one to it carries into the sign bit, which was
// cleared, and no further: two values go through one word side by side.
func finite(v []float32) bool {
	const exponent, one, sign = 0x7f800000_7f800000, 0x00800000_00800000, 0x80000000_80000000
	var a, b, c, d uint64
	if len(v) > 1 {
		pairs := unsafe.Slice((*uint64)(unsafe.Pointer(&v[0])), len(v)/2)
		for len(pairs) >= 4 {
			q := (*[4]uint64)(pairs)
			a |= q[0]&exponent + one
			b |= q[1]&exponent + one
			c |= q[2]&exponent + one
			d |= q[3]&exponent + one
			pairs = pairs[4:]
		}
		for _, x := range pairs {
			a |= x&exponent + one
		}
	}
	if len(v)%2 == 1 {
		b |= uint64(math.Float32bits(v[len(v)-1]))&exponent + one
	}
	return (a|b|c|d)&sign == 0
}
