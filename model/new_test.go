package model

import (
	"context"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/edge/frame"
)

// ramp stands for a network: class k is k times the brightness of a cell.
type ramp struct{ b *Bundle }

func (r ramp) Infer(dst *frame.Logits, src *frame.Frame) error {
	h, w := r.b.LogitSize(src.H, src.W)
	dst.Reset(len(r.b.Classes), h, w)
	dst.Meta, dst.OutH, dst.OutW = src.Meta, src.H, src.W
	for k := range dst.C {
		for i := range h * w {
			dst.Data[k*h*w+i] = float32(k) * (float32(src.Pix[i]) - 60)
		}
	}
	return nil
}

func (ramp) Info() Info   { return Info{Engine: "ramp", Provider: CPU, Precision: FP32} }
func (ramp) Close() error { return nil }

func newOptions(t *testing.T, classes string) NewOptions {
	t.Helper()
	list := filepath.Join(t.TempDir(), "classes.txt")
	writeFile(t, list, []byte(classes))
	return NewOptions{
		Out: filepath.Join(t.TempDir(), "out"), ONNX: "testdata/nets/bytes.onnx", Classes: list,
		Engine: func(b *Bundle) (Engine, error) { return ramp{b}, nil },
	}
}

const threeClasses = "// my classes\nsky #0080ff\nroad static\n\ncar\n"

func TestNewBundle(t *testing.T) {
	o := newOptions(t, threeClasses)
	b, warnings, err := NewBundle(o)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "uniform") {
		t.Errorf("warnings %q", warnings)
	}
	if b.Stride != 8 || b.Shapes[0] != [2]int{32, 48} || b.Graphs.Segment.Input.Type != "uint8" || b.Name != "bytes" {
		t.Errorf("bundle %+v", b.Manifest)
	}
	c := b.Classes
	if c[0].Colour != [3]uint8{0, 0x80, 0xff} || !c[1].Static || c[2].Static || c[1].Colour == c[2].Colour {
		t.Errorf("classes %+v", c)
	}
	if _, err := Verify(context.Background(), b, ramp{b}); err != nil {
		t.Errorf("the new bundle does not hold: %v", err)
	}
	if _, _, err := NewBundle(o); err == nil {
		t.Error("a second bundle in the same place")
	}
}

func TestNewBundleOnOtherGrids(t *testing.T) {
	for name, c := range map[string]struct {
		align  bool
		stride int
		logits [][2]int
		size   [2]int
	}{
		"stride-4":    {false, 4, nil, [2]int{8, 12}},
		"edge-points": {true, 8, [][2]int{{5, 7}}, [2]int{5, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOptions(t, threeClasses)
			o.ONNX, o.AlignCorners = "testdata/nets/"+name+".onnx", c.align
			b, _, err := NewBundle(o)
			if err != nil {
				t.Fatal(err)
			}
			if b.Stride != c.stride || !slices.Equal(b.Logits, c.logits) {
				t.Errorf("stride %d, logits %v", b.Stride, b.Logits)
			}
			if h, w := b.LogitSize(32, 48); [2]int{h, w} != c.size {
				t.Errorf("logits of %dx%d, want %v", h, w, c.size)
			}
			if _, err := Verify(context.Background(), b, ramp{b}); err != nil {
				t.Errorf("the new bundle does not hold: %v", err)
			}
		})
	}
}

func TestNewBundleCountsShares(t *testing.T) {
	o := newOptions(t, threeClasses)
	o.Labels = t.TempDir()
	label := image.NewGray(image.Rect(0, 0, 10, 1))
	copy(label.Pix, []uint8{0, 0, 0, 0, 0, 1, 1, 1, 255, 255})
	writeFile(t, filepath.Join(o.Labels, "a.png"), pngOf(t, label))
	b, warnings, err := NewBundle(o)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.ClassShares, []float64{0.625, 0.375, 0}) {
		t.Errorf("shares %v", b.ClassShares)
	}
	if !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "car does not occur") }) {
		t.Errorf("warnings %q", warnings)
	}
}

func TestNewBundleFaults(t *testing.T) {
	labels := func(img image.Image) func(t *testing.T, o *NewOptions) {
		return func(t *testing.T, o *NewOptions) {
			o.Labels = t.TempDir()
			writeFile(t, filepath.Join(o.Labels, "a.png"), pngOf(t, img))
		}
	}
	outside := image.NewGray(image.Rect(0, 0, 1, 1))
	outside.SetGray(0, 0, color.Gray{Y: 7})
	unlabelled := image.NewGray(image.Rect(0, 0, 1, 1))
	unlabelled.SetGray(0, 0, color.Gray{Y: 255})
	network := func(name string) func(*testing.T, *NewOptions) {
		return func(_ *testing.T, o *NewOptions) { o.ONNX = name }
	}
	for name, c := range map[string]struct {
		classes string
		change  func(t *testing.T, o *NewOptions)
		want    []string
	}{
		"two classes for three": {"a\nb\n", nil, []string{"bytes.onnx", "3 classes", "lists 2"}},
		"one class":             {"a\n", nil, []string{"classes.txt", "1 classes"}},
		"bad colour":            {"a #12345g\nb\n", nil, []string{"classes.txt:1", "colour"}},
		"no network":            {threeClasses, network("testdata/none.onnx"), []string{"none.onnx", "no such file"}},
		"a picture": {
			threeClasses, network("testdata/tiny/golden/image.png"), []string{"image.png", "not an ONNX"},
		},
		"class numbers out":   {threeClasses, network("testdata/nets/argmax.onnx"), []string{"argmax.onnx", "not logits"}},
		"open size":           {threeClasses, network("testdata/nets/free-size.onnx"), []string{"free-size.onnx", "open"}},
		"label class outside": {threeClasses, labels(outside), []string{"a.png", "class 7"}},
		"colour labels":       {threeClasses, labels(image.NewNRGBA(image.Rect(0, 0, 1, 1))), []string{"a.png", "colour"}},
		"nothing labelled":    {threeClasses, labels(unlabelled), []string{"no labelled pixel"}},
		"no engine":           {threeClasses, func(_ *testing.T, o *NewOptions) { o.Engine = nil }, []string{"no engine"}},
		"picture is no picture": {
			threeClasses, func(_ *testing.T, o *NewOptions) { o.Picture = "new.go" }, []string{"new.go"},
		},
		"no whole stride": {
			threeClasses, network("testdata/nets/wide.onnx"), []string{"wide.onnx", "logits of 12x4", "no whole stride"},
		},
		"another shape": {threeClasses, func(_ *testing.T, o *NewOptions) { o.Shape[0] = 64 }, []string{"asked for"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOptions(t, c.classes)
			if c.change != nil {
				c.change(t, &o)
			}
			_, _, err := NewBundle(o)
			if err == nil {
				t.Fatal("a bundle was made")
			}
			t.Log(err)
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			if _, err := os.Stat(o.Out); err == nil {
				t.Error("half a bundle stays")
			}
		})
	}
}
