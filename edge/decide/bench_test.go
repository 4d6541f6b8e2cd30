package decide

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"nightseg/edge/frame"
)

func BenchmarkDecide11(b *testing.B) { benchmark(b, 11) }
func BenchmarkDecide19(b *testing.B) { benchmark(b, 19) }

// benchmark decides 480x640 pixels, and gives the 99th percentile of the time per
// frame beside the mean. Noise has a class border in every cell.
func benchmark(b *testing.B, classes int) {
	for _, c := range []struct {
		stride    int
		kind      string
		threshold float64
	}{
		{8, "street", 0},
		{8, "street", 0.5},
		{8, "noise", 0},
		{8, "noise", 0.5},
		{4, "street", 0},
		{4, "street", 0.5},
		{4, "noise", 0},
		{4, "noise", 0.5},
	} {
		b.Run(fmt.Sprintf("stride=%d/%s/threshold=%v", c.stride, c.kind, c.threshold), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			l := frame.Logits{C: classes, H: 480 / c.stride, W: 640 / c.stride, OutH: 480, OutW: 640}
			scene(r, &l, c.kind)
			d, err := New(Settings{Shares: randomShares(r, classes), Std: 0.05, Threshold: c.threshold})
			if err != nil {
				b.Fatal(err)
			}
			var m frame.Mask
			if err := d.Decide(&m, &l); err != nil { // makes the buffers
				b.Fatal(err)
			}
			times := make([]time.Duration, 0, 1<<16)
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if err := d.Decide(&m, &l); err != nil {
					b.Fatal(err)
				}
				if len(times) < cap(times) {
					times = append(times, time.Since(start))
				}
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds()), "p99-ns/op")
		})
	}
}

// BenchmarkPlain is the plain way in float32, for comparison.
func BenchmarkPlain(b *testing.B) {
	for _, c := range []int{11, 19} {
		b.Run(fmt.Sprint(c), func(b *testing.B) {
			l := frame.Logits{C: c, H: 60, W: 80, OutH: 480, OutW: 640}
			scene(rand.New(rand.NewPCG(1, 1)), &l, "street")
			mask, best := make([]uint8, l.OutW*l.OutH), make([]float32, l.OutW*l.OutH)
			for b.Loop() {
				resizeAll(mask, best, &l)
			}
		})
	}
}

// resizeAll is resize, then arg-max, with the tables outside of the loops.
func resizeAll(mask []uint8, best []float32, l *frame.Logits) {
	type tap struct {
		a, b int
		f    float32
	}
	taps := func(in, out int) []tap {
		ts := make([]tap, out)
		for i := range ts {
			a, b, f := source(i, in, out, false)
			ts[i] = tap{a, b, float32(f)}
		}
		return ts
	}
	xs, ys := taps(l.W, l.OutW), taps(l.H, l.OutH)
	for k := range l.C {
		for y, ty := range ys {
			top := l.Data[(k*l.H+ty.a)*l.W:][:l.W]
			bottom := l.Data[(k*l.H+ty.b)*l.W:][:l.W]
			for x, tx := range xs {
				u := top[tx.a] + (top[tx.b]-top[tx.a])*tx.f
				v := bottom[tx.a] + (bottom[tx.b]-bottom[tx.a])*tx.f
				if v = u + (v-u)*ty.f; k == 0 || v > best[y*l.OutW+x] {
					best[y*l.OutW+x], mask[y*l.OutW+x] = v, uint8(k)
				}
			}
		}
	}
}
