package main

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/model"
)

// Each point of the curve is what eval finds with that mode and std, though
// the networks ran once per picture; off is off in both modes.
func TestCalibrateStdScoresAsEval(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	images, labels := labelledSet(t, dir, 6, 1)
	args := []string{
		"--bundle", tinyBundle(t), "--images", images, "--labels", labels, "--provider", "cpu",
		"--precision", "int8", "--relight", "none",
	}
	picture := filepath.Join(dir, "std.png")
	var r stdReport
	commandJSON(t, exitDone, &r, append([]string{
		"calibrate", "std", "--std", "0.1,0.3", "--picture", picture,
	}, args...)...)
	if len(r.Points) != 5 || r.Frames != 6 || r.Points[0].Std != 0 || r.Precision != "int8" {
		t.Fatalf("report %+v", r)
	}
	for _, p := range r.Points {
		var e evalResult
		commandJSON(t, exitDone, &e, append([]string{"eval", "--reweight", p.Mode, "--std", fmt.Sprint(p.Std)}, args...)...)
		if e.MIoU != p.MIoU || e.Interval != p.Interval {
			t.Errorf("%s, std %g: %.3f %v, eval finds %.3f %v", p.Mode, p.Std, p.MIoU, p.Interval, e.MIoU, e.Interval)
		}
	}
	img := readPicture(t, picture)
	for _, c := range []color.RGBA{chartBlue, chartAmber} {
		if !holdsColour(img, [3]uint8{c.R, c.G, c.B}) {
			t.Errorf("no line of the colour %v", c)
		}
	}
}

func TestCalibrateStdWritesItsChoice(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	images, labels := labelledSet(t, dir, 4, 1)
	out := filepath.Join(dir, "tuned")
	var r stdReport
	commandJSON(t, exitDone, &r, "calibrate", "std", "--bundle", tinyBundle(t), "--images", images, "--labels", labels,
		"--provider", "cpu", "--precision", "fp32", "--relight", "none", "--picture", "", "--out", out)
	b, err := model.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	// The labels are the bundle's own masks without weights: off is right everywhere.
	if r.Chosen.Std != 0 || r.Chosen.MIoU != 100 {
		t.Errorf("chosen %+v", r.Chosen)
	}
	want := model.Reweight{Mode: r.Chosen.Mode, Std: r.Chosen.Std}
	if b.Reweight != want || r.Out == nil || r.Out.SHA256 != b.SHA256 {
		t.Errorf("bundle %+v, report %+v", b.Reweight, r.Out)
	}
}

func TestCalibrateStdRefuses(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	images, labels := labelledSet(t, filepath.Join(dir, "dusk_test"), 2, 1)
	log := filepath.Join(dir, "looks.csv")
	args := []string{
		"calibrate", "std", "--bundle", tinyBundle(t), "--images", images, "--labels", labels, "--log", log,
		"--picture", "", "--std", "0.1",
	}
	code, _, errOut := command(t, args...)
	if code != exitRefused || !strings.Contains(errOut, "--look dusk_test") {
		t.Errorf("a test set: exit code %d, %q", code, errOut)
	}
	out := filepath.Join(dir, "out")
	if code, _, _ := command(t, append(slices.Clone(args), "--look", "dusk_test", "--out", out)...); code != exitRefused {
		t.Errorf("a choice on a test set: exit code %d", code)
	}
	if _, err := os.Stat(log); err == nil {
		t.Error("a refused look was logged")
	}
	if code, _, errOut := command(t, append(slices.Clone(args), "--look", "dusk_test")...); code != exitDone {
		t.Errorf("a look: %s", errOut)
	}
	doc, err := os.ReadFile(log)
	if err != nil || strings.Count(string(doc), "\n") != 2 || !strings.Contains(string(doc), "int8/network/logit/0.1 ") {
		t.Errorf("log %q, %v", doc, err)
	}
	for flag, bad := range map[string]string{"--std": "9", "--mode": "power", "--precision": "fp8", "--relight": "sun"} {
		code, _, errOut := command(t, append(slices.Clone(args), "--look", "dusk_test", flag, bad)...)
		if code != exitUsage || errOut == "" {
			t.Errorf("%s %s: exit code %d, %q", flag, bad, code, errOut)
		}
	}
}
