package observe

import "math"

// Range is from where to where values of a tensor are to be told apart.
type Range struct {
	Min float32 `json:"min"`
	Max float32 `json:"max"`
}

// Params are scale and zero point: the byte q stands for (q - Zero) * Scale.
type Params struct {
	Scale float32
	Zero  uint8
}

// Uint8 returns scale and zero point of a range, which is widened to hold 0, so
// that 0 is exact: padding and the lower end of a Relu are. A range that is 0
// alone has the scale 1. The arithmetic is that of onnxruntime's quantiser.
func (r Range) Uint8() Params {
	lo, hi := min(r.Min, 0), max(r.Max, 0)
	scale := float64(hi-lo) / 255
	if math.IsInf(scale, 0) { // the difference is beyond float32
		scale = (float64(hi) - float64(lo)) / 255
	}
	if scale < smallestNormal {
		return Params{Scale: 1}
	}
	return Params{Scale: float32(scale), Zero: uint8(math.RoundToEven(-float64(lo) / scale))}
}

const smallestNormal = 0x1p-126 // of float32

// Quantise returns the byte for a value as QuantizeLinear of ONNX does: ties go
// to the even number, and what lies outside becomes the nearest end.
func (p Params) Quantise(v float32) uint8 {
	q := math.RoundToEven(float64(v/p.Scale)) + float64(p.Zero)
	return uint8(min(max(q, 0), 255))
}

// Value returns what a byte stands for.
func (p Params) Value(q uint8) float32 { return float32(int(q)-int(p.Zero)) * p.Scale }
