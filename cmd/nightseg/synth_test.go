package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSynthWritesADataSet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "streets")
	args := []string{
		"synth", "--out", dir, "--frames", "2", "--times", "night", "--size", "96x64", "--seed", "2001",
		"--workers", "1",
	}
	var r synthReport
	commandJSON(t, exitDone, &r, args...)
	if r.Frames != 2 || r.Out != dir {
		t.Errorf("report %+v", r)
	}
	for _, part := range []string{"rgb_anon", "gt"} {
		files, err := filepath.Glob(filepath.Join(dir, part, "train", "night", "*", "*.png"))
		if err != nil || len(files) < 2 {
			t.Errorf("%s: %v, %v", part, files, err)
		}
	}
	commandJSON(t, exitDone, &r, args...) // goes on where it ended: nothing to do
	other := append(args, "--layout", "avenue")
	if code, _, errOut := command(t, other...); code != exitUsage || errOut == "" {
		t.Errorf("another data set in the same folder: exit code %d, %q", code, errOut)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := command(t, append(args, "--times", "noon")...); code != exitUsage {
		t.Errorf("unknown time of day: exit code %d", code)
	}
}
