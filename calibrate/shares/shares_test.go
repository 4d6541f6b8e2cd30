package shares

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/edge/frame"
	"nightseg/model"
)

var three = []model.Class{
	{ID: 0, Name: "road", Colour: [3]uint8{128, 64, 128}},
	{ID: 1, Name: "pavement", Colour: [3]uint8{60, 40, 222}},
	{ID: 2, Name: "car", Colour: [3]uint8{64, 0, 128}},
}

var none = model.Unknown{Index: 255}

func encode(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func grey(w int, ids ...uint8) *image.Gray {
	return &image.Gray{Pix: ids, Stride: w, Rect: image.Rect(0, 0, w, len(ids)/w)}
}

func save(t testing.TB, name string, doc []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, doc, 0o644); err != nil {
		t.Fatal(err)
	}
}

// painted is a picture of the colours of class ids.
func painted(w int, ids ...uint8) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, len(ids)/w))
	for i, k := range ids {
		c := color.NRGBA{A: 255}
		if k != frame.Unknown {
			c.R, c.G, c.B = three[k].Colour[0], three[k].Colour[1], three[k].Colour[2]
		}
		img.SetNRGBA(i%w, i/w, c)
	}
	return img
}

// indexed has the colours of the classes in a palette of another order.
func indexed(w int, ids ...uint8) *image.Paletted {
	p := color.Palette{color.Black}
	for i := len(three) - 1; i >= 0; i-- {
		c := three[i].Colour
		p = append(p, color.RGBA{c[0], c[1], c[2], 255})
	}
	img := image.NewPaletted(image.Rect(0, 0, w, len(ids)/w), p)
	for i, k := range ids {
		img.Pix[i] = uint8(len(three)) - k
		if k == frame.Unknown {
			img.Pix[i] = 0
		}
	}
	return img
}

func TestForms(t *testing.T) {
	want := []uint8{0, 1, 2, 255}
	for name, c := range map[string]struct {
		form Form
		img  image.Image
	}{
		"ids, grey":       {IDs, grey(2, 0, 1, 2, 255)},
		"train ids":       {TrainIDs, grey(2, 0, 1, 14, 255)},  // a truck is a car
		"label ids":       {LabelIDs, grey(2, 7, 8, 26, 3)},    // 3: out of the region of interest
		"colours":         {Palette, painted(2, 0, 1, 2, 255)}, // RGB
		"colours, by few": {Palette, indexed(2, 0, 1, 2, 255)}, // palette
		"ids, palette":    {IDs, greyPalette(2, 0, 1, 2, 255)},
	} {
		r, err := NewReader(c.form, three, none)
		if err != nil {
			t.Fatal(err)
		}
		got, size, err := r.Read(encode(t, c.img))
		if err != nil || !slices.Equal(got, want) || size != image.Pt(2, 2) {
			t.Errorf("%s: %v of %v, %v", name, got, size, err)
		}
	}
}

// greyPalette has the ids as indices.
func greyPalette(w int, ids ...uint8) *image.Paletted {
	p := make(color.Palette, 256)
	for i := range p {
		p[i] = color.Gray{uint8(i)}
	}
	return &image.Paletted{Pix: ids, Stride: w, Rect: image.Rect(0, 0, w, len(ids)/w), Palette: p}
}

func TestWhatIsNoLabel(t *testing.T) {
	for name, c := range map[string]struct {
		form Form
		img  image.Image
		want string
	}{
		"no class":           {IDs, grey(2, 0, 1, 3, 255), "id 3 at 0, 1 is no class of the bundle, which has road"},
		"no such thing here": {TrainIDs, grey(2, 0, 0, 0, 10), "id 10 (sky) at 1, 1"},
		"beyond label ids":   {LabelIDs, grey(2, 7, 34, 7, 7), "id 34 at 1, 0"},
		"colour as ids":      {IDs, painted(2, 0, 1, 2, 0), "colour picture"},
		"ids as colours":     {Palette, grey(2, 0, 1, 2, 0), "grey picture"},
		"an odd colour":      {Palette, oddColour(), "colour #400180 at 1, 0"},
		"16 bits":            {Palette, image.NewNRGBA64(image.Rect(0, 0, 2, 2)), "8 bits"},
	} {
		r, err := NewReader(c.form, three, none)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Read(encode(t, c.img)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	twins := slices.Clone(three)
	twins[2].Colour = twins[0].Colour
	if _, err := NewReader(Palette, twins, none); err == nil || !strings.Contains(err.Error(), "road and car") {
		t.Errorf("two classes of one colour: %v", err)
	}
	if _, err := NewReader("rgb", three, none); err == nil || !strings.Contains(err.Error(), "palette") {
		t.Errorf("a form that is none: %v", err)
	}
}

func oddColour() image.Image {
	img := painted(2, 0, 1, 2, 0)
	img.SetNRGBA(1, 0, color.NRGBA{64, 1, 128, 255})
	return img
}

func TestTableReader(t *testing.T) {
	var table [256]uint8
	for i := range table {
		table[i] = frame.Unknown
	}
	table[40], table[50] = 2, 9
	r := NewTableReader(three, table)
	if got, _, err := r.Read(encode(t, grey(2, 40, 41))); err != nil || !slices.Equal(got, []uint8{2, 255}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, _, err := r.Read(encode(t, grey(1, 50))); err == nil {
		t.Error("a class that is not there came through")
	}
}

// The Cityscapes classes find those of the bundle with CamVid's classes as the
// trainer maps them (FROM_CITYSCAPES in train/src/nightseg_train/classes.py).
func TestCityscapesToCamVid(t *testing.T) {
	var camvid []model.Class
	for i, name := range strings.Fields("sky building pole road pavement tree signsymbol fence car pedestrian bicyclist") {
		camvid = append(camvid, model.Class{ID: i, Name: name})
	}
	want := []int16{3, 4, 1, 1, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10}
	for _, form := range []Form{TrainIDs, LabelIDs} {
		r, err := NewReader(form, camvid, none)
		if err != nil {
			t.Fatal(err)
		}
		for train, k := range want {
			id := uint8(train)
			if form == LabelIDs {
				id = labelIDs[train]
			}
			if r.table[id] != k {
				t.Errorf("%s %s becomes %d, want %d", form, r.idName(id), r.table[id], k)
			}
		}
	}
}

// Shares by construction: halves, a quarter, and pixels without a class that
// do not count.
func TestTally(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	save(t, filepath.Join(a, "1.png"), encode(t, grey(2, 0, 0, 1, 255)))
	save(t, filepath.Join(a, "deep", "2.png"), encode(t, grey(2, 0, 0, 255, 255)))
	save(t, filepath.Join(b, "1.png"), encode(t, grey(3, 1, 1, 1)))
	r, err := NewReader(IDs, three, none)
	if err != nil {
		t.Fatal(err)
	}
	tally := NewTally(r, false)
	for _, folder := range []string{a, b} {
		files, err := Find(folder, IDs)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := tally.Add(folder, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := tally.Counts()
	s, err := c.Shares()
	if err != nil || !slices.Equal(s, []float64{0.5, 0.5, 0}) {
		t.Errorf("shares %v, %v", s, err)
	}
	if c.Labels != 3 || c.None != 3 || c.Total() != 8 || !slices.Equal(c.Files, []int{2, 2, 0}) {
		t.Errorf("counts %+v", c)
	}
	save(t, filepath.Join(b, "2.png"), encode(t, grey(1, 1, 1, 1)))
	err = tally.Add(b, filepath.Join(b, "2.png"))
	for _, want := range []string{"2.png is of 1 x 3 pixels", "of 3 x 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("another size: %v, want %q", err, want)
		}
	}
	if err := NewTally(r, true).Add(b, filepath.Join(b, "2.png")); err != nil {
		t.Errorf("another size, allowed: %v", err)
	}
}

func TestSharesThatMeanNothing(t *testing.T) {
	c := NewCounts(3)
	c.Add([]uint8{255, 255})
	if _, err := c.Shares(); err == nil || !strings.Contains(err.Error(), "none of the 2 pixels") {
		t.Errorf("nothing labelled: %v", err)
	}
	c.Add([]uint8{1, 1})
	if _, err := c.Shares(); err == nil || !strings.Contains(err.Error(), "of class 1") {
		t.Errorf("one class only: %v", err)
	}
}

func TestSharesSumToOne(t *testing.T) {
	c := NewCounts(3)
	for i := range 1001 {
		c.Add([]uint8{uint8(i % 3), 0, uint8(i % 2)})
	}
	s, err := c.Shares()
	if err != nil {
		t.Fatal(err)
	}
	if d := s[0] + s[1] + s[2] - 1; math.Abs(d) > 1e-12 {
		t.Errorf("the sum is off by %g", d)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(filepath.Join(dir, "nowhere"), IDs); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("no folder: %v", err)
	}
	save(t, filepath.Join(dir, "a.jpg"), nil)
	if _, err := Find(dir, IDs); err == nil || !strings.Contains(err.Error(), "JPEG") {
		t.Errorf("no PNG: %v", err)
	}
	for _, n := range []string{"x_gtFine_labelIds", "x_gtFine_labelTrainIds", "x_gtFine_color", "x_gtFine_instanceIds"} {
		save(t, filepath.Join(dir, "city", n+".png"), nil)
	}
	for form, want := range map[Form]string{
		IDs: "labelTrainIds", TrainIDs: "labelTrainIds", LabelIDs: "labelIds", Palette: "color",
	} {
		files, err := Find(dir, form)
		if err != nil || len(files) != 1 || !strings.HasSuffix(files[0], "_"+want+".png") {
			t.Errorf("%s: %v, %v", form, files, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if files, err := Find(link, LabelIDs); err != nil || len(files) != 1 {
		t.Errorf("through a link: %v, %v", files, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(encode(f, grey(2, 0, 1, 2, 255)))
	f.Add(encode(f, painted(2, 0, 1, 2, 255)))
	f.Add(encode(f, indexed(2, 0, 1, 2, 255)))
	f.Add([]byte("\x89PNG\r\n\x1a\n"))
	var readers []*Reader
	for _, form := range Forms() {
		r, err := NewReader(form, three, none)
		if err != nil {
			f.Fatal(err)
		}
		readers = append(readers, r)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if c, err := png.DecodeConfig(bytes.NewReader(doc)); err == nil && c.Width*c.Height > 1<<20 {
			return // only slow
		}
		for _, r := range readers {
			ids, size, err := r.Read(doc)
			if err != nil {
				continue
			}
			if len(ids) != size.X*size.Y {
				t.Fatalf("%d ids of %v", len(ids), size)
			}
			for _, k := range ids {
				if int(k) >= len(three) && k != frame.Unknown {
					t.Fatalf("id %d came through", k)
				}
			}
		}
	})
}
