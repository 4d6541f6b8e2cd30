//go:build cgo

package ort

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"nightseg/edge/frame"
	"nightseg/model"
	onnxfile "nightseg/model/onnx"
)

// fileOutput runs a file of a bundle as it is.
func fileOutput(t *testing.T, b *model.Bundle, g *model.Graph, h, w int, fill func(*Runner)) []float32 {
	t.Helper()
	f, used, _ := g.FileFor(model.INT8)
	if used != model.INT8 {
		t.Fatalf("the bundle has no int8 network, only %s", used)
	}
	data, err := os.ReadFile(b.FilePath(f))
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnxfile.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	shape := []int64{1, 3, int64(h), int64(w)}
	if g.Input.Type == "uint8" {
		shape = []int64{1, int64(h), int64(w), 3}
	}
	if err := m.Graph.SetSize(g.Input.Name, g.Input.Axes(), h, w); err != nil {
		t.Fatal(err)
	}
	r, err := NewRunner(m, shape, model.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // it only releases
	fill(r)
	var out []float32
	if err := r.Run(func(_ string, _ []int64, v []float32) error {
		out = slices.Clone(v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPixelsChangeNoValue holds the networks that ship, which read planes and round
// them to pixels, against the engine, which gives them the pixels: every logit must
// be the same on the processor's provider, also of a relit picture, and also of a
// size that is not the file's. OpenVINO rounds otherwise, and may differ a little.
func TestPixelsChangeNoValue(t *testing.T) {
	lib := needLibrary(t)
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"street-11", "synth-11"} {
		whole := openBundle(t, "../bundles/"+name)
		for _, s := range whole.Shapes[:min(2, len(whole.Shapes))] {
			b, err := whole.At(s)
			if err != nil {
				t.Fatal(err)
			}
			f := stretched(goldenFrame(t, whole), s)
			for i := range f.Pix { // all values, also at the edges
				f.Pix[i] += byte(r.IntN(64))
			}
			for _, provider := range []string{model.CPU, model.OpenVINO} {
				if !slices.Contains(lib.Providers(), provider) {
					continue
				}
				e := openEngine(t, b, model.Options{Provider: provider, Precision: model.INT8, Threads: 2})
				if e.pixels == nil {
					t.Fatalf("%s on %s: the network takes planes", name, provider)
				}
				for _, mode := range []frame.Relight{frame.RelightNone, frame.RelightNetwork} {
					if mode == frame.RelightNetwork && b.Graphs.Relight == nil {
						continue
					}
					f.Relight = mode
					checkPixels(t, e, b, f, provider)
				}
			}
		}
	}
}

func checkPixels(t *testing.T, e *Engine, b *model.Bundle, f *frame.Frame, provider string) {
	t.Helper()
	planes := make([]float32, len(f.Pix))
	if f.Relight == frame.RelightNetwork {
		planes = fileOutput(t, b, b.Graphs.Relight, f.H, f.W, func(r *Runner) { copy(r.Bytes(), f.Pix) })
	} else {
		model.NewNormaliser(b.Normalise).Planes(planes, f.Pix)
	}
	want := fileOutput(t, b, b.Graphs.Segment, f.H, f.W, func(r *Runner) { copy(r.Floats(), planes) })
	var got frame.Logits
	for range 2 { // a second time with what the first left behind
		if err := e.Infer(&got, f); err != nil {
			t.Fatal(err)
		}
	}
	differ, worst := 0, float32(0)
	for i, v := range got.Data {
		if v != want[i] {
			differ++
			worst = max(worst, max(v-want[i], want[i]-v))
		}
	}
	t.Logf("%s %s, %dx%d, relight %v: %d of %d logits differ, by %.3g at most", b.Name, provider, f.W, f.H, f.Relight,
		differ, len(want), worst)
	if provider == model.CPU && differ > 0 || worst > 1 {
		t.Errorf("%s on %s, %dx%d, relight %v: %d of %d logits differ, by %.3g at most", b.Name, provider, f.W, f.H,
			f.Relight, differ, len(want), worst)
	}
	if f.Relight != frame.RelightNetwork {
		return
	}
	var relit frame.Frame
	if err := e.Relit(&relit); err != nil {
		t.Fatal(err)
	}
	shown := make([]byte, len(f.Pix))
	picture(shown, planes, b.Normalise)
	for i, v := range relit.Pix {
		if d := int(v) - int(shown[i]); d < -1 || d > 1 { // halves: to the even one, or upwards
			t.Fatalf("%s on %s: value %d of the relit picture is %d, not %d", b.Name, provider, i, v, shown[i])
		}
	}
}
