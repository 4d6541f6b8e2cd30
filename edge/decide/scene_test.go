package decide

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"nightseg/edge/frame"
)

// kinds of made-up logits: what a network gives, and what could break the kernel.
var kinds = []string{
	"street", "smooth", "noise", "constant", "equal", "huge", "whole numbers", "last bits", "spikes",
}

// scene fills l, whose sizes are set, with logits of a kind.
func scene(r *rand.Rand, l *frame.Logits, kind string) {
	l.Reset(l.C, l.H, l.W)
	n := l.H * l.W
	switch kind {
	case "street":
		street(r, l)
		return
	case "smooth":
		for k := range l.C {
			waves(r, l.Data[k*n:][:n], l.W, 5)
		}
		return
	}
	for k := range l.C {
		plane := l.Data[k*n:][:n]
		own := float32(r.NormFloat64())
		for i := range plane {
			switch kind {
			case "noise":
				plane[i] = float32(4 * r.NormFloat64())
			case "constant":
				plane[i] = own
			case "equal":
				plane[i] = 0.7
			case "huge":
				plane[i] = float32(1e30 * r.NormFloat64())
			case "whole numbers": // ties everywhere
				plane[i] = float32(r.IntN(3))
			case "last bits": // classes that differ by rounding only
				plane[i] = math.Float32frombits(math.Float32bits(12.3) + r.Uint32N(3))
			case "spikes":
				plane[i] = own
				if r.IntN(12) == 0 {
					plane[i] += float32(300 * r.NormFloat64())
				}
			default:
				panic(fmt.Sprintf("no kind of logits %q", kind))
			}
		}
	}
}

// waves fills a plane with a sum of a few waves.
func waves(r *rand.Rand, plane []float32, w int, height float64) {
	type wave struct{ a, x, y, phase float64 }
	var ws [4]wave
	for i := range ws {
		ws[i] = wave{height * r.NormFloat64() / 2, r.NormFloat64() / 4, r.NormFloat64() / 4, 7 * r.Float64()}
	}
	for i := range plane {
		v := 0.0
		for _, s := range ws {
			v += s.a * math.Sin(s.x*float64(i%w)+s.y*float64(i/w)+s.phase)
		}
		plane[i] = float32(v)
	}
}

// street draws sky, buildings, road and boxes of other classes, with soft edges
// and a little unrest: about what a network says of a street.
func street(r *rand.Rand, l *frame.Logits) {
	n := l.H * l.W
	for k := range l.C {
		waves(r, l.Data[k*n:][:n], l.W, 0.7)
	}
	const up = 7
	for y := range l.H {
		for x := range l.W {
			skyline := 0.35 + 0.1*math.Sin(float64(x)/float64(l.W)*9)
			k := 0
			switch v := float64(y) / float64(l.H); {
			case v > 0.6:
				k = min(3, l.C-1)
			case v > skyline:
				k = min(1, l.C-1)
			}
			l.Data[k*n+y*l.W+x] += up
		}
	}
	for range 14 {
		k := r.IntN(l.C)
		w, h := 1+r.IntN(max(l.W/6, 1)), 1+r.IntN(max(l.H/5, 1))
		x0, y0 := r.IntN(l.W), r.IntN(l.H)
		for y := y0; y < min(y0+h, l.H); y++ {
			for x := x0; x < min(x0+w, l.W); x++ {
				l.Data[k*n+y*l.W+x] += up + 2
			}
		}
	}
}

// randomShares returns shares of c classes that sum to 1.
func randomShares(r *rand.Rand, c int) []float64 {
	shares, sum := make([]float64, c), 0.0
	for k := range shares {
		shares[k] = math.Exp(2 * r.NormFloat64())
		sum += shares[k]
	}
	for k := range shares {
		shares[k] /= sum
	}
	return shares
}

// plain is the plain way to decide, in float64 and pixel by pixel: weigh the
// logits, resize the maps of all classes, and take the best.
type plain struct {
	s Settings
	l *frame.Logits
	v []float64 // the re-weighted logits
	z []float64 // of the pixel at hand
}

func newPlain(t testing.TB, s Settings, l *frame.Logits) *plain {
	t.Helper()
	p := &plain{s: s, l: l, z: make([]float64, l.C)}
	if p.s.Temperature == 0 {
		p.s.Temperature = 1
	}
	var w []float64
	if len(s.Shares) > 0 {
		var err error
		if w, err = Weights(s.Shares, s.Std); err != nil {
			t.Fatal(err)
		}
	}
	p.v = make([]float64, len(l.Data))
	for i, v := range l.Data {
		z := float64(v) / p.s.Temperature
		switch {
		case w == nil:
		case s.Mode == Logit:
			z *= w[i/(l.H*l.W)]
		default:
			z += math.Log(w[i/(l.H*l.W)])
		}
		p.v[i] = z
	}
	return p
}

// weighted is the re-weighted logit of class k at a grid point.
func (p *plain) weighted(k, y, x int) float64 { return p.v[(k*p.l.H+y)*p.l.W+x] }

// source returns the position of pixel i of out on a side of in grid points, as
// torch.nn.functional.interpolate has it.
func source(i, in, out int, align bool) (a, b int, f float64) {
	var pos float64
	switch {
	case !align:
		pos = max((float64(i)+0.5)*float64(in)/float64(out)-0.5, 0)
	case out > 1:
		pos = float64(i) * float64(in-1) / float64(out-1)
	}
	a = min(int(pos), in-1)
	return a, min(a+1, in-1), pos - float64(a)
}

// pixel leaves the resized logits of a pixel in p.z; scale is the largest
// magnitude around it, to which rounding is relative: a pixel on a grid point may be
// taken for the end of the cell before it.
func (p *plain) pixel(x, y int) (scale float64) {
	xa, xb, fx := source(x, p.l.W, p.l.OutW, p.s.AlignCorners)
	ya, yb, fy := source(y, p.l.H, p.l.OutH, p.s.AlignCorners)
	for k := range p.z {
		top := (1-fx)*p.weighted(k, ya, xa) + fx*p.weighted(k, ya, xb)
		bottom := (1-fx)*p.weighted(k, yb, xa) + fx*p.weighted(k, yb, xb)
		p.z[k] = (1-fy)*top + fy*bottom
		for v := max(ya-1, 0); v <= yb; v++ {
			for u := max(xa-1, 0); u <= xb; u++ {
				scale = max(scale, math.Abs(p.weighted(k, v, u)))
			}
		}
	}
	return scale
}

// complaint says what is wrong with class got of a pixel, "" if nothing is.
func (p *plain) complaint(x, y int, got uint8) string {
	const rounding = 5e-6 // of float32 arithmetic over a cell, relative
	tolerance := rounding*p.pixel(x, y) + 1e-30
	best := 0
	for k, v := range p.z {
		if v > p.z[best] {
			best = k
		}
	}
	sum := 0.0
	for _, v := range p.z {
		sum += math.Exp(v - p.z[best])
	}
	lead := -math.Log(sum) - math.Log(p.s.Threshold) // in nats; above 0 passes
	switch {
	case got == frame.Unknown && p.s.Threshold > 0 && lead <= 2*tolerance+1e-9:
		return ""
	case got == frame.Unknown:
		return fmt.Sprintf("unknown, but class %d has probability %g", best, 1/sum)
	case int(got) >= p.l.C:
		return fmt.Sprintf("class %d of %d", got, p.l.C)
	case p.z[best]-p.z[got] > tolerance:
		return fmt.Sprintf("class %d with %g, but class %d has %g", got, p.z[got], best, p.z[best])
	case p.s.Threshold > 0 && lead < -2*tolerance-1e-9:
		return fmt.Sprintf("class %d, but its probability is %g", got, 1/sum)
	}
	return ""
}

// compare decides l and complains about the first pixel that differs from the
// plain way by more than rounding.
func compare(t testing.TB, d *Decider, l *frame.Logits) {
	t.Helper()
	var m frame.Mask
	if err := d.Decide(&m, l); err != nil {
		t.Fatal(err)
	}
	if m.W != l.OutW || m.H != l.OutH || len(m.Class) != m.W*m.H {
		t.Fatalf("a mask of %dx%d for %dx%d pixels", m.W, m.H, l.OutW, l.OutH)
	}
	p := newPlain(t, d.Settings(), l)
	for i, k := range m.Class {
		if c := p.complaint(i%m.W, i/m.W, k); c != "" {
			t.Fatalf("pixel (%d, %d): %s\n%dx%d classes %d -> %dx%d, %+v",
				i%m.W, i/m.W, c, l.W, l.H, l.C, m.W, m.H, d.Settings())
		}
	}
}
