//go:build cgo

package ort

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/edge/frame"
	"nightseg/model"
	onnxfile "nightseg/model/onnx"
)

// A network that is run by itself gives what the engine gives, and tensors from
// within it, too.
func TestRunner(t *testing.T) {
	needLibrary(t)
	b := openBundle(t, tiny)
	f := goldenFrame(t, b)
	f.Relight = frame.RelightNone
	e := openEngine(t, b, model.Options{Provider: model.CPU, Precision: model.FP32, Threads: 1})
	var want frame.Logits
	if err := e.Infer(&want, f); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(tiny, "segment.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnxfile.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	inner := m.Graph.Nodes[0].Outputs[0]
	m.Graph.AddOutput(inner, onnxfile.Float)
	r, err := NewRunner(m, []int64{1, 3, int64(f.H), int64(f.W)}, model.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	model.NewNormaliser(b.Normalise).Planes(r.Floats(), f.Pix)
	var order []string
	for range 2 {
		err := r.Run(func(name string, _ []int64, v []float32) error {
			order = append(order, name)
			if name == m.Graph.Outputs[0].Name && !slices.Equal(v, want.Data) {
				t.Errorf("logits differ by %g of their range", model.RelativeDifference(v, want.Data))
			}
			if name == inner && len(v) == 0 {
				t.Error("nothing from within")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(order) != 4 || order[1] != inner || r.Bytes() != nil || !strings.HasPrefix(r.Library(), "onnxruntime 1.") {
		t.Errorf("outputs %v of %s", order, r.Library())
	}
	enough := errors.New("enough")
	if err := r.Run(func(string, []int64, []float32) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	m.Graph.Nodes[0].Op = "NoSuchOperator"
	if _, err := NewRunner(m, []int64{1, 3, 8, 8}, model.Options{}); err == nil {
		t.Error("an operator that is not there")
	}
}
