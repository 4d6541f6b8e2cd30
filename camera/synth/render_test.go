package synth_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"runtime"
	"strings"
	"sync"
	"testing"

	"nightseg/camera/synth"
	"nightseg/edge/frame"
)

var allTimes = []string{synth.Day, synth.Dusk, synth.Night}

// small is a drive whose frames are quick to draw.
func small(time string) synth.Params {
	return synth.Params{Seed: 4711, W: 160, H: 120, Time: time, Layout: synth.LayoutAvenue, FPS: 10}
}

func newRenderer(t testing.TB, p synth.Params) *synth.Renderer {
	t.Helper()
	r, err := synth.New(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// draw returns the picture and the labels of a frame.
func draw(t testing.TB, r *synth.Renderer, n int) (pix []byte, labels []uint8) {
	t.Helper()
	var f frame.Frame
	p := r.Params()
	labels = make([]uint8, p.W*p.H)
	if err := r.Render(&f, labels, n); err != nil {
		t.Fatal(err)
	}
	if f.W != p.W || f.H != p.H || len(f.Pix) != 3*p.W*p.H {
		t.Fatalf("frame is %dx%d with %d bytes, want %dx%d", f.W, f.H, len(f.Pix), p.W, p.H)
	}
	return f.Pix, labels
}

// The bytes of a seed are part of what a trained bundle can be reproduced from:
// a change of these hashes is a change of its training data.
var recorded = map[string]string{
	synth.Day:   "2ce08a7c46de14c9de9bcdc73a7f77130e05ff066e29908b4535394d1140c4e5",
	synth.Dusk:  "7d4b307ee0a9d9985e07a2800c4a121c3df93c4a1bfdf5241ca28e473c5ff57a",
	synth.Night: "fcf4841b86ba63da25fcc757f8536e80dc8506a1dd1b36378183e75d081fa8a0",
}

func TestSameSeedSameBytes(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skipf("bytes are recorded on amd64; %s may fuse products and sums while baking", runtime.GOARCH)
	}
	for _, time := range allTimes {
		pix, labels := draw(t, newRenderer(t, small(time)), 17)
		sum := sha256.Sum256(append(pix, labels...))
		if got := hex.EncodeToString(sum[:]); got != recorded[time] {
			t.Errorf("%s: sha256 of picture and labels is %s, recorded %s", time, got, recorded[time])
		}
	}
}

func TestFramesDoNotDependOnOrder(t *testing.T) {
	const frames = 6
	var want [frames][]byte
	r := newRenderer(t, small(synth.Night))
	for n := range frames {
		want[n], _ = draw(t, r, 7*n)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		r := newRenderer(t, small(synth.Night))
		wg.Go(func() {
			for i := range frames {
				n := (frames - 1 - i + g) % frames
				var f frame.Frame
				if err := r.Render(&f, nil, 7*n); err != nil {
					t.Error(err)
				} else if !bytes.Equal(f.Pix, want[n]) {
					t.Errorf("goroutine %d: frame %d differs from the one drawn in order", g, 7*n)
				}
			}
		})
	}
	wg.Wait()
}

func TestSeedsDiffer(t *testing.T) {
	p := small(synth.Day)
	a, _ := draw(t, newRenderer(t, p), 0)
	p.Seed++
	b, _ := draw(t, newRenderer(t, p), 0)
	if bytes.Equal(a, b) {
		t.Error("two seeds gave the same picture")
	}
}

func mean(pix []byte) float64 {
	var sum uint64
	for _, v := range pix {
		sum += uint64(v)
	}
	return float64(sum) / float64(len(pix))
}

func TestTimesOfDayAreAligned(t *testing.T) {
	for _, layout := range []string{synth.LayoutTerrace, synth.LayoutSuburb, synth.LayoutAvenue, synth.LayoutDemo} {
		var light [3]float64
		var first []uint8
		for i, time := range allTimes {
			p := small(time)
			p.Layout = layout
			pix, labels := draw(t, newRenderer(t, p), 40)
			light[i] = mean(pix)
			if first == nil {
				first = labels
			} else if !bytes.Equal(first, labels) {
				t.Errorf("%s: labels by %s differ from those by day", layout, time)
			}
		}
		if !(light[0] > 1.3*light[1] && light[1] > 1.3*light[2]) {
			t.Errorf("%s: mean of the picture by day, dusk and night is %.1f, want each well below the one before",
				layout, light)
		}
	}
}

func TestLabels(t *testing.T) {
	for _, layout := range []string{synth.LayoutTerrace, synth.LayoutSuburb, synth.LayoutAvenue, synth.LayoutDemo} {
		p := synth.Params{Seed: 7001, W: 320, H: 240, Layout: layout, FPS: 1}
		r := newRenderer(t, p)
		var count [256]int
		labels := make([]uint8, p.W*p.H)
		const frames = 40
		for n := range frames {
			if err := r.Labels(labels, n); err != nil {
				t.Fatal(err)
			}
			for _, v := range labels {
				count[v]++
			}
		}
		for v, n := range count {
			switch known := v < synth.ClassCount; {
			case known && n == 0:
				t.Errorf("%s: class %d is nowhere in %d frames", layout, v, frames)
			case !known && v != synth.Unknown && n != 0:
				t.Errorf("%s: %d pixels have label %d, which is no class", layout, n, v)
			}
		}
		if part := float64(count[synth.Unknown]) / float64(frames*len(labels)); part > 0.01 {
			t.Errorf("%s: %.1f %% of the pixels have no class, want below 1", layout, 100*part)
		}
	}
}

func TestLabelsAloneAreThoseOfTheFrame(t *testing.T) {
	r := newRenderer(t, small(synth.Night))
	_, want := draw(t, r, 9)
	got := make([]uint8, len(want))
	if err := r.Labels(got, 9); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("Labels differs from the labels of Render")
	}
}

func TestRenderReusesItsBuffers(t *testing.T) {
	r := newRenderer(t, small(synth.Night))
	var f frame.Frame
	labels := make([]uint8, 160*120)
	n := 0
	if got := testing.AllocsPerRun(20, func() {
		n++
		if err := r.Render(&f, labels, n%4); err != nil {
			t.Error(err)
		}
	}); got != 0 {
		t.Errorf("%v allocations per frame, want 0", got)
	}
}

func TestNewRefuses(t *testing.T) {
	for want, p := range map[string]synth.Params{
		"size: width":  {W: 8},
		"size: height": {H: synth.MaxSide + 1},
		"time:":        {Time: "noon"},
		"layout:":      {Layout: "canal"},
		"speed:":       {Speed: -1},
		"fps:":         {FPS: synth.MaxFPS + 1},
	} {
		if _, err := synth.New(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) = %v, want an error with %q", p, err, want)
		}
	}
	r := newRenderer(t, small(synth.Day))
	if err := r.Render(&frame.Frame{}, make([]uint8, 3), 0); err == nil {
		t.Error("Render took three labels' room for a whole frame")
	}
	if err := r.Labels(make([]uint8, 3), 0); err == nil {
		t.Error("Labels took three labels' room for a whole frame")
	}
}

func TestExtremeSizes(t *testing.T) {
	for _, p := range []synth.Params{
		{W: synth.MinSide, H: synth.MinSide},
		{W: 400, H: synth.MinSide},
		{W: synth.MinSide, H: 400},
	} {
		p.Seed, p.Time = 3, synth.Night
		draw(t, newRenderer(t, p), 100)
	}
}

func BenchmarkRender(b *testing.B) {
	for _, time := range allTimes {
		b.Run(time, func(b *testing.B) {
			r := newRenderer(b, synth.Params{Seed: 7001, Time: time, Layout: synth.LayoutDemo})
			var f frame.Frame
			n := 0
			for b.Loop() {
				if err := r.Render(&f, nil, n); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
	}
}
