package decide_test

import (
	"testing"

	"nightseg/edge/decide"
	"nightseg/edge/frame"
	"nightseg/model"
)

const street = "../../model/bundles/street-11"

// night returns what the shipped network says of its golden night picture.
func night(t testing.TB) (*model.Bundle, *frame.Logits, []uint8) {
	t.Helper()
	b, err := model.Open(street)
	if err != nil {
		t.Fatal(err)
	}
	l, mask, err := b.GoldenOutput(model.FP32)
	if err != nil {
		t.Fatal(err)
	}
	return b, l, mask
}

// The golden mask comes from the trainer, which resizes with PyTorch; the plain
// form in package model is a second opinion.
func TestGoldenLogits(t *testing.T) {
	b, l, want := night(t)
	d, err := decide.New(decide.Settings{AlignCorners: b.AlignCorners})
	if err != nil {
		t.Fatal(err)
	}
	var m frame.Mask
	if err := d.Decide(&m, l); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string][]uint8{
		"the golden mask": want, "the plain form": model.FullSizeArgMax(l, b.AlignCorners),
	} {
		// Rounding may move a tie: a few pixels of hundreds of thousands.
		if a := model.Agreement(m.Class, other); a < 0.9999 {
			t.Errorf("%.4f %% of the pixels are those of %s", 100*a, name)
		}
	}
}

// With weights and threshold, all pixels that are known are as without the
// threshold, and a higher threshold only takes pixels away.
func TestGoldenLogitsWithThreshold(t *testing.T) {
	b, l, _ := night(t)
	s := decide.Settings{AlignCorners: b.AlignCorners, Shares: b.ClassShares, Std: 0.1, Temperature: b.Temperature}
	d, err := decide.New(s)
	if err != nil {
		t.Fatal(err)
	}
	var before, m frame.Mask
	if err := d.Decide(&before, l); err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, threshold := range []float64{0.3, 0.5, 0.7, 0.9} {
		s.Threshold = threshold
		if err := d.Apply(s); err != nil {
			t.Fatal(err)
		}
		if err := d.Decide(&m, l); err != nil {
			t.Fatal(err)
		}
		unknown, other := 0, 0
		for i, k := range m.Class {
			switch {
			case k == frame.Unknown:
				unknown++
			case k != before.Class[i]:
				other++
			}
		}
		if other > len(m.Class)/10000 {
			t.Errorf("threshold %v: %d known pixels changed their class", threshold, other)
		}
		if unknown < last {
			t.Errorf("threshold %v: %d unknown pixels, fewer than %d at a lower one", threshold, unknown, last)
		}
		last = unknown
	}
	if last == 0 || last == len(m.Class) {
		t.Errorf("threshold 0.9: %d of %d pixels are unknown", last, len(m.Class))
	}
}

// BenchmarkDecideNight decides the golden night picture of the shipped bundle.
func BenchmarkDecideNight(b *testing.B) {
	bundle, l, _ := night(b)
	for _, c := range []struct {
		name      string
		std       float64
		threshold float64
	}{{"plain", 0, 0}, {"weighted", 0.1, 0}, {"threshold", 0.1, 0.5}} {
		b.Run(c.name, func(b *testing.B) {
			d, err := decide.New(decide.Settings{
				AlignCorners: bundle.AlignCorners, Shares: bundle.ClassShares, Std: c.std, Threshold: c.threshold,
			})
			if err != nil {
				b.Fatal(err)
			}
			var m frame.Mask
			if err := d.Decide(&m, l); err != nil { // makes the buffers
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decide(&m, l); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
