package main

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// Sizes of a chart, in pixels.
const (
	chartW      = 900
	chartMargin = 24
	chartHead   = 72 // title and subtitle
)

var (
	chartBack  = color.RGBA{255, 255, 255, 255}
	chartInk   = color.RGBA{30, 30, 30, 255}
	chartPale  = color.RGBA{110, 110, 110, 255}
	chartGrid  = color.RGBA{224, 224, 224, 255}
	chartBlue  = color.RGBA{31, 105, 180, 255}
	chartAmber = color.RGBA{214, 102, 13, 255}
)

// chart is a picture with a title on which figures are drawn.
type chart struct {
	img         *image.RGBA
	plain, bold font.Face
}

func newChart(w, h int, title, subtitle string) (*chart, error) {
	plain, err := face(goregular.TTF, textSize-1)
	if err != nil {
		return nil, err
	}
	bold, err := face(gobold.TTF, titleSize)
	if err != nil {
		return nil, err
	}
	c := &chart{img: image.NewRGBA(image.Rect(0, 0, w, h)), plain: plain, bold: bold}
	draw.Draw(c.img, c.img.Rect, image.NewUniform(chartBack), image.Point{}, draw.Src)
	c.text(c.bold, chartMargin, 34, alignLeft, chartInk, title)
	c.text(c.plain, chartMargin, 58, alignLeft, chartPale, subtitle)
	return c, nil
}

// align says which end of a text lies at its place.
type align uint8

const (
	alignLeft align = iota
	alignCentre
	alignRight
)

// text writes a line whose letters stand on y.
func (c *chart) text(f font.Face, x, y float64, a align, col color.Color, line string) {
	w := float64(font.MeasureString(f, line)) / 64
	x -= w * float64(a) / 2
	d := font.Drawer{
		Dst: c.img, Src: image.NewUniform(col), Face: f,
		Dot: fixed.Point26_6{X: fixed.Int26_6(x * 64), Y: fixed.Int26_6(y * 64)},
	}
	d.DrawString(line)
}

// point is a place on a chart.
type point struct{ x, y float64 }

// fill fills a polygon.
func (c *chart) fill(col color.Color, poly ...point) {
	if len(poly) < 3 {
		return
	}
	r := vector.NewRasterizer(c.img.Rect.Dx(), c.img.Rect.Dy())
	r.MoveTo(float32(poly[0].x), float32(poly[0].y))
	for _, p := range poly[1:] {
		r.LineTo(float32(p.x), float32(p.y))
	}
	r.ClosePath()
	r.Draw(c.img, c.img.Rect, image.NewUniform(col), image.Point{})
}

func (c *chart) box(col color.Color, x0, y0, x1, y1 float64) {
	c.fill(col, point{x0, y0}, point{x1, y0}, point{x1, y1}, point{x0, y1})
}

// line joins points with a line of a width.
func (c *chart) line(col color.Color, width float64, pts ...point) {
	for i := 1; i < len(pts); i++ {
		a, b := pts[i-1], pts[i]
		l := math.Hypot(b.x-a.x, b.y-a.y)
		if l == 0 {
			continue
		}
		u, v := (b.y-a.y)/l*width/2, (a.x-b.x)/l*width/2
		c.fill(col, point{a.x + u, a.y + v}, point{b.x + u, b.y + v}, point{b.x - u, b.y - v}, point{a.x - u, a.y - v})
	}
}

// dot draws a disc.
func (c *chart) dot(col color.Color, at point, radius float64) {
	const corners = 24
	var poly []point
	for i := range corners {
		s, k := math.Sincos(2 * math.Pi * float64(i) / corners)
		poly = append(poly, point{at.x + radius*k, at.y + radius*s})
	}
	c.fill(col, poly...)
}

// faint is a colour that lets most of what is below it through.
func faint(c color.RGBA) color.NRGBA { return color.NRGBA{c.R, c.G, c.B, 40} }

// niceStep is the distance of about n ticks over a span: 1, 2 or 5 times a power of ten.
func niceStep(span float64, n int) float64 {
	raw := span / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5} {
		if raw <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// ticks are the multiples of a nice step within lo..hi.
func ticks(lo, hi float64, n int) []float64 {
	step := niceStep(hi-lo, n)
	var out []float64
	for i := math.Ceil(lo/step - 1e-9); i*step <= hi+1e-9*step; i++ {
		out = append(out, i*step+0) // + 0: no negative zero
	}
	return out
}

// bar is a line of a bar chart.
type bar struct {
	name   string
	value  float64 // a share, 0..1
	mark   float64 // a share to compare with; negative: none
	note   string
	colour color.RGBA
}

const barH = 30

// logFrom is the ratio of the longest to the shortest bar from which a linear
// scale would hide the short ones.
const logFrom = 50

// barChart draws shares as bars: on a logarithmic scale where they differ by
// more than logFrom.
func barChart(title, subtitle, markName string, bars []bar) (*image.RGBA, error) {
	const names, notes = 130, 190
	h := chartHead + len(bars)*barH + 80
	c, err := newChart(chartW, h, title, subtitle)
	if err != nil {
		return nil, err
	}
	x0, x1 := float64(chartMargin+names), float64(chartW-chartMargin-notes)
	top, bottom := float64(chartHead+8), float64(chartHead+8+len(bars)*barH)
	s := newShareScale(bars, x0, x1)
	for _, v := range s.ticks {
		c.box(chartGrid, s.at(v)-0.5, top, s.at(v)+0.5, bottom)
		c.text(c.plain, s.at(v), bottom+18, alignCentre, chartPale, fmt.Sprintf("%.4g %%", 100*v))
	}
	for i, b := range bars {
		y := top + float64(i)*barH
		c.text(c.plain, x0-10, y+20, alignRight, chartInk, b.name)
		if b.value > 0 {
			end := s.at(b.value)
			c.box(chartInk, x0, y+5, end, y+barH-5)
			c.box(b.colour, x0, y+6, end-1, y+barH-6)
		}
		if b.mark > 0 {
			m := s.at(b.mark)
			c.line(chartBack, 6, point{m, y + 2}, point{m, y + barH - 2})
			c.line(chartInk, 2.5, point{m, y + 2}, point{m, y + barH - 2})
		}
		c.text(c.plain, x1+12, y+20, alignLeft, chartInk, b.note)
	}
	foot := "share of the labelled pixels"
	if s.log {
		foot += ", logarithmic"
	}
	c.text(c.plain, (x0+x1)/2, bottom+42, alignCentre, chartInk, foot)
	if markName != "" {
		c.line(chartInk, 2.5, point{x0, bottom + 50}, point{x0, bottom + 64})
		c.text(c.plain, x0+8, bottom+62, alignLeft, chartPale, markName)
	}
	return c.img, nil
}

// shareScale maps shares to places.
type shareScale struct {
	log    bool
	lo, hi float64
	x0, x1 float64
	ticks  []float64
}

func newShareScale(bars []bar, x0, x1 float64) shareScale {
	least, most := 1.0, 0.0
	for _, b := range bars {
		for _, v := range []float64{b.value, b.mark} {
			if v > 0 {
				least, most = min(least, v), max(most, v)
			}
		}
	}
	s := shareScale{x0: x0, x1: x1, hi: most, log: most > logFrom*least}
	if !s.log {
		s.ticks = ticks(0, s.hi, 6)
		return s
	}
	s.lo = math.Pow(10, math.Floor(math.Log10(least)-1e-9))
	for v := s.lo; v <= s.hi*1.0001; v *= 10 {
		s.ticks = append(s.ticks, v)
	}
	return s
}

func (s *shareScale) at(v float64) float64 {
	if s.log {
		return s.x0 + (s.x1-s.x0)*math.Log(v/s.lo)/math.Log(s.hi/s.lo)
	}
	return s.x0 + (s.x1-s.x0)*v/s.hi
}
