package main

import (
	"fmt"
	"image"
	"image/color"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"nightseg/model"
)

// Sizes of a contact sheet, in pixels.
const (
	tileW     = 360
	sheetGap  = 6
	lineH     = 26 // of text
	textSize  = 16
	titleSize = 20
	swatch    = 16
)

var (
	sheetBack = color.Gray{Y: 20}
	sheetText = color.Gray{Y: 235}
)

// sheet is a contact sheet: a row per frame with the frame, what relighting
// made of it, the mask, and the mask over the frame; below, the colours of the
// classes.
type sheet struct {
	title, subtitle string
	rows            []views
	captions        []string // of the rows
	classes         []model.Class

	img         *image.RGBA
	plain, bold font.Face
}

// draw draws the sheet.
func (s *sheet) draw() (*image.RGBA, error) {
	var err error
	if s.plain, err = face(goregular.TTF, textSize); err != nil {
		return nil, err
	}
	if s.bold, err = face(gobold.TTF, titleSize); err != nil {
		return nil, err
	}
	tileH := tileW * 3 / 4
	if len(s.rows) > 0 {
		b := s.rows[0].frame.Bounds()
		tileH = tileW * b.Dy() / b.Dx()
	}
	w := len(viewNames)*(tileW+sheetGap) + sheetGap
	s.img = image.NewRGBA(image.Rect(0, 0, w, 0))
	legend := s.legend(0, false)
	h := 3*lineH + sheetGap + len(s.rows)*(lineH+tileH+sheetGap) + legend + sheetGap
	s.img = image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(s.img, s.img.Rect, image.NewUniform(sheetBack), image.Point{}, draw.Src)
	s.text(s.bold, sheetGap, lineH-6, s.title)
	s.text(s.plain, sheetGap, 2*lineH-8, s.subtitle)
	for i, name := range viewNames {
		s.text(s.bold, sheetGap+i*(tileW+sheetGap), 3*lineH-4, name)
	}
	y := 3*lineH + sheetGap
	for i := range s.rows {
		s.text(s.plain, sheetGap, y+lineH-8, s.captions[i])
		s.row(&s.rows[i], y+lineH, tileH)
		y += lineH + tileH + sheetGap
	}
	s.legend(y, true)
	return s.img, nil
}

func face(ttf []byte, size float64) (font.Face, error) {
	f, err := opentype.Parse(ttf)
	if err != nil {
		return nil, fmt.Errorf("contact sheet: %w", err)
	}
	return opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingFull})
}

// row draws the four pictures of a frame.
func (s *sheet) row(v *views, y, tileH int) {
	for x, view := range v.images() {
		at := image.Pt(sheetGap+x*(tileW+sheetGap), y)
		to := image.Rectangle{Min: at, Max: at.Add(image.Pt(tileW, tileH))}
		var scale draw.Scaler = draw.BiLinear
		if _, ok := view.(*image.Paletted); ok {
			scale = draw.NearestNeighbor // colours between two classes would be a third one
		}
		scale.Scale(s.img, to, view, view.Bounds(), draw.Src, nil)
	}
}

// legend draws the colours of the classes from y on, or only says how much
// height they take.
func (s *sheet) legend(y int, show bool) (height int) {
	x := sheetGap
	height = lineH
	for _, c := range s.classes {
		wide := swatch + sheetGap + font.MeasureString(s.plain, c.Name).Ceil() + 4*sheetGap
		if x > sheetGap && x+wide > s.img.Rect.Dx() {
			x = sheetGap
			height += lineH
		}
		if top := y + height - lineH + 4; show {
			box := image.Rect(x, top, x+swatch, top+swatch)
			fill := color.RGBA{c.Colour[0], c.Colour[1], c.Colour[2], 255}
			draw.Draw(s.img, box, image.NewUniform(fill), image.Point{}, draw.Src)
			s.text(s.plain, x+swatch+sheetGap, top+13, c.Name)
		}
		x += wide
	}
	return height
}

// text writes a line whose letters stand on y.
func (s *sheet) text(f font.Face, x, y int, line string) {
	d := font.Drawer{Dst: s.img, Src: image.NewUniform(sheetText), Face: f, Dot: fixed.P(x, y)}
	d.DrawString(line)
}
