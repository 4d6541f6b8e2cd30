package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // a golden picture may be one
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/image/draw"

	"nightseg/edge/frame"
)

// moving are class names that mean things which can move.
var moving = []string{
	"car", "truck", "bus", "train", "tram", "van", "trailer", "caravan", "vehicle", "motorcycle", "motorbike",
	"bicycle", "bike", "cyclist", "bicyclist", "rider", "person", "pedestrian", "human", "animal", "dog",
}

// ReadClasses reads a class list: a line per class in the order of the ids, with
// the name and, if wished, a colour as #rrggbb and the word "static" or "moving".
// Empty lines and lines that start with "//" are passed over. Classes without a
// colour get one; those without a word are static unless their name is that of a
// thing known to move.
func ReadClasses(name string) ([]Class, error) {
	data, err := readCapped(name, 1<<20)
	if err != nil {
		return nil, &FileError{
			File: name, Problem: "cannot be read", Err: err,
			Remedy: "give a text file with a class name per line",
		}
	}
	var classes []Class
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "//") {
			continue
		}
		c, err := parseClass(line, len(classes))
		if err != nil {
			return nil, &FileError{
				File: fmt.Sprintf("%s:%d", name, i+1), Err: err,
				Remedy: `a line is: NAME [#rrggbb] [static|moving]`,
			}
		}
		classes = append(classes, c)
	}
	if len(classes) < 2 || len(classes) > 255 {
		return nil, &FileError{File: name, Problem: fmt.Sprintf("lists %d classes; 2 to 255 are possible", len(classes))}
	}
	return classes, nil
}

func parseClass(line string, id int) (Class, error) {
	words := strings.Fields(line)
	c := Class{ID: id, Colour: colourOf(id)}
	kind := ""
	for len(words) > 1 {
		last := words[len(words)-1]
		if last == "static" || last == "moving" {
			kind = last
		} else if strings.HasPrefix(last, "#") {
			v, err := strconv.ParseUint(last[1:], 16, 32)
			if err != nil || len(last) != 7 {
				return c, fmt.Errorf("%q is no colour", last)
			}
			c.Colour = [3]uint8{uint8(v >> 16), uint8(v >> 8), uint8(v)}
		} else {
			break // part of the name
		}
		words = words[:len(words)-1]
	}
	c.Name = strings.Join(words, " ")
	if len(c.Name) > 64 {
		return c, fmt.Errorf("the name %.20q… is longer than 64 bytes", c.Name)
	}
	c.Static = kind == "static" || (kind == "" && !slices.Contains(moving, strings.ToLower(c.Name)))
	return c, nil
}

// colourOf gives neighbouring ids hues that lie far apart.
func colourOf(id int) [3]uint8 {
	h := math.Mod(float64(id)*0.618033988749895, 1) * 6
	value := 255 - 60*float64(id/6%3)
	part := func(k float64) uint8 {
		d := math.Abs(math.Mod(h+k, 6) - 3)
		return uint8(value * min(max(d-1, 0.15), 1))
	}
	return [3]uint8{part(0), part(4), part(2)}
}

// fillShares counts the class shares, or gives every class the same.
func (b *Bundle) fillShares(o *NewOptions) (warnings []string, err error) {
	b.ClassShares = make([]float64, len(b.Classes))
	if o.Labels == "" {
		for i := range b.ClassShares {
			b.ClassShares[i] = 1 / float64(len(b.Classes))
		}
		return []string{"class shares are uniform, so that re-weighting does nothing: give a folder of labels"}, nil
	}
	names, err := filepath.Glob(filepath.Join(o.Labels, "*.png"))
	if err != nil || len(names) == 0 {
		return nil, &FileError{
			File: o.Labels, Problem: "holds no .png label pictures", Err: err,
			Remedy: "labels are PNG pictures with a class id per pixel, 255 for none",
		}
	}
	total := 0.0
	for _, name := range names {
		n, err := countClasses(name, b.ClassShares)
		if err != nil {
			return nil, err
		}
		total += n
	}
	if total == 0 {
		return nil, &FileError{File: o.Labels, Problem: "has no labelled pixel"}
	}
	for i := range b.ClassShares {
		b.ClassShares[i] /= total
		if b.ClassShares[i] == 0 {
			warnings = append(warnings, fmt.Sprintf("class %s does not occur in the labels", b.Classes[i].Name))
		}
	}
	return warnings, nil
}

// countClasses adds the pixels of a label picture to counts.
func countClasses(name string, counts []float64) (total float64, err error) {
	data, err := readCapped(name, maxFile)
	if err != nil {
		return 0, &FileError{File: name, Problem: "cannot be read", Err: err}
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return 0, &FileError{File: name, Problem: "is not a PNG picture", Err: err}
	}
	var pix []uint8
	switch img := img.(type) {
	case *image.Gray:
		pix = img.Pix
	case *image.Paletted:
		pix = img.Pix
	default:
		return 0, &FileError{File: name, Problem: "is a colour picture", Remedy: "labels hold a class id per pixel"}
	}
	for _, v := range pix {
		if int(v) < len(counts) {
			counts[v]++
			total++
		} else if v != frame.Unknown {
			return 0, &FileError{File: name, Problem: fmt.Sprintf("holds the class %d of %d", v, len(counts))}
		}
	}
	return total, nil
}

// goldenPicture reads a picture and brings it to the input shape, or makes one
// with edges, ramps and texture.
func goldenPicture(name string, shape [2]int) (pic image.Image, made bool, err error) {
	dst := image.NewNRGBA(image.Rect(0, 0, shape[1], shape[0]))
	if name == "" {
		for y := range shape[0] {
			for x := range shape[1] {
				h := uint32(x*73856093) ^ uint32(y*19349663)
				noise := uint8((h * 2654435761) >> 27)
				block := uint8(40 * ((x/32 + y/24) % 3))
				dst.SetNRGBA(x, y, color.NRGBA{
					R: uint8(x*120/shape[1]) + noise, G: uint8(y*120/shape[0]) + block, B: block + noise, A: 255,
				})
			}
		}
		return dst, true, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, false, &FileError{File: name, Problem: "cannot be read", Err: bareError(err)}
	}
	defer f.Close() //nolint:errcheck // only read from
	src, _, err := image.Decode(f)
	if err != nil {
		return nil, false, &FileError{File: name, Problem: "is not a PNG or JPEG picture", Err: err}
	}
	draw.BiLinear.Scale(dst, dst.Bounds(), src, src.Bounds(), draw.Src, nil)
	return dst, false, nil
}

// put writes a file of the bundle and returns its manifest entry.
func (b *Bundle) put(name string, data []byte) (File, error) {
	path := filepath.Join(b.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return File{}, err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return File{}, err
	}
	sum := sha256.Sum256(data)
	return File{File: name, SHA256: hex.EncodeToString(sum[:])}, nil
}
