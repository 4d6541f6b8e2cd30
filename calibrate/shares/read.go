package shares

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"slices"
	"strings"

	"nightseg/edge/frame"
	"nightseg/model"
)

// mostPixels bounds what a broken or hostile file can ask for.
const mostPixels = 64 << 20

// bad marks an id that is neither a class nor none.
const bad = -1

// Reader turns label pictures of one form into class ids of a bundle.
type Reader struct {
	classes []model.Class
	form    Form
	table   [256]int16       // of ids: class, frame.Unknown or bad
	names   []string         // what the ids of Cityscapes are called
	colours map[uint32]uint8 // of colours: class or frame.Unknown
}

// NewReader returns a reader of labels of a form for a bundle's classes.
// Cityscapes' ids find their classes by name; see cityscapes.
func NewReader(form Form, classes []model.Class, unknown model.Unknown) (*Reader, error) {
	r := &Reader{classes: classes, form: form}
	for i := range r.table {
		r.table[i] = bad
	}
	r.table[frame.Unknown] = frame.Unknown
	switch form {
	case IDs:
		for i := range classes {
			r.table[i] = int16(i)
		}
	case TrainIDs, LabelIDs:
		r.fillCityscapes()
	case Palette:
		return r, r.fillColours(unknown)
	default:
		return nil, fmt.Errorf("shares: %q is no form of labels: there are %v", form, Forms())
	}
	return r, nil
}

// NewTableReader returns a reader of ids with a table from ids to classes;
// frame.Unknown in it means none.
func NewTableReader(classes []model.Class, table [256]uint8) *Reader {
	r := &Reader{classes: classes, form: IDs}
	for i, k := range table {
		r.table[i] = int16(k)
		if int(k) >= len(classes) && k != frame.Unknown {
			r.table[i] = bad
		}
	}
	return r
}

// cityscapes are the names of the train ids, each with the classes that stand
// for it where a bundle has no class of that name: those of CamVid.
var cityscapes = [...][]string{
	{"road"},
	{"sidewalk", "pavement"},
	{"building"},
	{"wall", "building"},
	{"fence"},
	{"pole"},
	{"traffic light", "signsymbol"},
	{"traffic sign", "signsymbol"},
	{"vegetation", "tree"},
	{"terrain", "tree"},
	{"sky"},
	{"person", "pedestrian"},
	{"rider", "bicyclist"},
	{"car"},
	{"truck", "car"},
	{"bus", "car"},
	{"train", "car"},
	{"motorcycle", "bicyclist"},
	{"bicycle", "bicyclist"},
}

// labelIDs are the label ids of the train ids, in their order; every other
// label id up to the last one is not scored, and has no class.
var labelIDs = [...]uint8{7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}

func (r *Reader) fillCityscapes() {
	r.names = make([]string, 256)
	if r.form == LabelIDs {
		for id := range labelIDs[len(labelIDs)-1] {
			r.table[id] = frame.Unknown
		}
	}
	for train, names := range cityscapes {
		id := uint8(train)
		if r.form == LabelIDs {
			id = labelIDs[train]
		}
		r.names[id], r.table[id] = names[0], bad
		for _, name := range names {
			if k := slices.IndexFunc(r.classes, func(c model.Class) bool { return c.Name == name }); k >= 0 {
				r.table[id] = int16(k)
				break
			}
		}
	}
}

func packed(c [3]uint8) uint32 { return uint32(c[0])<<16 | uint32(c[1])<<8 | uint32(c[2]) }

func (r *Reader) fillColours(unknown model.Unknown) error {
	r.colours = map[uint32]uint8{packed(unknown.Colour): frame.Unknown}
	seen := map[uint32]string{}
	for k, c := range r.classes {
		p := packed(c.Colour)
		if other, ok := seen[p]; ok {
			return fmt.Errorf("shares: the classes %s and %s of the bundle have the same colour: labels in colours "+
				"cannot tell them apart, use ids", other, c.Name)
		}
		seen[p] = c.Name
		r.colours[p] = uint8(k)
	}
	return nil
}

// Read returns the class, or frame.Unknown, of each pixel of a PNG file, rows
// from the top.
func (r *Reader) Read(doc []byte) ([]uint8, image.Point, error) {
	if r.form == Palette {
		return r.readColours(doc)
	}
	ids, size, err := DecodeIDs(doc)
	if err != nil {
		return nil, size, err
	}
	for i, v := range ids {
		k := r.table[v]
		if k == bad {
			return nil, size, fmt.Errorf("%s at %d, %d is no class of the bundle, which has %s: %s",
				r.idName(v), i%size.X, i/size.X, r.classList(), r.remedy())
		}
		ids[i] = uint8(k)
	}
	return ids, size, nil
}

func (r *Reader) idName(id uint8) string {
	if r.names != nil && r.names[id] != "" {
		return fmt.Sprintf("id %d (%s)", id, r.names[id])
	}
	return fmt.Sprintf("id %d", id)
}

func (r *Reader) remedy() string {
	if r.form == IDs {
		return "say in which form the labels are, or give a map from ids to classes"
	}
	return "give a map from ids to classes"
}

func (r *Reader) classList() string {
	names := make([]string, len(r.classes))
	for k, c := range r.classes {
		names[k] = c.Name
	}
	return strings.Join(names, ", ")
}

// decode reads a PNG file of a bearable size.
func decode(doc []byte) (image.Image, error) {
	c, err := png.DecodeConfig(bytes.NewReader(doc))
	if err != nil {
		return nil, fmt.Errorf("is not a PNG picture: %w", err)
	}
	if c.Width*c.Height > mostPixels {
		return nil, fmt.Errorf("%d x %d pixels are too many", c.Width, c.Height)
	}
	img, err := png.Decode(bytes.NewReader(doc))
	if err != nil {
		return nil, fmt.Errorf("is a damaged PNG picture: %w", err)
	}
	return img, nil
}

// DecodeIDs reads a PNG file of ids: 8-bit grey, or the indices of a palette.
func DecodeIDs(doc []byte) (ids []uint8, size image.Point, err error) {
	img, err := decode(doc)
	if err != nil {
		return nil, size, err
	}
	size = img.Bounds().Size()
	switch m := img.(type) {
	case *image.Gray:
		if depth := doc[24]; depth != 8 { // the decoder stretches the values of fewer bits
			return nil, size, fmt.Errorf("grey of %d bits: ids need 8", depth)
		}
		return rows(m.Pix, m.Stride, size), size, nil
	case *image.Paletted:
		return rows(m.Pix, m.Stride, size), size, nil
	}
	return nil, size, fmt.Errorf("is a colour picture (%T): ids are an 8-bit grey or palette PNG", img)
}

// rows copies pixels without what a stride adds.
func rows(pix []uint8, stride int, size image.Point) []uint8 {
	out := make([]uint8, 0, size.X*size.Y)
	for y := range size.Y {
		out = append(out, pix[y*stride:][:size.X]...)
	}
	return out
}

// readColours reads a PNG file whose colours are those of classes.
func (r *Reader) readColours(doc []byte) ([]uint8, image.Point, error) {
	img, err := decode(doc)
	if err != nil {
		return nil, image.Point{}, err
	}
	size := img.Bounds().Size()
	at, err := colourAt(img)
	if err != nil {
		return nil, size, err
	}
	ids := make([]uint8, size.X*size.Y)
	last, class := uint32(1<<24), uint8(0) // no colour yet
	for i := range ids {
		c := at(i%size.X, i/size.X)
		if c != last {
			k, ok := r.colours[c]
			if !ok {
				return nil, size, fmt.Errorf("colour #%06x at %d, %d is of no class of the bundle: its colours are "+
					"those that `nightseg bundle info --json` lists; paint with these, or use ids", c, i%size.X, i/size.X)
			}
			last, class = c, k
		}
		ids[i] = class
	}
	return ids, size, nil
}

// colourAt returns a function that gives the colour of a pixel as 0xrrggbb.
func colourAt(img image.Image) (func(x, y int) uint32, error) {
	four := func(pix []uint8, stride int) func(x, y int) uint32 {
		return func(x, y int) uint32 {
			p := pix[y*stride+4*x:]
			return packed([3]uint8{p[0], p[1], p[2]})
		}
	}
	switch m := img.(type) {
	case *image.RGBA:
		return four(m.Pix, m.Stride), nil
	case *image.NRGBA:
		return four(m.Pix, m.Stride), nil
	case *image.Paletted:
		var table [256]uint32
		for i, c := range m.Palette {
			n := color.NRGBAModel.Convert(c).(color.NRGBA)
			table[i] = packed([3]uint8{n.R, n.G, n.B})
		}
		return func(x, y int) uint32 { return table[m.Pix[y*m.Stride+x]] }, nil
	case *image.Gray:
		return nil, errors.New("is a grey picture: its pixels are ids, not colours")
	}
	return nil, fmt.Errorf("has %T pixels: colours need 8 bits", img)
}
