//go:build cgo

package qdq

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"nightseg/calibrate/observe"
	"nightseg/model/onnx"
)

// Weights that are rounded by what convolutions read make an integer network that is
// nearer to the float one, on a picture that was not among those.
func TestFitInONNXRuntime(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	weight := func(name string, dims ...int64) *onnx.Tensor {
		size := int64(1)
		for _, d := range dims {
			size *= d
		}
		v := make([]float32, size)
		for i := range v {
			v[i] = rng.Float32() - 0.5
		}
		return onnx.NewFloats(name, v, dims...)
	}
	pads, steps := onnx.IntsAttribute("pads", 1, 1, 1, 1), onnx.IntsAttribute("strides", 2, 1)
	// smooth across and striped along, so that rows and columns are not the same
	picture := func(n int) []float32 {
		x := make([]float32, 3*48*64)
		for i := range x {
			c, y, z := float64(i/(48*64)), float64(i/64%48), float64(i%64)
			x[i] = float32(math.Round(128 + 60*math.Sin(z/float64(7+n)+c) + 60*math.Cos(y*(1.5+c)/2+float64(n))))
		}
		return x
	}
	for name, c := range map[string]struct {
		weight     *onnx.Tensor
		attributes []*onnx.Attribute
	}{
		"plain":     {weight("w", 8, 3, 3, 3), []*onnx.Attribute{pads, steps}},
		"depthwise": {weight("w", 3, 1, 5, 3), []*onnx.Attribute{onnx.IntAttribute("group", 3)}},
	} {
		m := network([]*onnx.Tensor{c.weight}, node("Conv c: x w -> y", c.attributes...))
		p := plan(t, m)
		shape := []int64{1, 3, 48, 64}
		spread, means := observe.NewSpread(p.Readers()[0].Window), observe.NewMeans(3)
		for n := range 12 {
			if err := errors.Join(means.Add(picture(n)), spread.Take(shape, picture(n))); err != nil {
				t.Fatal(err)
			}
			spread.Add()
		}
		x := picture(20)
		want := run(t, m, shape, x)
		var noise []float64
		for _, seen := range []map[string]*observe.Spread{nil, {"c": spread}} {
			p.Fit(seen, func() {})
			q, err := p.Write(everyRange(p, 0, 255), map[string][]float64{"x": means.Values()})
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for i, v := range run(t, weighed(t, q, c.weight.Dims, c.attributes), shape, x) {
				sum += float64(v-want[i]) * float64(v-want[i])
			}
			noise = append(noise, sum)
		}
		t.Logf("%s: %.1f dB less error than of the nearest weights", name, 10*math.Log10(noise[0]/noise[1]))
		if noise[1] > noise[0]/3 {
			t.Errorf("%s: noise %g, rounded to the nearest %g", name, noise[1], noise[0])
		}
	}
}

// weighed is a float convolution with the weights and biases of an integer one, so
// that no values are rounded.
func weighed(t *testing.T, q *onnx.Model, dims []int64, attributes []*onnx.Attribute) *onnx.Model {
	t.Helper()
	w, scales := make([]float32, 0, 72), floats(t, q, "w_scale")
	raw := tensor(t, q, "w_quantized").Raw
	for i, v := range raw {
		w = append(w, float32(int8(v))*scales[i*len(scales)/len(raw)])
	}
	b, steps := make([]float32, len(scales)), floats(t, q, "c_bias_scale")
	for i, v := range ints(t, q, "c_bias_quantized") {
		b[i] = float32(v) * steps[i]
	}
	return network([]*onnx.Tensor{onnx.NewFloats("w", w, dims...), onnx.NewFloats("b", b, int64(len(b)))},
		node("Conv c: x w b -> y", attributes...))
}
