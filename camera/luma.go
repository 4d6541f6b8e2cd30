package camera

import "nightseg/edge/frame"

// lumaStep is the distance of the pixels that are looked at, along rows and
// columns: a sixteenth of the picture says the mean to a fraction of a level at
// a sixteenth of the cost.
const lumaStep = 4

// meanLuma returns the mean Rec.709 luma of every fourth pixel of every fourth
// row of the valid part, 0..255. It depends on nothing but the bytes.
func meanLuma(f *frame.Frame) float32 {
	v := f.Valid
	var r, g, b, n uint64
	// Starting in the middle of a step keeps the sample centred, and a valid part
	// smaller than a step from being missed.
	x0 := min(v.X0+lumaStep/2, v.X1-1)
	for y := min(v.Y0+lumaStep/2, v.Y1-1); y < v.Y1; y += lumaStep {
		row := f.Pix[3*(y*f.W+x0) : 3*(y*f.W+v.X1)]
		for i := 0; i+2 < len(row); i += 3 * lumaStep {
			r += uint64(row[i])
			g += uint64(row[i+1])
			b += uint64(row[i+2])
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return float32(float64(2126*r+7152*g+722*b) / float64(10000*n))
}
