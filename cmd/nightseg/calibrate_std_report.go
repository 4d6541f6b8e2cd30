package main

import (
	"fmt"
	"image"
	"image/color"
	"strings"

	"nightseg/calibrate/sweep"
	"nightseg/edge/decide"
	"nightseg/score"
)

// stdReport is what calibrate std found, as --json prints it. Scores are in
// percent, gains in points.
type stdReport struct {
	Bundle    string     `json:"bundle"`
	SHA256    string     `json:"bundle_sha256"`
	Engine    string     `json:"engine"`
	Precision string     `json:"precision"`
	Relight   string     `json:"relight"`
	Set       string     `json:"set"`
	Frames    int        `json:"frames"`
	Block     int        `json:"bootstrap_block"`
	Points    []stdPoint `json:"points"`
	Best      stdPoint   `json:"best"`
	Chosen    stdPoint   `json:"chosen"`
	Rule      string     `json:"rule"`
	Picture   string     `json:"picture,omitempty"`
	Out       *written   `json:"out,omitempty"`
}

type stdPoint struct {
	Mode     string         `json:"mode"`
	Std      float64        `json:"std"`
	MIoU     float64        `json:"miou"`
	Interval score.Interval `json:"interval"`
	Gain     float64        `json:"gain"` // over std 0
	Spread   score.Interval `json:"gain_interval"`
	Behind   score.Interval `json:"behind_best_interval"`
}

func newStdReport(f *stdFlags, ev *evaluation, c *sweep.Curve, block int) *stdReport {
	b := ev.bundle
	r := &stdReport{
		Bundle: b.Name + " " + b.Version, SHA256: b.SHA256, Engine: ev.source, Precision: ev.groups[0].precision,
		Relight: relightOr(f.relight, b), Set: setName(f.images), Frames: len(ev.lumas), Block: block,
		Rule: sweep.Rule, Picture: f.picture,
	}
	for _, p := range c.Points {
		r.Points = append(r.Points, stdPoint{
			Mode: string(p.Mode), Std: p.Std, MIoU: percent(p.MIoU), Interval: inPercent(p.Interval),
			Gain: percent(p.Gain), Spread: inPercent(p.Spread), Behind: inPercent(p.Behind),
		})
	}
	r.Best, r.Chosen = r.Points[c.Best], r.Points[c.Chosen]
	return r
}

// glance is what is written down of a look.
func (r *stdReport) glance() glance {
	s := glance{bundle: r.Bundle, sha256: r.SHA256, frames: r.Frames}
	for _, p := range r.Points {
		s.figures = append(s.figures, fmt.Sprintf("%s/%s/%s/%g %.2f [%.2f %.2f]", r.Precision, r.Relight, p.Mode,
			p.Std, p.MIoU, p.Interval.Low, p.Interval.High))
	}
	return s
}

// text is the report for people.
func (r *stdReport) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %d frames; %s %s, relight %s, on %s; 95 %% intervals, blocks of %d frames\n",
		r.Set, r.Frames, r.Bundle, r.Precision, r.Relight, r.Engine, r.Block)
	fmt.Fprintf(&s, "  %-12s %5s %6s %16s %8s %18s\n", "mode", "std", "mIoU", "interval", "gain", "interval")
	for _, p := range r.Points {
		mark := ""
		if p == r.Best {
			mark = "  best"
		}
		if p == r.Chosen {
			mark += "  chosen"
		}
		mode := p.Mode
		if p.Std == 0 {
			mode = "off"
		}
		fmt.Fprintf(&s, "  %-12s %5g %6.2f [%6.2f, %6.2f] %+8.2f [%+7.2f, %+7.2f]%s\n", mode, p.Std, p.MIoU,
			p.Interval.Low, p.Interval.High, p.Gain, p.Spread.Low, p.Spread.High, mark)
	}
	fmt.Fprintf(&s, "chosen: %s, std %g: %s\n", r.Chosen.Mode, r.Chosen.Std, r.Rule)
	if r.Picture != "" {
		fmt.Fprintf(&s, "drawn in %s\n", r.Picture)
	}
	if r.Out != nil {
		fmt.Fprintf(&s, "%s\n", r.Out)
	}
	return s.String()
}

// plot maps figures to places on a chart.
type plot struct {
	x0, x1, y0, y1 float64 // pixels; y1 is the upper edge
	lo, hi, most   float64 // figures: y from lo to hi, x from 0 to most
}

func (p *plot) at(x, y float64) point {
	return point{p.x0 + (p.x1-p.x0)*x/p.most, p.y0 + (p.y1-p.y0)*(y-p.lo)/(p.hi-p.lo)}
}

// draw draws the gain over std 0 of both modes with its interval, and the choice.
func (r *stdReport) draw() (*image.RGBA, error) {
	const h = 560
	c, err := newChart(chartW, h, "Spread of the class weights", fmt.Sprintf(
		"%s: %d frames; %s %s, relight %s; std 0 has an mIoU of %.1f %% (%.1f to %.1f)", r.Set, r.Frames, r.Bundle,
		r.Precision, r.Relight, r.Points[0].MIoU, r.Points[0].Interval.Low, r.Points[0].Interval.High))
	if err != nil {
		return nil, err
	}
	p := &plot{x0: chartMargin + 60, x1: chartW - chartMargin - 10, y0: h - 64, y1: chartHead + 40}
	for _, pt := range r.Points {
		p.lo, p.hi, p.most = min(p.lo, pt.Spread.Low), max(p.hi, pt.Spread.High), max(p.most, pt.Std)
	}
	p.most = max(p.most, 1e-3)
	room := max(0.06*(p.hi-p.lo), 0.05)
	p.lo, p.hi = p.lo-room, p.hi+room
	r.axes(c, p)
	modes := []decide.Mode{decide.Probability, decide.Logit}
	colours := []color.RGBA{chartBlue, chartAmber}
	lines := make([][]point, len(modes))
	for i, mode := range modes { // the bands first: they would dull the lines
		lines[i] = r.band(c, p, string(mode), colours[i])
	}
	for i, mode := range modes {
		x := p.x0 + 190*float64(i)
		c.line(colours[i], 3, point{x, chartHead + 14}, point{x + 24, chartHead + 14})
		c.text(c.plain, x+32, chartHead+19, alignLeft, chartInk, string(mode))
		c.line(colours[i], 2.5, lines[i]...)
		for _, at := range lines[i] {
			c.dot(colours[i], at, 3.5)
		}
	}
	r.markChoice(c, p)
	return c.img, nil
}

// signed is a difference with its sign; nothing has none.
func signed(v float64) string {
	if v == 0 {
		return "0"
	}
	return fmt.Sprintf("%+.3g", v)
}

func (r *stdReport) axes(c *chart, p *plot) {
	for _, v := range ticks(p.lo, p.hi, 6) {
		y := p.at(0, v).y
		c.box(chartGrid, p.x0, y-0.5, p.x1, y+0.5)
		c.text(c.plain, p.x0-8, y+5, alignRight, chartPale, signed(v))
	}
	for _, v := range ticks(0, p.most, 8) {
		x := p.at(v, 0).x
		c.box(chartGrid, x-0.5, p.y1, x+0.5, p.y0)
		c.text(c.plain, x, p.y0+20, alignCentre, chartPale, fmt.Sprintf("%.3g", v))
	}
	zero := p.at(0, 0).y
	c.box(chartPale, p.x0, zero-0.75, p.x1, zero+0.75)
	c.text(c.plain, (p.x0+p.x1)/2, p.y0+46, alignCentre, chartInk,
		"std; up: points of mIoU above std 0, with their 95 % interval")
}

// band draws the intervals of a mode and returns its line; std 0 is of both modes.
func (r *stdReport) band(c *chart, p *plot, mode string, col color.RGBA) (line []point) {
	var band, back []point
	for _, pt := range r.Points {
		if pt.Mode != mode && pt.Std != 0 {
			continue
		}
		line = append(line, p.at(pt.Std, pt.Gain))
		band = append(band, p.at(pt.Std, pt.Spread.High))
		back = append([]point{p.at(pt.Std, pt.Spread.Low)}, back...)
	}
	if len(line) > 1 {
		c.fill(faint(col), append(band, back...)...)
	}
	return line
}

func (r *stdReport) markChoice(c *chart, p *plot) {
	at := p.at(r.Chosen.Std, r.Chosen.Gain)
	c.dot(chartInk, at, 9)
	c.dot(chartBack, at, 6.5)
	col := chartBlue
	if r.Chosen.Mode == string(decide.Logit) {
		col = chartAmber
	}
	c.dot(col, at, 4.5)
	name := fmt.Sprintf("chosen: %s, std %g", r.Chosen.Mode, r.Chosen.Std)
	if r.Chosen.Std == 0 {
		name = "chosen: std 0"
	}
	a, x := alignLeft, at.x+14
	if at.x > (p.x0+p.x1)/2 {
		a, x = alignRight, at.x-14
	}
	c.text(c.bold, x, at.y-14, a, chartInk, name)
}
