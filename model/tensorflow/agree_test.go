//go:build tensorflow && cgo

package tensorflow

import (
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg"
	"os"
	"path/filepath"
	"testing"

	"nightseg/camera/fit"
	"nightseg/camera/synth"
	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/model/ort"
)

func onnxRuntime(t *testing.T, b *model.Bundle) *ort.Engine {
	t.Helper()
	if _, err := ort.FindLibrary(""); err != nil {
		t.Skipf("needs ONNX Runtime to compare with: %v", err)
	}
	e, err := ort.Open(b, model.Options{Provider: model.CPU, Precision: model.FP32, CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Both engines give the same logits and masks: of the golden picture, of drives
// by night and by day, and of recorded nights where they are at hand; as the
// camera has them and relit.
func TestAgreesWithONNXRuntime(t *testing.T) {
	b := bundle(t, streetBundle)
	tf, other := engine(t, b, model.Options{}), onnxRuntime(t, b)
	for name, f := range pictures(t, b) {
		for _, mode := range []frame.Relight{frame.RelightNone, frame.RelightNetwork} {
			if mode == frame.RelightNetwork && b.Graphs.Relight == nil {
				continue
			}
			f.Relight = mode
			var got, want frame.Logits
			if err := errors.Join(tf.Infer(&got, f), other.Infer(&want, f)); err != nil {
				t.Fatal(err)
			}
			compareLogits(t, fmt.Sprintf("%s, relight %v", name, mode), b, &got, &want)
		}
	}
}

func compareLogits(t *testing.T, name string, b *model.Bundle, got, want *frame.Logits) {
	t.Helper()
	if got.C != want.C || got.H != want.H || got.W != want.W || got.OutW != want.OutW || got.OutH != want.OutH {
		t.Fatalf("%s: logits %dx%dx%d against %dx%dx%d", name, got.C, got.H, got.W, want.C, want.H, want.W)
	}
	relative := model.RelativeDifference(got.Data, want.Data)
	agreement := model.Agreement(model.FullSizeArgMax(got, b.AlignCorners), model.FullSizeArgMax(want, b.AlignCorners))
	t.Logf("%s: logits differ by %.2g of their range, masks agree on %.4f %%", name, relative, 100*agreement)
	if relative > 1e-3 || agreement < 0.999 {
		t.Errorf("%s: logits differ by %g of their range (limit 1e-3), masks agree on %.3f %% (limit 99.9 %%)",
			name, relative, 100*agreement)
	}
}

// pictures returns frames of the bundle's input size.
func pictures(t *testing.T, b *model.Bundle) map[string]*frame.Frame {
	t.Helper()
	h, w := b.Shapes[0][0], b.Shapes[0][1]
	all := map[string]*frame.Frame{"golden": golden(t, b)}
	for _, time := range []string{synth.Night, synth.Day} {
		r, err := synth.New(synth.Params{Seed: synth.TrainingSeeds + 5, W: w, H: h, Time: time})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 40} {
			f := new(frame.Frame)
			if err := r.Render(f, nil, n); err != nil {
				t.Fatal(err)
			}
			all[fmt.Sprintf("synth %s %d", time, n)] = f
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "../shared/data/msrs_night/night_dev/images/*.jpg"))
	if err != nil || len(files) == 0 {
		t.Log("no recorded nights beside the checkout (../shared): the made-up ones must do")
	}
	for _, name := range files[:min(5, len(files))] {
		all[filepath.Base(name)] = photograph(t, name, w, h)
	}
	return all
}

func photograph(t *testing.T, name string, w, h int) *frame.Frame {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	img, _, err := image.Decode(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := fit.New(fit.Settings{W: w, H: h, Antialias: true})
	if err != nil {
		t.Fatal(err)
	}
	dst := new(frame.Frame)
	if err := f.Fit(dst, model.FrameOf(img)); err != nil {
		t.Fatal(err)
	}
	return dst
}

// The relit pictures are the same, but for a level where rounding falls otherwise.
func TestRelitAgrees(t *testing.T) {
	b := bundle(t, streetBundle)
	if b.Graphs.Relight == nil {
		t.Skip("the bundle has no relight network")
	}
	tf, other := engine(t, b, model.Options{}), onnxRuntime(t, b)
	f := golden(t, b)
	f.Seq = 9
	var l frame.Logits
	var got, want frame.Frame
	if err := tf.Relit(&got); err == nil {
		t.Error("a relit picture before the first frame")
	}
	if err := errors.Join(tf.Infer(&l, f), tf.Relit(&got), other.Infer(&l, f), other.Relit(&want)); err != nil {
		t.Fatal(err)
	}
	if got.W != want.W || got.H != want.H || got.Seq != 9 {
		t.Fatalf("relit picture %dx%d of frame %d", got.W, got.H, got.Seq)
	}
	for i, v := range got.Pix {
		if d := int(v) - int(want.Pix[i]); d < -1 || d > 1 {
			t.Fatalf("byte %d of the relit picture is %d, with ONNX Runtime %d", i, v, want.Pix[i])
		}
	}
	f.Relight = frame.RelightGamma
	if err := tf.Infer(&l, f); err != nil {
		t.Fatal(err)
	}
	if err := tf.Relit(&got); err == nil {
		t.Error("a relit picture of a frame that was not relit by the network")
	}
}

func TestGoldenVectors(t *testing.T) {
	for _, dir := range []string{tinyBundle, streetBundle} {
		b := bundle(t, dir)
		checks, err := model.Verify(context.Background(), b, engine(t, b, model.Options{}))
		if err != nil {
			t.Error(err)
		}
		t.Log(checks)
	}
}

// A network that takes the picture as bytes.
func TestBytesIn(t *testing.T) {
	dir := withNetwork(t, "bytes.onnx")
	b := bundle(t, dir)
	f := golden(t, b)
	var got, want frame.Logits
	if err := errors.Join(engine(t, b, model.Options{}).Infer(&got, f), onnxRuntime(t, b).Infer(&want, f)); err != nil {
		t.Fatal(err)
	}
	compareLogits(t, "bytes", b, &got, &want)
}
