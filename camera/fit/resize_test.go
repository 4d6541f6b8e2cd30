package fit

import (
	"math/rand/v2"
	"testing"

	"nightseg/edge/frame"
)

// plainly resizes with one sum per byte: what the sums of several bytes at a time
// must equal, for any size and remainder.
func plainly(f *Fitter, src []byte) []byte {
	w, h := f.columns.in, f.rows.in
	between := make([]byte, 3*f.columns.out*h)
	for y := range h {
		for i := range 3 * f.columns.out {
			x, c := i/3, i%3
			sum := uint64(half)
			for j := range int(f.columns.count[x]) {
				at := 3*(y*w+int(f.columns.first[x])+j) + c
				sum += uint64(src[at]) * uint64(f.columns.weight[x*f.columns.taps+j])
			}
			between[y*3*f.columns.out+i] = byte(min(sum>>precision, 255))
		}
	}
	dst := make([]byte, 3*f.columns.out*f.rows.out)
	for y := range f.rows.out {
		for i := range 3 * f.columns.out {
			sum := uint64(half)
			for j := range int(f.rows.count[y]) {
				at := (int(f.rows.first[y])+j)*3*f.columns.out + i
				sum += uint64(between[at]) * uint64(f.rows.weight[y*f.rows.taps+j])
			}
			dst[y*3*f.columns.out+i] = byte(min(sum>>precision, 255))
		}
	}
	return dst
}

func TestManyBytesAtATimeEqualOneByOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 300 {
		src := &frame.Frame{}
		src.Reset(1+rng.IntN(70), 1+rng.IntN(70))
		for i := range src.Pix {
			src.Pix[i] = byte(rng.Uint32())
			if n%3 == 0 { // sums at their upper end
				src.Pix[i] |= 0xfe
			}
		}
		f, err := New(Settings{W: 1 + rng.IntN(60), H: 1 + rng.IntN(60), Antialias: n%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		var got frame.Frame
		if err := f.Fit(&got, src); err != nil {
			t.Fatal(err)
		}
		for i, want := range plainly(f, src.Pix) {
			if got.Pix[i] != want {
				t.Fatalf("%dx%d to %dx%d: byte %d = %d, want %d", src.W, src.H, got.W, got.H, i, got.Pix[i], want)
			}
		}
	}
}
