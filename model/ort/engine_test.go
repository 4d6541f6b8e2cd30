//go:build cgo

package ort

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/edge/frame"
	"nightseg/model"
)

const tiny = "../testdata/tiny"

// needLibrary skips a test where no ONNX Runtime is installed.
func needLibrary(t testing.TB) *Library {
	t.Helper()
	l, err := FindLibrary("")
	if err != nil {
		t.Skipf("needs ONNX Runtime: %v", err)
	}
	return l
}

func openBundle(t testing.TB, dir string) *model.Bundle {
	t.Helper()
	b, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openEngine(t testing.TB, b *model.Bundle, o model.Options) *Engine {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	e, err := Open(b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func goldenFrame(t testing.TB, b *model.Bundle) *frame.Frame {
	t.Helper()
	f, err := b.GoldenFrame()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// withNetwork returns the tiny bundle with another segmentation network and no
// relighting.
func withNetwork(t testing.TB, file string) *model.Bundle {
	t.Helper()
	b := openBundle(t, tiny)
	dir, err := filepath.Abs("../testdata")
	if err != nil {
		t.Fatal(err)
	}
	b.Dir = dir
	g := *b.Graphs.Segment
	g.Files = map[string]model.File{model.FP32: {File: file}}
	b.Graphs = model.Graphs{Segment: &g}
	return b
}

func TestGoldenOnEveryProvider(t *testing.T) {
	lib := needLibrary(t)
	b := openBundle(t, tiny)
	for _, provider := range lib.Providers() {
		for _, precision := range []string{model.FP32, model.INT8} {
			t.Run(provider+"/"+precision, func(t *testing.T) {
				e := openEngine(t, b, model.Options{Provider: provider, Precision: precision, Threads: 2})
				checks, err := model.Verify(context.Background(), b, e)
				if err != nil {
					t.Fatal(err)
				}
				t.Log(checks[0])
				info := e.Info()
				if info.Provider != provider || info.Precision != precision || info.Threads != 2 {
					t.Errorf("info = %+v", info)
				}
				if s := info.NodeShare; len(s) != 1 || s[provider] != 1 {
					t.Errorf("a provider asked for by name has the node share %v", s)
				}
			})
		}
	}
}

// Logits of another stride, and with a point more than the stride gives, come out
// on the grid that the bundle states.
func TestOtherGrids(t *testing.T) {
	lib := needLibrary(t)
	for name, c := range map[string]struct {
		stride int
		logits [][2]int
		h, w   int
	}{
		"stride-4":    {4, nil, 8, 12},
		"edge-points": {8, [][2]int{{5, 7}}, 5, 7},
	} {
		for _, provider := range lib.Providers() {
			t.Run(name+"/"+provider, func(t *testing.T) {
				b := withNetwork(t, "nets/"+name+".onnx")
				b.Stride, b.Logits = c.stride, c.logits
				e := openEngine(t, b, model.Options{Provider: provider, Precision: model.FP32})
				in := goldenFrame(t, openBundle(t, tiny))
				in.Relight = frame.RelightNone
				var l frame.Logits
				if err := e.Infer(&l, in); err != nil {
					t.Fatal(err)
				}
				if l.H != c.h || l.W != c.w || l.OutH != 32 || l.OutW != 48 || len(l.Data) != 3*c.h*c.w {
					t.Errorf("logits of %dx%d for a mask of %dx%d, %d values", l.H, l.W, l.OutH, l.OutW, len(l.Data))
				}
			})
		}
	}
}

func TestAutomaticChoice(t *testing.T) {
	lib := needLibrary(t)
	e := openEngine(t, openBundle(t, tiny), model.Options{})
	info := e.Info()
	if info.Precision != model.INT8 {
		t.Errorf("precision %s, want int8, which the bundle has", info.Precision)
	}
	if want := lib.Providers()[0]; info.Provider != want && len(info.Notes) == 0 {
		t.Errorf("provider %s without a note why not %s", info.Provider, want)
	}
}

func TestMetaAndSizes(t *testing.T) {
	needLibrary(t)
	b := openBundle(t, tiny)
	e := openEngine(t, b, model.Options{Provider: model.CPU})
	f := goldenFrame(t, b)
	f.Camera, f.Seq, f.Run = "front", 42, "r1"
	var l frame.Logits
	if err := e.Infer(&l, f); err != nil {
		t.Fatal(err)
	}
	if l.Meta != f.Meta || l.OutH != 32 || l.OutW != 48 || l.C != 3 || l.H != 4 || l.W != 6 {
		t.Errorf("logits %dx%dx%d for %dx%d with meta %+v", l.C, l.H, l.W, l.OutH, l.OutW, l.Meta)
	}
	f.Reset(16, 16)
	if err := e.Infer(&l, f); err == nil || !strings.Contains(err.Error(), "16x16") {
		t.Errorf("a frame of another size: %v", err)
	}
}

// With relight off the engine normalises by itself; the network must then see
// what a relight network that adds nothing would give it.
func TestModes(t *testing.T) {
	needLibrary(t)
	b := openBundle(t, tiny)
	e := openEngine(t, b, model.Options{Provider: model.CPU, Precision: model.FP32})
	f := goldenFrame(t, b)
	var relit, plain, again frame.Logits
	for _, s := range []struct {
		mode frame.Relight
		dst  *frame.Logits
	}{{frame.RelightNetwork, &relit}, {frame.RelightGamma, &plain}, {frame.RelightNetwork, &again}} {
		f.Relight = s.mode
		if err := e.Infer(s.dst, f); err != nil {
			t.Fatal(err)
		}
	}
	if d := model.RelativeDifference(relit.Data, again.Data); d != 0 {
		t.Errorf("the same frame gave other logits after a change of mode: %g", d)
	}
	if d := model.RelativeDifference(relit.Data, plain.Data); d < 0.01 {
		t.Errorf("relighting changed nothing: %g", d)
	}
	n := model.NewNormaliser(b.Normalise)
	want := make([]float32, len(e.planes.f32))
	n.Planes(want, f.Pix)
	f.Relight = frame.RelightNone
	if err := e.Infer(&plain, f); err != nil {
		t.Fatal(err)
	}
	for i, v := range want {
		if e.planes.f32[i] != v {
			t.Fatalf("input %d of the network is %v, want %v", i, e.planes.f32[i], v)
		}
	}
}

func TestRelit(t *testing.T) {
	needLibrary(t)
	b := openBundle(t, tiny)
	e := openEngine(t, b, model.Options{Provider: model.CPU, Precision: model.FP32})
	f := goldenFrame(t, b)
	f.Seq = 9
	var l frame.Logits
	var out frame.Frame
	if err := e.Relit(&out); err == nil {
		t.Error("a relit picture before the first frame")
	}
	if err := e.Infer(&l, f); err != nil {
		t.Fatal(err)
	}
	if err := e.Relit(&out); err != nil {
		t.Fatal(err)
	}
	if out.W != f.W || out.H != f.H || out.Seq != 9 {
		t.Fatalf("relit picture %dx%d of frame %d", out.W, out.H, out.Seq)
	}
	changed := 0
	for i, v := range out.Pix {
		// tanh is within 1 of 0: a channel moves by at most 255 * std
		limit := 255*b.Normalise.Std[i%3] + 1
		if d := math.Abs(float64(v) - float64(f.Pix[i])); d > limit {
			t.Fatalf("byte %d went from %d to %d, which tanh cannot do", i, f.Pix[i], v)
		} else if d > 1 {
			changed++
		}
	}
	if changed == 0 {
		t.Error("the relit picture is the picture")
	}
	f.Relight = frame.RelightNone
	if err := e.Infer(&l, f); err != nil {
		t.Fatal(err)
	}
	if err := e.Relit(&out); err == nil {
		t.Error("a relit picture of a frame that was not relit")
	}
}

func TestNoAllocations(t *testing.T) {
	needLibrary(t)
	b := openBundle(t, tiny)
	e := openEngine(t, b, model.Options{})
	f := goldenFrame(t, b)
	var l frame.Logits
	for _, mode := range []frame.Relight{frame.RelightNetwork, frame.RelightNone} {
		f.Relight = mode
		n := testing.AllocsPerRun(50, func() {
			if err := e.Infer(&l, f); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("mode %v: %v allocations per frame, want 0", mode, n)
		}
	}
}

func TestNotFinite(t *testing.T) {
	needLibrary(t)
	b := withNetwork(t, "nets/nan.onnx")
	e := openEngine(t, b, model.Options{Provider: model.CPU})
	f := goldenFrame(t, openBundle(t, tiny))
	f.Relight = frame.RelightNone
	var l frame.Logits
	err := e.Infer(&l, f)
	if !errors.Is(err, model.ErrNotFinite) {
		t.Fatalf("logits with NaN: %v", err)
	}
}

// OpenVINO does not know LpPool.
func TestOperatorThatAProviderLacks(t *testing.T) {
	lib := needLibrary(t)
	if !lib.has(model.OpenVINO) {
		t.Skip("needs an ONNX Runtime with the OpenVINO provider")
	}
	b := withNetwork(t, "nets/lppool.onnx")
	_, err := Open(b, model.Options{Provider: model.OpenVINO, CacheDir: t.TempDir()})
	for _, want := range []string{"lppool.onnx", "openvino", "LpPool", "choose another provider"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("asked for by name: %v; want an error that names %s", err, want)
		}
	}
	e := openEngine(t, b, model.Options{})
	info := e.Info()
	t.Logf("%+v", info)
	share := info.NodeShare
	if math.Abs(share[model.OpenVINO]-11./12) > 1e-9 || math.Abs(share[model.CPU]-1./12) > 1e-9 {
		t.Errorf("share of nodes %v, want 11 of 12 on OpenVINO and LpPool on the processor", share)
	}
	if len(info.Notes) == 0 {
		t.Error("no note about the provider that did not take every node")
	}
	onCPU := openEngine(t, b, model.Options{Provider: model.CPU})
	f := goldenFrame(t, openBundle(t, tiny))
	f.Relight = frame.RelightNone
	var mixed, want frame.Logits
	if err := errors.Join(e.Infer(&mixed, f), onCPU.Infer(&want, f)); err != nil {
		t.Fatal(err)
	}
	if d := model.RelativeDifference(mixed.Data, want.Data); d > 1e-3 {
		t.Errorf("split over two providers the logits differ by %g of their range", d)
	}
}

func TestProviderThatIsMissing(t *testing.T) {
	lib := needLibrary(t)
	b := openBundle(t, tiny)
	for _, p := range []string{model.TensorRT, model.CUDA} {
		if lib.has(p) {
			continue
		}
		if _, err := Open(b, model.Options{Provider: p}); err == nil || !strings.Contains(err.Error(), "no provider "+p) {
			t.Errorf("provider %s: %v", p, err)
		}
	}
	if _, err := Open(b, model.Options{Provider: "abacus"}); err == nil || !strings.Contains(err.Error(), "abacus") {
		t.Errorf("a provider that does not exist: %v", err)
	}
	if _, err := Open(b, model.Options{Precision: model.FP16}); err == nil || !strings.Contains(err.Error(), "fp16") {
		t.Errorf("a precision that the bundle lacks: %v", err)
	}
}

func TestMissingLibrary(t *testing.T) {
	_, err := Open(openBundle(t, tiny), model.Options{LibDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "libonnxruntime.so") ||
		!strings.Contains(err.Error(), "make setup-ort") {
		t.Errorf("no library: %v; want the file and the remedy", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "libonnxruntime.so"), []byte("no library"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err = Open(openBundle(t, tiny), model.Options{LibDir: dir}); err == nil {
		t.Error("a text file was taken for a library")
	}
}

func TestEngineCache(t *testing.T) {
	lib := needLibrary(t)
	if !lib.has(model.OpenVINO) {
		t.Skip("needs an ONNX Runtime with the OpenVINO provider")
	}
	b, cache := openBundle(t, tiny), t.TempDir()
	o := model.Options{Provider: model.OpenVINO, Precision: model.INT8, CacheDir: cache}
	openEngine(t, b, o)
	blobs, err := filepath.Glob(filepath.Join(cache, "engines", "openvino-*", "*.blob"))
	if err != nil || len(blobs) != 2 {
		t.Fatalf("compiled forms in the cache: %v, %v; want one for each of two networks", blobs, err)
	}
	for _, damage := range []func(string) error{
		func(p string) error { return os.Truncate(p, 100) },
		func(p string) error { return os.WriteFile(p, []byte("not a compiled network"), 0o600) },
	} {
		for _, p := range blobs {
			if err := errors.Join(os.Chmod(p, 0o600), damage(p)); err != nil {
				t.Fatal(err)
			}
		}
		e := openEngine(t, b, o)
		if _, err := model.Verify(context.Background(), b, e); err != nil {
			t.Errorf("with a damaged cache: %v", err)
		}
	}
	o.CacheDir = filepath.Join(tiny, "bundle.json") // a file: no folder can be made below it
	e := openEngine(t, b, o)
	if notes := strings.Join(e.Info().Notes, "; "); !strings.Contains(notes, "no engine cache") {
		t.Errorf("notes %q do not say that there is no cache", notes)
	}
}
