package model

// Normaliser turns pictures into the values that networks take.
type Normaliser struct {
	mul, add [3]float32
	table    [3][256]float32 // of each value by channel
}

// NewNormaliser makes one for a bundle's normalisation.
func NewNormaliser(n Normalise) *Normaliser {
	t := new(Normaliser)
	for c := range t.table {
		t.mul[c], t.add[c] = float32(1/(255*n.Std[c])), float32(-n.Mean[c]/n.Std[c])
		for v := range t.table[c] {
			// Rounded before the sum on all processors, as planesAVX2 does.
			t.table[c][v] = float32(float32(v)*t.mul[c]) + t.add[c]
		}
	}
	return t
}

// Planes writes the three planes of dst, 3 x n values, from n packed RGB pixels.
func (t *Normaliser) Planes(dst []float32, pix []byte) {
	n := len(dst) / 3
	pix = pix[:3*n]
	r, g, b := dst[:n], dst[n:2*n], dst[2*n:3*n]
	for i := t.fastPlanes(dst, pix); i < n; i++ {
		r[i], g[i], b[i] = t.table[0][pix[3*i]], t.table[1][pix[3*i+1]], t.table[2][pix[3*i+2]]
	}
}

// Pixels writes dst, 3 x n values, from n packed RGB pixels, packed likewise.
func (t *Normaliser) Pixels(dst []float32, pix []byte) {
	pix = pix[:len(dst)]
	for i := 0; i+3 <= len(dst); i += 3 {
		dst[i], dst[i+1], dst[i+2] = t.table[0][pix[i]], t.table[1][pix[i+1]], t.table[2][pix[i+2]]
	}
}
