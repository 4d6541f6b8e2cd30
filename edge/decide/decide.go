// Package decide turns logits into one class per pixel: it re-weights the
// classes, enlarges the logits bilinearly to the size of the mask and takes
// the best class, or Unknown where the best is not probable enough.
//
// The result equals "resize every class map, then arg-max", ties within
// rounding apart, without resizing anything: a bilinear sample is a convex
// combination of the four grid points around it, so a class that wins at all
// four wins everywhere between them. Only the cells on the border of two
// classes are computed. See docs/decisions/0005-deciding-at-full-size.md.
package decide

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"nightseg/edge/frame"
)

// maxPixels bounds the size of a mask: 64 Mpx.
const maxPixels = 64 << 20

// Mode says what the class weights multiply.
type Mode string

// The modes of re-weighting.
const (
	// Probability multiplies the class probabilities softmax(logits/T) by w,
	// which is to add ln w to logits/T.
	Probability Mode = "probability"
	// Logit multiplies logits/T by w, as the DANNet authors' program does
	// (with T = 1): its released weights are scored so.
	Logit Mode = "logit"
)

// Settings say how logits are decided.
type Settings struct {
	Mode Mode // "" means Probability
	// Std is the spread of the class weights; 0 turns re-weighting off. It
	// must stay below MaxStd(Shares).
	Std float64
	// Threshold is the least probability, 0..1, of a class that is not
	// Unknown: that of the weighted logits' softmax. 0 turns it off.
	Threshold   float64
	Temperature float64 // T > 0, divides the logits; 0 means 1
	// Shares are the classes' shares of the labelled pixels. Without them Std
	// must be 0 and logits may have any number of classes.
	Shares []float64
	// AlignCorners makes the corner grid points fall on the corner pixels'
	// centres; otherwise grid cells and pixels share their outer edges
	// (torch's align_corners=False, clamped at the edges).
	AlignCorners bool
}

// ErrSettings marks settings that cannot be used.
var ErrSettings = errors.New("bad settings")

// ErrLogits marks logits whose sizes do not fit together or the settings.
var ErrLogits = errors.New("bad logits")

// Decider decides frames one after the other. It is not safe for concurrent
// use; Apply belongs between two calls of Decide.
type Decider struct {
	s       Settings
	weights []float64 // per class; empty without shares

	// z of class k is logits*mul[k] + add[k]
	mul, add []float32
	logTau   float64 // ln of the threshold
	margin   float32 // a lead over the second best that passes the threshold in any case

	xs, ys axis
	arg    []uint8 // best class of each grid point
	sure   []bool  // whether it passes the threshold
	best   []float32
	second []float32
	border []int32 // cells of the band at hand that need arithmetic
	rival  []rival // what they are
	able   []uint8 // their classes above the mean of the winners, room for all classes each

	cand  []corner // classes that can win in the cell at hand
	val   []float32
	slope []float32
	geo   []geometric // exponentials of the cell at hand, one per class
}

// New makes a decider.
func New(s Settings) (*Decider, error) {
	d := &Decider{}
	if err := d.Apply(s); err != nil {
		return nil, err
	}
	return d, nil
}

// Apply puts new settings into force from the next frame on. After an error
// the old ones stay.
func (d *Decider) Apply(s Settings) error {
	if s.Mode == "" {
		s.Mode = Probability
	}
	if s.Temperature == 0 {
		s.Temperature = 1
	}
	switch {
	case s.Mode != Probability && s.Mode != Logit:
		return fmt.Errorf("decide: %w: mode %q is not %s or %s", ErrSettings, s.Mode, Probability, Logit)
	case !(s.Threshold >= 0 && s.Threshold <= 1): // written so that NaN fails
		return fmt.Errorf("decide: %w: threshold %v is not within 0..1", ErrSettings, s.Threshold)
	case !(s.Temperature > 0) || math.IsInf(s.Temperature, 0):
		return fmt.Errorf("decide: %w: temperature %v is not above 0", ErrSettings, s.Temperature)
	case len(s.Shares) == 0 && s.Std != 0:
		return fmt.Errorf("decide: %w: std %v needs class shares, of which there are none", ErrSettings, s.Std)
	}
	var weights []float64
	if len(s.Shares) > 0 {
		var err error
		if weights, err = Weights(s.Shares, s.Std); err != nil {
			return err
		}
	}
	s.Shares = slices.Clone(s.Shares)
	d.s, d.weights = s, weights
	d.mul, d.add = d.mul[:0], d.add[:0]
	d.prepare(len(weights))
	return nil
}

// Settings returns the settings in force.
func (d *Decider) Settings() Settings {
	s := d.s
	s.Shares = slices.Clone(s.Shares)
	return s
}

// prepare computes the per-class factors and the threshold for c classes.
func (d *Decider) prepare(c int) {
	if len(d.mul) == c {
		return
	}
	d.mul, d.add = d.mul[:0], d.add[:0]
	for k := range c {
		mul, add := 1/d.s.Temperature, 0.0
		if len(d.weights) > 0 {
			if d.s.Mode == Logit {
				mul *= d.weights[k]
			} else {
				add = math.Log(d.weights[k])
			}
		}
		d.mul, d.add = append(d.mul, float32(mul)), append(d.add, float32(add))
	}
	// The best of c classes has at least probability 1/c, so that a threshold
	// up to there does nothing.
	d.logTau, d.margin = math.Inf(-1), float32(math.Inf(-1))
	if d.s.Threshold*float64(c) > 1 {
		d.logTau = math.Log(d.s.Threshold)
		// sum of exp(z_j - z_best) <= 1 + (c-1)*exp(-lead)
		d.margin = float32(math.Log(float64(c-1) / (1/d.s.Threshold - 1)))
	}
}

// Decide fills dst with the class of each of OutH x OutW pixels, and copies
// the meta. Pixels outside Meta.Valid, where that is not empty, are Unknown.
// Values that are not finite give some class, never a panic.
func (d *Decider) Decide(dst *frame.Mask, src *frame.Logits) error {
	if err := d.check(src); err != nil {
		return err
	}
	d.prepare(src.C)
	d.xs.set(src.W, src.OutW, d.s.AlignCorners)
	d.ys.set(src.H, src.OutH, d.s.AlignCorners)
	d.grow(src)
	dst.Reset(src.OutW, src.OutH)
	dst.Meta = src.Meta

	d.winners(src)
	if !math.IsInf(d.logTau, -1) {
		d.confidence(src)
	}
	for cy := range len(d.ys.first) - 1 {
		d.band(dst, src, cy)
	}
	blank(dst, src.Valid)
	return nil
}

func (d *Decider) check(src *frame.Logits) error {
	switch {
	case src.C < 1 || src.C > frame.Unknown || src.H < 1 || src.W < 1 ||
		src.H > maxPixels || src.W > maxPixels || src.H*src.W > maxPixels:
		return fmt.Errorf("decide: %w: %d classes of %dx%d values", ErrLogits, src.C, src.W, src.H)
	case len(src.Data) != src.C*src.H*src.W:
		return fmt.Errorf("decide: %w: %d values for %d classes of %dx%d",
			ErrLogits, len(src.Data), src.C, src.W, src.H)
	case src.OutW < 1 || src.OutH < 1 || src.OutW > maxPixels || src.OutH > maxPixels ||
		src.OutW*src.OutH > maxPixels:
		return fmt.Errorf("decide: %w: a mask of %dx%d pixels", ErrLogits, src.OutW, src.OutH)
	case len(d.weights) > 0 && len(d.weights) != src.C:
		return fmt.Errorf("decide: %w: %d classes, but %d class shares", ErrLogits, src.C, len(d.weights))
	}
	return nil
}

// grow makes the buffers fit; it allocates only when a size is new.
func (d *Decider) grow(src *frame.Logits) {
	if n := src.H * src.W; len(d.arg) != n {
		d.arg, d.sure = make([]uint8, n), make([]bool, n)
		d.best, d.second = make([]float32, n), make([]float32, n)
	}
	if cap(d.border) < len(d.xs.first) {
		d.border, d.rival = make([]int32, 0, len(d.xs.first)), make([]rival, 0, len(d.xs.first))
	}
	if n := src.C * cap(d.border); len(d.able) < n {
		d.able = make([]uint8, n)
	}
	if len(d.cand) < src.C {
		d.cand = make([]corner, src.C)
		d.val, d.slope = make([]float32, src.C), make([]float32, src.C)
		d.geo = make([]geometric, src.C)
	}
}

// winners finds the best class of each grid point, the first of equals.
func (d *Decider) winners(src *frame.Logits) {
	d.plainWinners(src, d.fastWinners(src.Data, src.H*src.W, src.C))
}

// plainWinners is winners from a grid point on.
func (d *Decider) plainWinners(src *frame.Logits, from int) {
	n := src.H * src.W
	arg, best := d.arg[from:n], d.best[from:n]
	mul, add := d.mul[0], d.add[0]
	for i, v := range src.Data[from:n] {
		best[i] = v*mul + add
		arg[i] = 0
	}
	for k := 1; k < src.C; k++ {
		mul, add = d.mul[k], d.add[k]
		plane := src.Data[k*n+from : (k+1)*n]
		for i, v := range plane[:len(best)] {
			if v = v*mul + add; v > best[i] {
				best[i] = v
				arg[i] = uint8(k)
			}
		}
	}
}

// blank makes the pixels outside of valid unknown.
func blank(m *frame.Mask, valid frame.Rect) {
	if valid.Empty() {
		return
	}
	x0, x1 := min(max(valid.X0, 0), m.W), max(min(valid.X1, m.W), 0)
	for y := range m.H {
		row := m.Class[y*m.W : (y+1)*m.W]
		if y < valid.Y0 || y >= valid.Y1 || x0 >= x1 {
			fill(row, frame.Unknown)
			continue
		}
		fill(row[:x0], frame.Unknown)
		fill(row[x1:], frame.Unknown)
	}
}
