//go:build cgo

package ort

import (
	"strings"
	"testing"

	"nightseg/edge/frame"
	"nightseg/model"
)

// TestOtherShapes holds the networks that ship, made for one size, at others: a
// picture that is enlarged without a new detail must give much the same classes,
// and the engine of the file's own size must give the same again.
func TestOtherShapes(t *testing.T) {
	needLibrary(t)
	own := openBundle(t, "../bundles/street-11")
	if len(own.Shapes) < 2 {
		t.Fatal("street-11 holds one shape")
	}
	picture := goldenFrame(t, own)
	picture.Relight = frame.RelightNetwork
	var want frame.Logits
	if err := openEngine(t, own, model.Options{}).Infer(&want, picture); err != nil {
		t.Fatal(err)
	}
	mask := model.FullSizeArgMax(&want, own.AlignCorners)
	for _, s := range [][2]int{{720, 1280}, {240, 320}} {
		b, err := own.At(s)
		if err != nil {
			t.Fatal(err)
		}
		var got frame.Logits
		if err := openEngine(t, b, model.Options{}).Infer(&got, stretched(picture, s)); err != nil {
			t.Fatal(err)
		}
		if h, w := b.LogitSize(s[0], s[1]); got.H != h || got.W != w || got.OutH != s[0] || got.OutW != s[1] {
			t.Errorf("%v: logits of %dx%d for a mask of %dx%d", s, got.W, got.H, got.OutW, got.OutH)
		}
		other := model.FullSizeArgMax(&got, b.AlignCorners)
		equal := 0
		for i, k := range mask {
			y, x := i/640*s[0]/480, i%640*s[1]/640
			if other[y*s[1]+x] == k {
				equal++
			}
		}
		if share := float64(equal) / float64(len(mask)); share < 0.8 {
			t.Errorf("%v: %.3f of the pixels have the class that they have at 640x480", s, share)
		}
	}
	if _, err := own.At([2]int{100, 100}); err == nil || !strings.Contains(err.Error(), "640x480, ") {
		t.Errorf("a shape that the bundle does not hold: %v", err)
	}
}

// stretched returns a picture at height s[0] and width s[1], by the nearest pixel.
func stretched(f *frame.Frame, s [2]int) *frame.Frame {
	g := new(frame.Frame)
	g.Reset(s[1], s[0])
	g.Meta = f.Meta
	for y := range s[0] {
		for x := range s[1] {
			from := 3 * (y*f.H/s[0]*f.W + x*f.W/s[1])
			copy(g.Pix[3*(y*s[1]+x):][:3], f.Pix[from:])
		}
	}
	return g
}
