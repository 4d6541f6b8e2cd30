package quantize

import (
	"testing"

	"nightseg/model"
	"nightseg/model/onnx"
)

// A picture that is not relit goes into the segmentation network as it is: steps of
// one, whatever the drive holds.
func TestPixels(t *testing.T) {
	for mode, want := range map[string]bool{"none": true, "network": false} {
		h := newBench(t, 40)
		h.Bundle.Relight = mode
		r := h.run(t)
		m, err := onnx.Parse(r.Networks["segment"])
		if err != nil {
			t.Fatal(err)
		}
		x, err := m.Graph.Index()
		if err != nil {
			t.Fatal(err)
		}
		scale := x.Constant("x_pixels_scale")
		record := ReadRecord(&model.Bundle{Manifest: model.Manifest{Calibration: r.Record}})
		if (scale != nil) != want || record.Pixels != want {
			t.Fatalf("relight %s: %v, %s", mode, scale, r.Record)
		}
		if want {
			if v, err := scale.Floats(); err != nil || v[0] != 1 {
				t.Errorf("steps of %v, %v", v, err)
			}
		}
	}
}
