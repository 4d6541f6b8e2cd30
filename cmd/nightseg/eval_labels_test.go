package main

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var threeClasses = []string{"sky", "road", "car"}

func reader(t testing.TB, dir string) *labelReader {
	t.Helper()
	r, err := newLabelReader(dir, "", threeClasses)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func encoded(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLabelForms(t *testing.T) {
	want := []uint8{0, 1, 2, 255}
	grey := &image.Gray{Pix: want, Stride: 2, Rect: image.Rect(0, 0, 2, 2)}
	colours := make(color.Palette, 256)
	for i := range colours {
		colours[i] = color.RGBA{uint8(255 - i), uint8(i), 9, 255}
	}
	indexed := &image.Paletted{Pix: want, Stride: 2, Rect: image.Rect(0, 0, 2, 2), Palette: colours}
	for name, img := range map[string]image.Image{"grey": grey, "palette": indexed} {
		l, err := reader(t, "").parse(encoded(t, img))
		if err != nil || l.w != 2 || l.h != 2 || !slices.Equal(l.ids, want) {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	// A palette of few colours is stored with few bits: the indices count, not the bits.
	few := &image.Paletted{
		Pix: []uint8{0, 1, 1, 0}, Stride: 2, Rect: image.Rect(0, 0, 2, 2),
		Palette: colours[:2],
	}
	if l, err := reader(t, "").parse(encoded(t, few)); err != nil || !slices.Equal(l.ids, few.Pix) {
		t.Errorf("two colours: %+v, %v", l, err)
	}
	for name, c := range map[string]struct {
		img  image.Image
		want string
	}{
		"colour": {image.NewRGBA(image.Rect(0, 0, 2, 2)), "colour picture"},
		"16 bit": {image.NewGray16(image.Rect(0, 0, 2, 2)), "8-bit"},
		"id":     {&image.Gray{Pix: []uint8{9}, Stride: 1, Rect: image.Rect(0, 0, 1, 1)}, "id 9 at 0, 0"},
	} {
		if _, err := reader(t, "").parse(encoded(t, c.img)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A PNG of 4-bit grey: the decoder would stretch id 1 to 17.
var grey4 = []byte("\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x02" +
	"\x00\x00\x00\x01\x04\x00\x00\x00\x00\x14\xb9\xcd\x57\x00\x00\x00\x0a\x49\x44\x41" +
	"\x54\x78\x9c\x63\x60\x04\x00\x00\x03\x00\x02\x4b\xf5\xdd\xea\x00\x00\x00\x00\x49" +
	"\x45\x4e\x44\xae\x42\x60\x82")

func TestGreyOfFewBitsIsRefused(t *testing.T) {
	if _, err := reader(t, "").parse(grey4); err == nil || !strings.Contains(err.Error(), "4 bits") {
		t.Errorf("4-bit grey: %v", err)
	}
}

func TestLabelsAreFoundByName(t *testing.T) {
	dir := t.TempDir()
	one := &image.Gray{Pix: []uint8{1}, Stride: 1, Rect: image.Rect(0, 0, 1, 1)}
	for _, name := range []string{"a.png", "seq/b_gt_labelTrainIds.png", "c_gtFine_labelTrainIds.png"} {
		savePNG(t, filepath.Join(dir, name), one)
	}
	for _, picture := range []string{"a.jpg", "seq/a.jpeg", "seq/b_rgb_anon.png", "city/c_leftImg8bit.png"} {
		if _, err := reader(t, dir).read(picture); err != nil {
			t.Errorf("%s: %v", picture, err)
		}
	}
	if _, err := reader(t, dir).read("d.png"); err == nil || !strings.Contains(err.Error(), "d.png") {
		t.Errorf("no label: %v", err)
	}
}

func FuzzLabel(f *testing.F) {
	f.Add(encoded(f, &image.Gray{Pix: []uint8{0, 1, 2, 255}, Stride: 2, Rect: image.Rect(0, 0, 2, 2)}))
	f.Add(grey4)
	f.Add([]byte("\x89PNG\r\n\x1a\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := png.DecodeConfig(bytes.NewReader(b)); err == nil && c.Width*c.Height > 1<<20 {
			return // only slow
		}
		l, err := reader(t, "").parse(b)
		if err != nil {
			return
		}
		if len(l.ids) != l.w*l.h {
			t.Fatalf("%d ids of %d x %d pixels", len(l.ids), l.w, l.h)
		}
		for _, k := range l.ids {
			if int(k) >= len(threeClasses) && k != 255 {
				t.Fatalf("id %d came through", k)
			}
		}
	})
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte(`{"7": "road", "23": 0, "255": 255}`))
	f.Add([]byte(`{"7": 1e99}`))
	f.Add([]byte(`{"-1": "road"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		table, err := parseMap(doc, threeClasses)
		if err != nil {
			return
		}
		for id, k := range table {
			if int(k) >= len(threeClasses) && k != 255 {
				t.Fatalf("label %d becomes %d", id, k)
			}
		}
	})
}
