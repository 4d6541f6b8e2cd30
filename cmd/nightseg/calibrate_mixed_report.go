package main

import (
	"fmt"
	"image"
	"math"
	"strings"

	"nightseg/calibrate/sensitivity"
)

// shownLayers is how many layers the report lists.
const shownLayers = 12

// searchReport prints and draws what a search measured.
func (a *app) searchReport(f *rangeFlags, t *searchTable) error {
	if f.picture != "" {
		img, err := t.draw()
		if err != nil {
			return err
		}
		if err := writePNG(f.picture, img); err != nil {
			return fmt.Errorf("--picture: %w", err)
		}
	}
	if f.markdown {
		a.printf("%s", t.markdown())
	} else {
		a.printf("%s", t.text())
	}
	if f.picture != "" {
		a.printf("drawn in %s\n", f.picture)
	}
	return nil
}

// text is the report for people.
func (t *searchTable) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "layers by the error of the logits when each alone is in 8 bits (%d frames):\n", t.Frames)
	fmt.Fprintf(&s, "  %3s %8s %12s  %s\n", "", "SQNR", "other class", "layer")
	for i, l := range t.Layers[:min(len(t.Layers), shownLayers)] {
		fmt.Fprintf(&s, "  %3d %8s %12s  %s\n", i+1, decibels(l.Noise), share(l.Changed), layerName(l))
	}
	if n := len(t.Layers) - shownLayers; n > 0 {
		fmt.Fprintf(&s, "  and %d more, from %s on\n", n, decibels(t.Layers[shownLayers].Noise))
	}
	fmt.Fprintf(&s, "error against time: %s, %s; float takes %.1f ms a frame\n", t.names, t.engine, t.Float)
	fmt.Fprintf(&s, "  %9s %8s %12s %7s %9s  %s\n", "in float", "SQNR", "other class", "ms", "of float", "gate")
	for _, st := range t.Steps {
		mark := ""
		if st.Chosen {
			mark = "  chosen"
		}
		fmt.Fprintf(&s, "  %9s %8s %12s %7.1f %8.0f%%  %s%s\n", st.which(), decibels(st.Noise), share(st.Changed), st.MS,
			100*st.Ratio, st.verdict(), mark)
	}
	return s.String()
}

// markdown is the table of docs/quantisation.md.
func (t *searchTable) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "**%s**, %s; logits on %d frames; float takes %.1f ms a frame.\n\n", t.names, t.engine, t.Frames,
		t.Float)
	row(&s, []string{"layers in float", "SQNR", "other class", "ms a frame", "of float", "gate"})
	row(&s, []string{"---:", "---:", "---:", "---:", "---:", "---"})
	for _, st := range t.Steps {
		name := st.which()
		if st.Chosen {
			name = "**" + name + "**"
		}
		row(&s, []string{
			name, decibels(st.Noise), share(st.Changed), fmt.Sprintf("%.1f", st.MS),
			fmt.Sprintf("%.0f %%", 100*st.Ratio), st.verdict(),
		})
	}
	fmt.Fprintf(&s, "\nThe most sensitive layers, each alone in 8 bits:\n\n")
	row(&s, []string{"", "layer", "SQNR", "other class"})
	row(&s, []string{"---:", "---", "---:", "---:"})
	for i, l := range t.Layers[:min(len(t.Layers), shownLayers)] {
		row(&s, []string{fmt.Sprint(i + 1), "`" + layerName(l) + "`", decibels(l.Noise), share(l.Changed)})
	}
	return s.String()
}

// which are the ranks of the layers in float, for people.
func (s *step) which() string {
	switch n := len(s.Float); {
	case n == 0:
		return "none"
	case n > 1 && s.firsts():
		return fmt.Sprintf("1 to %d", n)
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(s.Float), " ", ", "), "[]")
}

// verdict is what the gate says in short: the figure that decides.
func (s *step) verdict() string {
	if s.Holds {
		return "holds, least: " + s.Worst
	}
	return fmt.Sprintf("FAILS in %d, most: %s", s.Failed, s.Worst)
}

func layerName(l sensitivity.Layer) string {
	if l.Picture > 0 {
		return fmt.Sprintf("%s %s (picture %s)", l.Graph, l.Name, decibels(l.Picture))
	}
	return l.Graph + " " + l.Name
}

func decibels(noise float64) string {
	if noise == 0 {
		return "exact"
	}
	return fmt.Sprintf("%.1f dB", sensitivity.Decibels(noise))
}

func share(percent float64) string { return fmt.Sprintf("%.2f %%", percent) }

// draw draws the share of logits with another class than float against the time of
// a frame; the float networks are without error. Times are in parts of float's:
// these hold on a busy machine, too.
func (t *searchTable) draw() (*image.RGBA, error) {
	const h = 560
	title := "Layers given back to float: error against time"
	c, err := newChart(chartW, h, title, t.names+"; "+t.engine)
	if err != nil {
		return nil, err
	}
	p := &plot{x0: chartMargin + 60, x1: chartW - chartMargin - 10, y0: h - 64, y1: chartHead + 40, most: 1}
	for _, st := range t.Steps {
		p.hi, p.most = max(p.hi, st.Changed), max(p.most, st.Ratio)
	}
	p.hi, p.most = max(1.12*p.hi, 0.01), 1.08*p.most
	t.axes(c, p)
	x := p.x0
	for _, key := range []struct {
		draw func(point)
		text string
	}{
		{func(at point) { c.dot(chartBlue, at, 5) }, "the gate holds"},
		{func(at point) { c.dot(chartAmber, at, 5) }, "the gate fails"},
		{func(at point) { c.dot(chartInk, at, 5) }, "all in float"},
	} {
		key.draw(point{x + 6, chartHead + 14})
		c.text(c.plain, x+18, chartHead+19, alignLeft, chartInk, key.text)
		x += 160
	}
	var line []point
	for _, st := range t.Steps {
		if st.firsts() {
			line = append(line, p.at(st.Ratio, st.Changed))
		}
	}
	c.line(chartGrid, 2, line...)
	t.marks(c, p)
	return c.img, nil
}

func (t *searchTable) axes(c *chart, p *plot) {
	for _, v := range ticks(0, p.hi, 6) {
		y := p.at(0, v).y
		c.box(chartGrid, p.x0, y-0.5, p.x1, y+0.5)
		c.text(c.plain, p.x0-8, y+5, alignRight, chartPale, fmt.Sprintf("%.3g %%", v))
	}
	for _, v := range ticks(0, p.most, 8) {
		x := p.at(v, 0).x
		c.box(chartGrid, x-0.5, p.y1, x+0.5, p.y0)
		c.text(c.plain, x, p.y0+20, alignCentre, chartPale, fmt.Sprintf("%.3g %%", 100*v))
	}
	c.text(c.plain, (p.x0+p.x1)/2, p.y0+46, alignCentre, chartInk, fmt.Sprintf("time of a frame, of float's %.0f ms; "+
		"up: logits with another class than float; at the dots: ranks of the layers in float", t.Float))
}

// marks draws the steps with the number of their layers, and the float networks.
func (t *searchTable) marks(c *chart, p *plot) {
	float := p.at(1, 0)
	c.dot(chartInk, float, 5)
	c.text(c.plain, float.x, float.y-12, alignCentre, chartInk, "float")
	last := point{-100, -100}
	for _, st := range t.Steps {
		at, col := p.at(st.Ratio, st.Changed), chartAmber
		if st.Holds {
			col = chartBlue
		}
		if st.Chosen { // its name is on the side where no other one is
			c.dot(chartInk, at, 9)
			c.dot(chartBack, at, 6.5)
			c.text(c.bold, at.x-12, at.y+22, alignRight, chartInk, st.which()+", chosen")
		}
		c.dot(col, at, 4.5)
		if st.Chosen || !st.firsts() || len(st.Float) == 1 || math.Hypot(at.x-last.x, at.y-last.y) < 20 {
			continue // the names would lie on one another
		}
		last = at
		if len(st.Float) == 0 { // single layers, which have no names, are beside it and on its right
			c.text(c.plain, at.x-10, at.y+5, alignRight, chartInk, st.which())
			continue
		}
		c.text(c.plain, at.x+10, at.y-8, alignLeft, chartInk, st.which())
	}
}
