package decide

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"nightseg/edge/frame"
)

// randomSides returns a number of grid points and of pixels: strides as networks
// have them, with and without a rest, single rows, and sizes that shrink.
func randomSides(r *rand.Rand) (in, out int) {
	in = 1 + r.IntN(14)
	if r.IntN(5) == 0 {
		in = 1
	}
	stride := []int{4, 8, 16, 8}[r.IntN(4)]
	switch r.IntN(4) {
	case 0: // no multiple
		out = max(in*stride-r.IntN(stride), 1)
	case 1:
		out = 1 + r.IntN(in*20)
	default:
		out = in * stride
	}
	return in, out
}

func randomSettings(t *testing.T, r *rand.Rand, c int) Settings {
	s := Settings{AlignCorners: r.IntN(2) == 0, Temperature: []float64{0, 1, 0.5, 2.3}[r.IntN(4)]}
	if r.IntN(2) == 0 {
		s.Mode = Logit
	}
	if r.IntN(4) > 0 {
		s.Shares = randomShares(r, c)
		limit, err := MaxStd(s.Shares)
		if err != nil {
			t.Fatal(err)
		}
		s.Std = 0.95 * limit * r.Float64()
	}
	switch r.IntN(3) {
	case 0:
		s.Threshold = r.Float64()
	case 1:
		s.Threshold = []float64{0.3, 0.5, 0.9, 0.99, 1}[r.IntN(5)]
	}
	return s
}

// The mask is what "resize the maps of all classes, then take the best" gives,
// for any logits, sizes and settings. One decider does it all, so that what one
// frame leaves in its buffers would show in the next.
func TestEqualsThePlainWay(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 8
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := rand.New(rand.NewPCG(11, uint64(len(kind))))
			d, err := New(Settings{})
			if err != nil {
				t.Fatal(err)
			}
			for range rounds {
				var l frame.Logits
				l.C = 2 + r.IntN(18)
				l.W, l.OutW = randomSides(r)
				l.H, l.OutH = randomSides(r)
				scene(r, &l, kind)
				if err := d.Apply(randomSettings(t, r, l.C)); err != nil {
					t.Fatal(err)
				}
				compare(t, d, &l)
			}
		})
	}
}

// A street at the sizes at which bundles run: stride 8 and 4, and the grid of a
// network whose corner points lie on the corner pixels.
func TestStreetAtFullSize(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for name, grid := range map[string]struct {
		h, w  int
		align bool
		mode  Mode
	}{
		"stride 8": {60, 80, false, Probability}, "stride 4": {120, 160, false, Probability},
		"corner points": {61, 81, true, Logit},
	} {
		for _, c := range []int{11, 19} {
			for _, threshold := range []float64{0, 0.6} {
				t.Run(fmt.Sprintf("%s/%d/%v", name, c, threshold), func(t *testing.T) {
					d, err := New(Settings{
						Mode: grid.mode, Std: 0.1, Shares: randomShares(r, c), Threshold: threshold, AlignCorners: grid.align,
					})
					if err != nil {
						t.Fatal(err)
					}
					l := frame.Logits{C: c, H: grid.h, W: grid.w, OutH: 480, OutW: 640}
					scene(r, &l, "street")
					compare(t, d, &l)
				})
			}
		}
	}
}

// The engines refuse values that are not finite. Should one come through, a frame
// may be wrong, but the service lives.
func TestValuesThatAreNotFinite(t *testing.T) {
	inf := float32(math.Inf(1))
	values := []float32{
		inf, -inf, float32(math.NaN()), math.MaxFloat32, -math.MaxFloat32, 0, 5, 1e-40,
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 3000 {
		var l frame.Logits
		l.C = 2 + r.IntN(5)
		l.W, l.OutW = randomSides(r)
		l.H, l.OutH = randomSides(r)
		l.Reset(l.C, l.H, l.W)
		few := 1 + r.IntN(len(values))
		for i := range l.Data {
			l.Data[i] = values[r.IntN(few)]
		}
		s := randomSettings(t, r, l.C)
		decideAny(t, s, &l)
	}
}

// Two classes that are infinite at two grid points each have an infinite mean.
func TestInfiniteMean(t *testing.T) {
	inf := float32(math.Inf(1))
	l := frame.Logits{C: 2, H: 2, W: 2, OutH: 16, OutW: 16, Data: []float32{inf, 0, 0, inf, 0, inf, inf, 0}}
	for _, threshold := range []float64{0, 0.9} {
		decideAny(t, Settings{Threshold: threshold}, &l)
	}
}

// decideAny checks no more than that a mask comes out.
func decideAny(t *testing.T, s Settings, l *frame.Logits) {
	t.Helper()
	d, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	var m frame.Mask
	if err := d.Decide(&m, l); err != nil {
		t.Fatal(err)
	}
	for i, k := range m.Class {
		if int(k) >= l.C && (k != frame.Unknown || s.Threshold == 0) {
			t.Fatalf("pixel %d has class %d of %d, %+v", i, k, l.C, s)
		}
	}
}

// FuzzDecide feeds bytes as sizes, settings and logits of any kind. The mask must be
// the plain way's, unless values are out of the range in which float32 can compute.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{3, 4, 5, 32, 40, 1, 100, 0, 0, 128, 63, 0, 0, 128, 127})
	f.Add([]byte{19, 1, 9, 8, 70, 2, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 8 {
			return
		}
		l := frame.Logits{OutH: 1 + int(b[3]), OutW: 1 + int(b[4])}
		l.Reset(1+int(b[0])%20, 1+int(b[1])%24, 1+int(b[2])%24)
		s := Settings{AlignCorners: b[5]&1 != 0, Threshold: float64(b[6]) / 255, Mode: Probability}
		if b[5]&2 != 0 {
			s.Mode = Logit
		}
		b = b[7:]
		usual := true
		for i := range l.Data {
			var word [4]byte
			copy(word[:], b[4*i%len(b):])
			l.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(word[:]))
			usual = usual && math.Abs(float64(l.Data[i])) < 1e30
		}
		decideAny(t, s, &l)
		if d, err := New(s); usual && err == nil {
			compare(t, d, &l)
		}
	})
}
