package main

import (
	"encoding/csv"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/edge/decide"
	"nightseg/edge/frame"
	"nightseg/model"
)

// labelledSet writes pictures of the tiny bundle's size and, as labels, the masks
// that the bundle itself makes of them (fp32, not relit, not re-weighted).
// labels are scale times larger than the pictures.
func labelledSet(t *testing.T, dir string, n, scale int) (images, labels string) {
	t.Helper()
	b, err := model.Open(tinyBundle(t))
	if err != nil {
		t.Fatal(err)
	}
	e, err := openEngine(engineORT, b, model.Options{Provider: model.CPU, Precision: model.FP32})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	d, err := decide.New(decide.Settings{AlignCorners: b.AlignCorners})
	if err != nil {
		t.Fatal(err)
	}
	images, labels = filepath.Join(dir, "images"), filepath.Join(dir, "labels")
	for i := range n {
		img := scene(tinyW, tinyH, i)
		savePNG(t, filepath.Join(images, fmt.Sprintf("%04d.png", i)), img)
		var l frame.Logits
		var m frame.Mask
		if err := e.Infer(&l, model.FrameOf(img)); err != nil {
			t.Fatal(err)
		}
		l.OutW, l.OutH, l.Valid = scale*tinyW, scale*tinyH, frame.Rect{}
		if err := d.Decide(&m, &l); err != nil {
			t.Fatal(err)
		}
		g := image.NewGray(image.Rect(0, 0, m.W, m.H))
		copy(g.Pix, m.Class)
		savePNG(t, filepath.Join(labels, fmt.Sprintf("%04d.png", i)), g)
	}
	return images, labels
}

func TestEvalOfOwnMasksIsPerfect(t *testing.T) {
	needEngine(t)
	for _, scale := range []int{1, 2} {
		images, labels := labelledSet(t, t.TempDir(), 5, scale)
		var r evalResult
		commandJSON(t, exitDone, &r, "eval", "--bundle", tinyBundle(t), "--images", images, "--labels", labels,
			"--precision", "fp32", "--provider", "cpu", "--relight", "none", "--std", "0")
		if r.MIoU != 100 || r.Interval.Low != 100 || r.Frames != 5 || r.Block != 2 || len(r.Variants) != 1 {
			t.Errorf("scale %d: %+v", scale, r)
		}
		if want := uint64(5 * scale * scale * tinyW * tinyH); r.Labelled != want {
			t.Errorf("scale %d: %d labelled pixels, want %d", scale, r.Labelled, want)
		}
		if len(r.Present) < 2 {
			t.Fatalf("the set shows the classes %v only: it tests little", r.Present)
		}
	}
}

// All variants in one run score as each does alone.
func TestEvalVariantsShareInference(t *testing.T) {
	needEngine(t)
	images, labels := labelledSet(t, t.TempDir(), 4, 1)
	base := []string{
		"eval", "--bundle", tinyBundle(t), "--images", images, "--labels", labels,
		"--provider", "cpu",
	}
	var all evalResult
	commandJSON(t, exitDone, &all, append(base, "--precision", "fp32,int8", "--relight", "none,network,gamma",
		"--std", "0,0.2", "--apart", "car")...)
	if len(all.Variants) != 12 {
		t.Fatalf("%d variants, want 12", len(all.Variants))
	}
	seen := map[float64]bool{}
	for _, v := range all.Variants {
		var one evalResult
		commandJSON(t, exitDone, &one, append(base, "--precision", v.Precision, "--relight", v.Relight,
			"--std", fmt.Sprint(v.Std))...)
		if one.MIoU != v.MIoU || one.Interval != v.Interval ||
			!slices.EqualFunc(one.Confusion, v.Confusion, slices.Equal) {
			t.Errorf("%s %s %g: %.3f among others, %.3f alone", v.Precision, v.Relight, v.Std, v.MIoU, one.MIoU)
		}
		if (v.ToFloat != nil) != (v.Precision == "int8") || v.Without == nil {
			t.Errorf("%s %s %g: minus fp32 %v, without car %v", v.Precision, v.Relight, v.Std, v.ToFloat, v.Without)
		}
		seen[v.MIoU] = true
	}
	if len(seen) < 3 {
		t.Errorf("12 variants, but only the scores %v", seen)
	}
}

func TestEvalMarkdown(t *testing.T) {
	needEngine(t)
	images, labels := labelledSet(t, t.TempDir(), 3, 1)
	code, out, errOut := command(t, "eval", "--bundle", tinyBundle(t), "--images", images, "--labels", labels,
		"--precision", "fp32,int8", "--relight", "none", "--std", "0", "--apart", "car", "--markdown")
	if code != exitDone {
		t.Fatal(errOut)
	}
	rows := 0
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		rows++
		if got := strings.Count(line, "|"); got != 6+3+1 { // mIoU and five more, three classes
			t.Errorf("%d bars in %q", got, line)
		}
	}
	if rows != 4 || !strings.Contains(out, "100.0 (100.0 to 100.0)") {
		t.Errorf("table\n%s", out)
	}
}

func TestEvalMapsLabels(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	images, labels := labelledSet(t, dir, 2, 1)
	// The same labels under other ids, and void where the class is car.
	for i := range 2 {
		name := filepath.Join(labels, fmt.Sprintf("%04d.png", i))
		r := labelReader{dir: labels, classes: 3}
		for i := range r.table {
			r.table[i] = uint8(i)
		}
		l, err := r.read(filepath.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		g := image.NewGray(image.Rect(0, 0, l.w, l.h))
		for j, k := range l.ids {
			g.Pix[j] = []uint8{23, 7, 26}[k]
		}
		savePNG(t, name, g)
	}
	args := []string{
		"eval", "--bundle", tinyBundle(t), "--images", images, "--labels", labels, "--precision", "fp32",
		"--provider", "cpu", "--relight", "none", "--std", "0",
	}
	if code, _, errOut := command(t, args...); code != exitFailed || !strings.Contains(errOut, "--map") {
		t.Errorf("ids that are no classes: exit code %d, %q", code, errOut)
	}
	table := saveText(t, filepath.Join(dir, "map.json"), `{"23": "sky", "7": 1}`)
	var r evalResult
	commandJSON(t, exitDone, &r, append(args, "--map", table)...)
	if r.MIoU != 100 || slices.Contains(r.Present, "car") {
		t.Errorf("mIoU %.1f of the classes %v", r.MIoU, r.Present)
	}
	bad := saveText(t, filepath.Join(dir, "bad.json"), `{"23": "sea"}`)
	if code, _, errOut := command(t, append(args, "--map", bad)...); code != exitUsage ||
		!strings.Contains(errOut, "sea") {
		t.Errorf("a class that is not there: exit code %d, %q", code, errOut)
	}
}

func TestEvalNamesWhatIsMissing(t *testing.T) {
	needEngine(t)
	images, labels := labelledSet(t, t.TempDir(), 2, 1)
	if err := os.Remove(filepath.Join(labels, "0001.png")); err != nil {
		t.Fatal(err)
	}
	args := []string{"eval", "--bundle", tinyBundle(t), "--images", images, "--labels", labels}
	if code, _, errOut := command(t, args...); code != exitFailed ||
		!strings.Contains(errOut, "0001.png has no label") {
		t.Errorf("a label is missing: exit code %d, %q", code, errOut)
	}
	for flag, bad := range map[string][2]string{
		"--relight": {"sunshine", "none, gamma"}, "--precision": {"fp8", "fp8"},
		"--std": {"7", "std"}, "--apart": {"whale", "whale"},
	} {
		code, _, errOut := command(t, append(args, flag, bad[0])...)
		if code != exitUsage || !strings.Contains(errOut, bad[1]) {
			t.Errorf("%s %s: exit code %d, %q", flag, bad[0], code, errOut)
		}
	}
}

func TestEvalFlicker(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	moving, _ := labelledSet(t, filepath.Join(dir, "moving"), 6, 1)
	still := filepath.Join(dir, "still")
	for i := range 3 {
		savePNG(t, filepath.Join(still, fmt.Sprintf("%d.png", i)), scene(tinyW, tinyH, 0))
	}
	args := []string{
		"eval", "--bundle", tinyBundle(t), "--provider", "cpu", "--relight", "none", "--std", "0",
		"--flicker",
	}
	var r flickerResult
	commandJSON(t, exitDone, &r, append(args, still)...)
	if r.Frames != 3 || r.Variants[0].Share != 0 {
		t.Errorf("a still picture flickers: %+v", r)
	}
	commandJSON(t, exitDone, &r, append(args, moving)...)
	if share := r.Variants[0].Share; share <= 0 || share >= 1 {
		t.Errorf("a moving picture: %+v", r)
	}
	// Two still sequences with different pictures: the cut between them is no flicker.
	for i, n := range []int{0, 5} {
		for j := range 2 {
			savePNG(t, filepath.Join(dir, "cut", fmt.Sprint("seq", i), fmt.Sprintf("%d.png", j)),
				scene(tinyW, tinyH, n))
		}
	}
	commandJSON(t, exitDone, &r, append(args, filepath.Join(dir, "cut"))...)
	if r.Frames != 4 || r.Variants[0].Share != 0 {
		t.Errorf("a cut counts as flicker: %+v", r)
	}
}

func TestTestSetsAreGuardedAndLooksLogged(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	images, labels := labelledSet(t, filepath.Join(dir, "dusk_test"), 2, 1)
	log := filepath.Join(dir, "looks.csv")
	args := []string{"eval", "--bundle", tinyBundle(t), "--images", images, "--labels", labels, "--log", log}
	code, _, errOut := command(t, args...)
	if code != exitRefused || !strings.Contains(errOut, "--look dusk_test") {
		t.Fatalf("without --look: exit code %d, %q", code, errOut)
	}
	if _, err := os.Stat(log); err == nil {
		t.Error("a refused look was logged")
	}
	link := filepath.Join(dir, "harmless")
	if err := os.Symlink(images, link); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := command(t, "eval", "--images", link, "--labels", link); code != exitRefused {
		t.Errorf("through a link: exit code %d", code)
	}
	if code, _, _ := command(t, append(args, "--look", "day_test")...); code != exitRefused {
		t.Errorf("another name: exit code %d", code)
	}
	for range 2 {
		code, _, errOut := command(t, append(args, "--look", "dusk_test", "--std", "0,0.1")...)
		if code != exitDone {
			t.Fatal(errOut)
		}
	}
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 3 || !slices.Equal(rows[0], looksHeader) {
		t.Fatalf("log %v, %v", rows, err)
	}
	if r := rows[2]; r[1] != "tiny-3 0.1.0" || len(r[2]) != 64 || r[3] != "dusk_test" || r[4] != "2" ||
		strings.Count(r[5], ";") != 1 || !strings.HasPrefix(r[5], "int8/network/0 ") {
		t.Errorf("line %q", r)
	}
	nowhere := filepath.Join(dir, "no", "x.csv")
	if code, _, _ := command(t, append(args, "--look", "dusk_test", "--log", nowhere)...); code == exitDone {
		t.Error("a look that cannot be written down was taken")
	}
}

func TestIsTestSet(t *testing.T) {
	for name, want := range map[string]bool{
		"day_test": true, "night_coarse": true, "night_test_proxy": true, "day_val": false, "night_dev": false,
		"testing": false, "latest": false,
	} {
		if isTestSet(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestHeldAgainstFloat(t *testing.T) {
	r := evalResult{Variants: []variantResult{{ToFloat: &scored{MIoU: -0.8}}, {}}}
	if err := r.held(1); err != nil {
		t.Errorf("0.8 points below: %v", err)
	}
	if err := r.held(0.5); err == nil {
		t.Error("0.8 points below 0.5 allowed")
	}
	r.Variants = r.Variants[1:]
	if err := r.held(1); err == nil {
		t.Error("nothing was compared, and it holds")
	}
}

// A mask of a letterboxed picture, sampled on the camera's pixels, shows the
// picture where it lies and unknown nowhere.
func TestToSource(t *testing.T) {
	m := &frame.Mask{W: 4, H: 4, Class: []uint8{
		255, 255, 255, 255,
		0, 0, 1, 1,
		2, 2, 3, 3,
		255, 255, 255, 255,
	}}
	m.ToSource = frame.Affine{A: 2, B: 0, C: 0, D: 0, E: 2, F: -2} // an 8 x 4 picture in rows 1 and 2
	got := make([]uint8, 8*4)
	toSource(got, 8, 4, m)
	want := []uint8{
		0, 0, 0, 0, 1, 1, 1, 1,
		0, 0, 0, 0, 1, 1, 1, 1,
		2, 2, 2, 2, 3, 3, 3, 3,
		2, 2, 2, 2, 3, 3, 3, 3,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	wide := make([]uint8, 10)
	m.ToSource = frame.Affine{A: 1, E: 1, F: 1, C: 3} // a crop that begins at 3, 1
	toSource(wide, 10, 1, m)
	if slices.ContainsFunc(wide, func(k uint8) bool { return k != frame.Unknown }) {
		t.Errorf("above the crop: %v", wide)
	}
}

func TestPercentKeepsThreePlaces(t *testing.T) {
	if got := percent(2.0 / 3); math.Abs(got-66.667) > 1e-9 {
		t.Errorf("percent(2/3) is %v", got)
	}
}
