package model

import "golang.org/x/sys/cpu"

// wide tells whether the processor takes eight values at a time.
var wide = cpu.X86.HasAVX2

// planesAVX2 writes the first n pixels of three planes, n a multiple of 8. plane is
// the distance between planes in dst, in values.
//
//go:noescape
func planesAVX2(dst *float32, pix *uint8, plane, n int, mul, add *[3]float32)

// fastPlanes does as many pixels as it can, and returns how many.
func (t *Normaliser) fastPlanes(dst []float32, pix []byte) int {
	n := len(dst) / 3
	fast := n &^ 7
	if !wide || fast == 0 {
		return 0
	}
	planesAVX2(&dst[0], &pix[0], n, fast, &t.mul, &t.add)
	return fast
}
