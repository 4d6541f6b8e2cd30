package model

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"

	"nightseg/edge/frame"
)

// Inferer is what Verify asks of an engine; those of model/ort and
// model/tensorflow have it.
type Inferer interface {
	// Infer runs the networks on a picture, and the relight network before when
	// src.Relight is frame.RelightNetwork.
	Infer(dst *frame.Logits, src *frame.Frame) error
	Info() Info
}

// Check is how near an engine came to the golden vectors.
type Check struct {
	Engine    string  `json:"engine"`
	Provider  string  `json:"provider"`
	Precision string  `json:"precision"`
	Relative  float64 `json:"logits_relative"` // max |difference| of logits / range of the expected ones
	Agreement float64 `json:"mask_agreement"`  // share of equal mask pixels
	Limit     Tolerance
}

// OK reports whether the tolerance holds.
func (c Check) OK() bool {
	return c.Relative <= c.Limit.LogitsRelative && c.Agreement >= c.Limit.MaskAgreement
}

// String gives the figures in one line.
func (c Check) String() string {
	return fmt.Sprintf("%s/%s %s: logits differ by %.3g of their range (limit %.3g), "+
		"masks agree on %.3f %% (limit %.3f %%)",
		c.Engine, c.Provider, c.Precision, c.Relative, c.Limit.LogitsRelative, 100*c.Agreement, 100*c.Limit.MaskAgreement)
}

// CheckError is returned for an engine that does not come near enough to the
// golden vectors of a bundle.
type CheckError struct {
	Bundle *Bundle
	Check  Check
}

// Error gives the figures.
func (e *CheckError) Error() string {
	return fmt.Sprintf("verify: bundle %s %s fails on %v; the golden vectors are in %s",
		e.Bundle.Name, e.Bundle.Version, e.Check, e.Bundle.Dir)
}

// Verify replays the golden vectors of the bundle on each engine. It returns
// the figures of the engines that ran, and an error that names the first one
// that fails. The hashes were checked when the bundle was opened.
func Verify(ctx context.Context, b *Bundle, engines ...Inferer) ([]Check, error) {
	in, err := b.GoldenFrame()
	if err != nil {
		return nil, err
	}
	var checks []Check
	for _, e := range engines {
		if err := ctx.Err(); err != nil {
			return checks, err
		}
		c, err := b.verifyOn(e, in)
		if err != nil {
			return checks, err
		}
		checks = append(checks, c)
		if !c.OK() {
			return checks, &CheckError{Bundle: b, Check: c}
		}
	}
	return checks, nil
}

func (b *Bundle) verifyOn(e Inferer, in *frame.Frame) (Check, error) {
	info := e.Info()
	c := Check{Engine: info.Engine, Provider: info.Provider, Precision: info.Precision}
	want, wantMask, err := b.GoldenOutput(info.Precision)
	if err != nil {
		return c, err
	}
	var ok bool
	if c.Limit, ok = b.ToleranceFor(info.Precision, info.Provider); !ok {
		return c, fmt.Errorf("verify: bundle %s has no tolerance for %s", b.Name, info.Precision)
	}
	var got frame.Logits
	if err := e.Infer(&got, in); err != nil {
		return c, fmt.Errorf("verify: %s on %s: %w", info.Engine, info.Provider, err)
	}
	if got.C != want.C || got.H != want.H || got.W != want.W {
		return c, fmt.Errorf("verify: %s gives logits of %dx%dx%d, golden ones are %dx%dx%d", info.Engine,
			got.C, got.H, got.W, want.C, want.H, want.W)
	}
	c.Relative = RelativeDifference(got.Data, want.Data)
	c.Agreement = Agreement(FullSizeArgMax(&got, b.AlignCorners), wantMask)
	return c, nil
}

// RelativeDifference returns the largest |got - want| divided by the range of
// want, or +Inf where a value of got is not finite.
func RelativeDifference(got, want []float32) float64 {
	lo, hi, worst := math.Inf(1), math.Inf(-1), 0.0
	for i, w := range want {
		lo, hi = min(lo, float64(w)), max(hi, float64(w))
		d := math.Abs(float64(got[i]) - float64(w))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	if worst == 0 {
		return 0
	}
	return worst / (hi - lo)
}

// Agreement returns the share of equal entries of two masks of one size.
func Agreement(a, b []uint8) float64 {
	if len(a) != len(b) || len(a) == 0 {
		return 0
	}
	n := 0
	for i, v := range a {
		if v == b[i] {
			n++
		}
	}
	return float64(n) / float64(len(a))
}

// FullSizeArgMax resizes the logits of every class bilinearly to OutH x OutW and
// takes the largest; of equal ones the first. It is the plain form of what
// edge/decide does quickly, without re-weighting, for checks.
func FullSizeArgMax(l *frame.Logits, alignCorners bool) []uint8 {
	mask := make([]uint8, l.OutH*l.OutW)
	best := make([]float32, l.OutW)
	xs := taps(l.W, l.OutW, alignCorners)
	ys := taps(l.H, l.OutH, alignCorners)
	for y, ty := range ys {
		row := mask[y*l.OutW:][:l.OutW]
		for k := range l.C {
			top := l.Data[(k*l.H+ty.a)*l.W:][:l.W]
			bottom := l.Data[(k*l.H+ty.b)*l.W:][:l.W]
			for x, tx := range xs {
				u := top[tx.a] + (top[tx.b]-top[tx.a])*tx.f
				d := bottom[tx.a] + (bottom[tx.b]-bottom[tx.a])*tx.f
				if v := u + (d-u)*ty.f; k == 0 || v > best[x] {
					best[x], row[x] = v, uint8(k)
				}
			}
		}
	}
	return mask
}

// tap says that a sample is (1-f) of entry a and f of entry b.
type tap struct {
	a, b int
	f    float32
}

func taps(in, out int, alignCorners bool) []tap {
	ts := make([]tap, out)
	for i := range ts {
		pos := (float64(i)+0.5)*float64(in)/float64(out) - 0.5
		if alignCorners && out > 1 {
			pos = float64(i) * float64(in-1) / float64(out-1)
		}
		pos = min(max(pos, 0), float64(in-1))
		a := int(pos)
		ts[i] = tap{a: a, b: min(a+1, in-1), f: float32(pos - float64(a))}
	}
	return ts
}

// GoldenFrame returns the golden picture; Relight is set to network where the
// bundle has a relight graph.
func (b *Bundle) GoldenFrame() (*frame.Frame, error) {
	img, err := b.decodePNG(b.Golden.Image)
	if err != nil {
		return nil, err
	}
	f := FrameOf(img)
	if b.Graphs.Relight != nil {
		f.Relight = frame.RelightNetwork
	}
	return f, nil
}

// FrameOf turns a picture into a frame of its size; the meta stays empty but for
// the source's size.
func FrameOf(img image.Image) *frame.Frame {
	f := new(frame.Frame)
	r := img.Bounds()
	f.Reset(r.Dx(), r.Dy())
	f.SourceW, f.SourceH = f.W, f.H
	f.ToSource = frame.Affine{A: 1, E: 1}
	f.Valid = frame.Rect{X1: f.W, Y1: f.H}
	for i := range f.W * f.H {
		c := color.NRGBAModel.Convert(img.At(r.Min.X+i%f.W, r.Min.Y+i/f.W)).(color.NRGBA)
		f.Pix[3*i], f.Pix[3*i+1], f.Pix[3*i+2] = c.R, c.G, c.B
	}
	return f
}

// decodePNG reads a picture of the bundle that must have the default shape.
func (b *Bundle) decodePNG(f File) (image.Image, error) {
	data, err := b.read(f)
	if err != nil {
		return nil, err
	}
	conf, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, &FileError{File: b.path(f), Problem: "is not a PNG picture", Err: err, Remedy: remedyCopy}
	}
	if s := b.Shapes[0]; conf.Height != s[0] || conf.Width != s[1] {
		return nil, &FileError{
			File: b.path(f), Remedy: "make the golden vectors again",
			Problem: fmt.Sprintf("is %dx%d, where the bundle's input is %dx%d", conf.Width, conf.Height, s[1], s[0]),
		}
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, &FileError{File: b.path(f), Problem: "is a damaged PNG picture", Err: err, Remedy: remedyCopy}
	}
	return img, nil
}

// GoldenOutput returns the golden logits and mask of a precision.
func (b *Bundle) GoldenOutput(precision string) (*frame.Logits, []uint8, error) {
	out, ok := b.Golden.Outputs[precision]
	if !ok {
		return nil, nil, fmt.Errorf("verify: bundle %s has golden vectors for %v, not for %s", b.Name,
			sortedKeys(b.Golden.Outputs), precision)
	}
	l := new(frame.Logits)
	l.OutH, l.OutW = b.Shapes[0][0], b.Shapes[0][1]
	h, w := b.LogitSize(l.OutH, l.OutW)
	l.Reset(len(b.Classes), h, w)
	data, err := b.read(out.Logits)
	if err != nil {
		return nil, nil, err
	}
	if len(data) != 4*len(l.Data) {
		return nil, nil, &FileError{
			File: b.path(out.Logits), Remedy: "make the golden vectors again",
			Problem: fmt.Sprintf("has %d bytes, where %dx%dx%d float32 are %d", len(data), l.C, h, w, 4*len(l.Data)),
		}
	}
	for i := range l.Data {
		l.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	img, err := b.decodePNG(out.Mask)
	if err != nil {
		return nil, nil, err
	}
	grey, ok := img.(*image.Gray)
	if !ok {
		return nil, nil, &FileError{
			File: b.path(out.Mask), Problem: "is not an 8-bit grey picture",
			Remedy: "make the golden vectors again",
		}
	}
	return l, grey.Pix, nil
}
