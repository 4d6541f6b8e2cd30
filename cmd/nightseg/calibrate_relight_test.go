package main

import (
	"path/filepath"
	"strings"
	"testing"

	"nightseg/edge/settings"
	"nightseg/model"
)

// Each row is what eval finds with that mode, and the choice goes into the bundle,
// where it is what relight.mode: bundle stands for.
func TestCalibrateRelight(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	images, labels := labelledSet(t, dir, 6, 1)
	args := []string{"--bundle", tinyBundle(t), "--images", images, "--labels", labels, "--provider", "cpu"}
	out := filepath.Join(dir, "tuned")
	var r relightReport
	commandJSON(t, exitDone, &r, append([]string{"calibrate", "relight", "--out", out}, args...)...)
	if len(r.Modes) != 4 || r.Frames != 6 || r.Precision != "int8" {
		t.Fatalf("report %+v", r)
	}
	for _, p := range r.Modes {
		var e evalResult
		commandJSON(t, exitDone, &e, append([]string{"eval", "--relight", p.Mode}, args...)...)
		if e.MIoU != p.MIoU || e.Interval != p.Interval {
			t.Errorf("%s: %.3f %v, eval finds %.3f %v", p.Mode, p.MIoU, p.Interval, e.MIoU, e.Interval)
		}
		if r.Chosen.Behind.High < 0 || p.Mode == r.Chosen.Mode && p != r.Chosen {
			t.Errorf("chosen %+v", r.Chosen)
		}
	}
	b, err := model.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	if b.Relight != r.Chosen.Mode || b.RelightMode() != r.Chosen.Mode {
		t.Errorf("bundle %q, report %+v", b.Relight, r.Chosen)
	}
	l := settings.Default().Live()
	l.Relight.Mode = modeBundle
	if s, bad := stagesOf(l, b); len(bad) > 0 || s.relight.Mode.String() != r.Chosen.Mode {
		t.Errorf("relight.mode: bundle is %v, %v", s.relight.Mode, bad)
	}
	commandJSON(t, exitDone, &r, append([]string{"calibrate", "relight", "--worth", "99"}, args...)...)
	if r.Chosen != r.Modes[0] {
		t.Errorf("nothing brings 99 points, and chosen is %+v", r.Chosen)
	}
	if code, _, _ := command(t, append([]string{"calibrate", "relight", "--worth", "-1"}, args...)...); code != exitUsage {
		t.Errorf("--worth -1: exit code %d", code)
	}
	tiny, err := model.Open(tinyBundle(t))
	if err != nil {
		t.Fatal(err)
	}
	if tiny.RelightMode() != "network" {
		t.Errorf("without a word of its own, a bundle with a relight network is best with %q", tiny.RelightMode())
	}
	code, _, errOut := command(t, "calibrate", "relight", "--images", "set/night_coarse/images", "--labels", "x")
	if code != exitRefused || !strings.Contains(errOut, "night_coarse is a test set") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}
