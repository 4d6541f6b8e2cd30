package main

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/model"
)

// idsPicture is a label picture of the ids given.
func idsPicture(w int, ids ...uint8) image.Image {
	return &image.Gray{Pix: ids, Stride: w, Rect: image.Rect(0, 0, w, len(ids)/w)}
}

func TestCalibrateWeights(t *testing.T) {
	t.Setenv("NIGHTSEG_CACHE", t.TempDir())
	dir := t.TempDir()
	labels := filepath.Join(dir, "labels")
	savePNG(t, filepath.Join(labels, "a.png"), idsPicture(4, 0, 0, 0, 0, 0, 0, 1, 255))
	savePNG(t, filepath.Join(labels, "b.png"), idsPicture(4, 0, 0, 1, 1, 255, 255, 255, 255))
	picture, out := filepath.Join(dir, "weights.png"), filepath.Join(dir, "mine")
	args := []string{"calibrate", "weights", "--bundle", tinyBundle(t), "--labels", labels, "--picture", picture}
	var r weightsReport
	commandJSON(t, exitDone, &r, append(args, "--std", "0.1", "--out", out, "--set-version", "7.0.0")...)
	want := []float64{8.0 / 11, 3.0 / 11, 0}
	for k, c := range r.Classes {
		if math.Abs(c.Share-want[k]) > 1e-12 || len(c.Weights) != 1 {
			t.Errorf("%s: %+v, want %.4f", c.Name, c, want[k])
		}
	}
	if r.Files != 2 || r.Pixels != 11 || math.Abs(r.Part-11.0/16) > 1e-12 || r.Classes[1].Files != 2 {
		t.Errorf("report %+v", r)
	}
	b, err := model.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(b.ClassShares, want, func(x, y float64) bool { return math.Abs(x-y) < 1e-12 }) ||
		b.Version != "7.0.0" || r.Out == nil || r.Out.SHA256 != b.SHA256 {
		t.Errorf("bundle %s with %v, report %+v", b.Version, b.ClassShares, r.Out)
	}
	img := readPicture(t, picture)
	if img.Bounds().Dx() != chartW || !holdsColour(img, b.Classes[1].Colour) {
		t.Errorf("histogram of %v lacks the colour of %s", img.Bounds(), b.Classes[1].Name)
	}
	code, text, errOut := command(t, append(args, "--picture", "")...)
	if code != exitDone || !strings.Contains(text, "27.2727 %") || !strings.Contains(text, "not in these labels") {
		t.Errorf("for people: exit code %d, %q, %s", code, text, errOut)
	}
}

// holdsColour reports whether a good part of a picture has a colour.
func holdsColour(img image.Image, c [3]uint8) bool {
	n := 0
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			p := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			if [3]uint8{p.R, p.G, p.B} == c {
				n++
			}
		}
	}
	return n > 200
}

// The golden vectors are of logits without class weights: new shares leave
// them valid, and verify says so.
func TestNewSharesLeaveGoldenVectorsValid(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	savePNG(t, filepath.Join(dir, "labels", "a.png"), idsPicture(2, 0, 1, 1, 2))
	out := filepath.Join(dir, "mine")
	code, _, errOut := command(t, "calibrate", "weights", "--bundle", tinyBundle(t), "--labels",
		filepath.Join(dir, "labels"), "--picture", "", "--out", out)
	if code != exitDone {
		t.Fatal(errOut)
	}
	var v verification
	commandJSON(t, exitDone, &v, "bundle", "verify", out, "--engine", "onnxruntime", "--provider", "cpu")
	if len(v.Checks) != 2 {
		t.Errorf("checks %+v", v.Checks)
	}
}

func TestCalibrateWeightsRefuses(t *testing.T) {
	t.Setenv("NIGHTSEG_CACHE", t.TempDir())
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	savePNG(t, filepath.Join(good, "a.png"), idsPicture(2, 0, 1))
	odd, sizes, void := filepath.Join(dir, "odd"), filepath.Join(dir, "sizes"), filepath.Join(dir, "void")
	savePNG(t, filepath.Join(odd, "a.png"), idsPicture(2, 0, 9))
	savePNG(t, filepath.Join(sizes, "a.png"), idsPicture(2, 0, 1))
	savePNG(t, filepath.Join(sizes, "b.png"), idsPicture(1, 0, 1))
	savePNG(t, filepath.Join(void, "a.png"), idsPicture(2, 255, 255))
	test := filepath.Join(dir, "dusk_test", "labels")
	savePNG(t, filepath.Join(test, "a.png"), idsPicture(2, 0, 1))
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		labels string
		code   int
		want   []string // in the message
		more   []string
	}{
		{odd, exitFailed, []string{"a.png", "id 9 at 1, 0", "map"}, nil},
		{sizes, exitFailed, []string{"b.png", "1 x 2", "a.png", "2 x 1"}, nil},
		{sizes, exitDone, nil, []string{"--any-size"}},
		{void, exitFailed, []string{"none of the 2 pixels"}, nil},
		{empty, exitFailed, []string{"empty", "no .png"}, nil},
		{test, exitRefused, []string{"dusk_test"}, nil},
		{good, exitFailed, []string{"a.png", "grey picture"}, []string{"--form", "palette"}},
		{good, exitFailed, []string{"id 0 (road)", "map"}, []string{"--form", "trainids", "--bundle", renamed(t)}},
		{good, exitUsage, []string{"--std"}, []string{"--std", "9"}},
	} {
		args := append([]string{
			"calibrate", "weights", "--bundle", tinyBundle(t), "--picture", "", "--labels", c.labels,
		}, c.more...)
		code, _, errOut := command(t, args...)
		if code != c.code {
			t.Errorf("%v: exit code %d, want %d: %s", args, code, c.code, errOut)
		}
		for _, w := range c.want {
			if !strings.Contains(errOut, w) {
				t.Errorf("%v: no %q in %q", args, w, errOut)
			}
		}
	}
}

// renamed is a tiny bundle whose classes have no names of Cityscapes.
func renamed(t *testing.T) string {
	t.Helper()
	b, err := model.Open(tinyBundle(t))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "renamed")
	_, err = b.Revise(model.Revision{Out: out, Change: func(m *model.Manifest) error {
		for k := range m.Classes {
			m.Classes[k].Name = fmt.Sprint("thing ", k)
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		n      int
		want   []float64
	}{
		{0, 1, 5, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{-0.5, 0.5, 4, []float64{-0.5, 0, 0.5}},
		{0, 0.3, 6, []float64{0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3}},
	} {
		got := ticks(c.lo, c.hi, c.n)
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("ticks(%g, %g, %d) = %v, want %v", c.lo, c.hi, c.n, got, c.want)
		}
	}
}

func TestShareScale(t *testing.T) {
	even := newShareScale([]bar{{value: 0.6}, {value: 0.4, mark: -1}}, 100, 200)
	if even.log || even.at(0.3) != 150 {
		t.Errorf("even shares: %+v", even)
	}
	far := newShareScale([]bar{{value: 0.1}, {value: 0.001}}, 100, 200)
	if !far.log || math.Abs(far.at(0.1)-200) > 1e-9 || far.at(0.001) <= 100 {
		t.Errorf("shares that lie far apart: %+v, %g", far, far.at(0.001))
	}
}
