package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/calibrate/quantize"
	"nightseg/model"
)

const (
	tinyDrive = "synth://?seed=1&size=48x32&frames=12"
	// longDrive has enough pixels of each class for the gate not to hang on chance.
	longDrive = "synth://?seed=1&size=48x32&frames=24"
)

func TestCalibrateQuantize(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	var r quantizeDone
	var networks [2][]byte
	for i, name := range []string{"one", "two"} {
		out := filepath.Join(dir, name)
		commandJSON(t, exitDone, &r, "calibrate", "quantize", "--bundle", tinyBundle(t), "--source", longDrive,
			"--frames", "12", "--out", out, "--observer", "mse", "--threads", "1")
		if r.Looked != 24 || r.Ran != 12 || r.Resumed || r.Version != "0.1.1" || len(r.Float["relight"]) != 1 ||
			len(r.Checks) == 0 {
			t.Errorf("%+v", r)
		}
		var err error
		if networks[i], err = os.ReadFile(filepath.Join(out, "segment.int8.onnx")); err != nil {
			t.Fatal(err)
		}
		var v verification
		commandJSON(t, exitDone, &v, "bundle", "verify", out)
		b, err := model.Open(out)
		if err != nil || !strings.Contains(string(b.Calibration), `"segment": "mse"`) {
			t.Errorf("%v, record %s", err, b.Calibration)
		}
		if exists(quantize.StateFile(out)) {
			t.Error("the state is left")
		}
	}
	if !bytes.Equal(networks[0], networks[1]) {
		t.Error("the same drive gave other networks")
	}
}

// Broken off by the user, it says where it goes on.
func TestCalibrateQuantizeBrokenOff(t *testing.T) {
	needEngine(t)
	out := filepath.Join(t.TempDir(), "out")
	args := []string{
		"calibrate", "quantize", "--bundle", tinyBundle(t), "--source", tinyDrive, "--out", out, "--threads", "1",
	}
	ctx, cancel := context.WithCancel(t.Context())
	var o, e bytes.Buffer
	code := execute(ctx, args, &o, &stopper{&e, cancel})
	if code != exitFailed || !strings.Contains(e.String(), "the same command goes on") || exists(out) {
		t.Fatalf("exit code %d, %s", code, e.String())
	}
	var r quantizeDone
	commandJSON(t, exitDone, &r, args...)
	if !r.Resumed || r.Ran != 12 {
		t.Errorf("%+v", r)
	}
}

// stopper ends a command when it tells that it has looked over the drive.
type stopper struct {
	*bytes.Buffer
	stop func()
}

func (s *stopper) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("look: 12 of 12")) {
		s.stop()
	}
	return s.Buffer.Write(p)
}

func TestCalibrateQuantizeRefuses(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	good := []string{"--source", tinyDrive, "--out", out}
	good = good[:len(good):len(good)]
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no source":    {[]string{"--out", out}, "--source is missing"},
		"no out":       {[]string{"--source", tinyDrive}, "--out is missing"},
		"out is there": {[]string{"--source", tinyDrive, "--out", dir}, "is there already"},
		"nowhere":      {[]string{"--source", tinyDrive, "--out", filepath.Join(dir, "a", "b")}, "make it first"},
		"observer":     {append(good, "--observer", "best"), "minmax percentile mse entropy"},
		"percentile":   {append(good, "--observer", "percentile", "--percentile", "0"), "--percentile"},
		"frames":       {append(good, "--frames", "0"), "--frames 0"},
		"a name":       {append(good, "--keep-float", "/tail/"), `--keep-float "/tail/"`},
		"an argument":  {[]string{"drive"}, "unknown command"},
	} {
		args := append([]string{"calibrate", "quantize", "--bundle", tinyBundle(t)}, c.args...)
		if code, _, errOut := command(t, args...); code != exitUsage || !strings.Contains(errOut, c.want) {
			t.Errorf("%s: exit code %d, %s", name, code, errOut)
		}
	}
	if exists(out) || exists(quantize.StateFile(out)) {
		t.Error("something was written")
	}
}
