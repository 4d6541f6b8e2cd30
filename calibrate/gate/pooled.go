package gate

import (
	"errors"
	"fmt"
	"math"

	"nightseg/edge/decide"
	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/score"
)

// marginBits are the leading bits of a margin that are kept: sign, exponent
// and seven bits of the fraction, so that two margins in one bin differ by less
// than one percent.
const marginBits = 16

// Pooled compares masks of both networks over a drive without labels.
type Pooled struct {
	counts *score.Confusion // float in rows, int8 in columns
	frames int
	total  []uint64 // pixels by margin
	equal  []uint64 // those on which both agree
}

// NewPooled returns an empty comparison.
func NewPooled(classes int) *Pooled {
	return &Pooled{
		counts: score.NewConfusion(classes),
		total:  make([]uint64, 1<<marginBits), equal: make([]uint64, 1<<marginBits),
	}
}

// Add counts a frame: the masks of both networks, and the margins of the float
// logits. Pixels without a class in float (padding) are left out.
func (p *Pooled) Add(float, int8 *frame.Mask, margins []float32) error {
	if len(margins) != len(float.Class) {
		return fmt.Errorf("gate: %d margins of %d pixels", len(margins), len(float.Class))
	}
	if err := p.counts.Add(float.Class, int8.Class); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	for i, k := range float.Class {
		if k == frame.Unknown {
			continue
		}
		bin := math.Float32bits(max(margins[i], 0)) >> (32 - marginBits)
		p.total[bin]++
		if int8.Class[i] == k {
			p.equal[bin]++
		}
	}
	p.frames++
	return nil
}

// Figures judges what was added.
func (p *Pooled) Figures(names []string, l Limits) ([]model.GateFigure, error) {
	var pixels uint64
	for _, n := range p.total {
		pixels += n
	}
	if pixels == 0 {
		return nil, errors.New("gate: no frame was compared")
	}
	agreement := percent(p.agreement(l.Uncertain / 100 * float64(pixels)))
	figures := []model.GateFigure{{
		Name: Agreement, Value: agreement, Limit: l.Agreement, Holds: agreement >= l.Agreement,
	}}
	for k, name := range names {
		row, col, hit := labelled(p.counts, k), predicted(p.counts, k), p.counts.Count(k, k)
		// A class that int8 alone sees is as wrong as one that it misses.
		if n := max(row, col); n == 0 || 100*float64(n) < l.PixelShare*float64(pixels) {
			continue
		}
		iou := percent(float64(hit) / float64(row+col-hit))
		figures = append(figures, model.GateFigure{
			Name: IoU, Class: name, Value: iou, Limit: l.IoU, Holds: iou >= l.IoU,
		})
	}
	return figures, nil
}

// agreement is the share of equal pixels without those of the lowest margins:
// as many whole bins as hold at most uncertain pixels.
func (p *Pooled) agreement(uncertain float64) float64 {
	var below, all, same uint64
	for bin, n := range p.total {
		if all == 0 && float64(below+n) <= uncertain {
			below += n
			continue
		}
		all += n
		same += p.equal[bin]
	}
	if all == 0 {
		return 1
	}
	return float64(same) / float64(all)
}

// Margins computes how far the best class lies before the second one at each
// pixel of the mask: of the logits as they are decided, with class weights.
type Margins struct {
	corners  bool
	mul, add []float32
	grid     []float32 // weighted logits
	best     []float32
	second   []float32
	out      []float32
}

// NewMargins returns margins for logits that are decided with s.
func NewMargins(s decide.Settings, classes int) (*Margins, error) {
	m := &Margins{corners: s.AlignCorners}
	weights := make([]float64, classes)
	for k := range weights {
		weights[k] = 1
	}
	if s.Std != 0 {
		w, err := decide.Weights(s.Shares, s.Std)
		if err != nil {
			return nil, err
		}
		if copy(weights, w) != classes || len(w) != classes {
			return nil, fmt.Errorf("gate: %d class shares for %d classes", len(w), classes)
		}
	}
	for _, w := range weights {
		mul, add := 1.0, math.Log(w)
		if s.Mode == decide.Logit {
			mul, add = w, 0
		}
		if s.Temperature > 0 {
			mul /= s.Temperature
		}
		m.mul, m.add = append(m.mul, float32(mul)), append(m.add, float32(add))
	}
	return m, nil
}

// Of returns the margins of logits; they are good until the next call.
func (m *Margins) Of(l *frame.Logits) ([]float32, error) {
	n := l.H * l.W
	if l.C != len(m.mul) || len(l.Data) != l.C*n {
		return nil, fmt.Errorf("gate: %d values for %d classes of %d x %d", len(l.Data), len(m.mul), l.W, l.H)
	}
	if len(m.out) != l.OutW*l.OutH || len(m.grid) != len(l.Data) {
		m.out, m.grid = make([]float32, l.OutW*l.OutH), make([]float32, len(l.Data))
		m.best, m.second = make([]float32, l.OutW), make([]float32, l.OutW)
	}
	for k := range l.C {
		for i, v := range l.Data[k*n : (k+1)*n] {
			m.grid[k*n+i] = v*m.mul[k] + m.add[k]
		}
	}
	xs, ys := steps(l.W, l.OutW, m.corners), steps(l.H, l.OutH, m.corners)
	for y, sy := range ys {
		for x := range m.best {
			m.best[x], m.second[x] = float32(math.Inf(-1)), float32(math.Inf(-1))
		}
		for k := range l.C {
			m.row(m.grid[k*n:(k+1)*n], l.W, sy, xs)
		}
		for x := range m.best {
			m.out[y*l.OutW+x] = m.best[x] - m.second[x]
		}
	}
	return m.out, nil
}

// row brings a row of one class to full size and keeps the two best values.
func (m *Margins) row(plane []float32, w int, y step, xs []step) {
	top, bottom := plane[y.a*w:][:w], plane[y.b*w:][:w]
	for x, s := range xs {
		u := top[s.a] + (top[s.b]-top[s.a])*s.f
		d := bottom[s.a] + (bottom[s.b]-bottom[s.a])*s.f
		v := u + (d-u)*y.f
		switch {
		case v > m.best[x]:
			m.best[x], m.second[x] = v, m.best[x]
		case v > m.second[x]:
			m.second[x] = v
		}
	}
}

// step says that a sample is (1-f) of entry a and f of entry b.
type step struct {
	a, b int
	f    float32
}

// steps is bilinear enlargement along one axis, by either corner rule; it is
// that of model.FullSizeArgMax.
func steps(in, out int, corners bool) []step {
	list := make([]step, out)
	for i := range list {
		pos := (float64(i)+0.5)*float64(in)/float64(out) - 0.5
		if corners && out > 1 {
			pos = float64(i) * float64(in-1) / float64(out-1)
		}
		pos = min(max(pos, 0), float64(in-1))
		a := int(pos)
		list[i] = step{a: a, b: min(a+1, in-1), f: float32(pos - float64(a))}
	}
	return list
}
