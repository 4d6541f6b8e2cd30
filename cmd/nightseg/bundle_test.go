package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/model"
)

func TestBundleInfoAndPack(t *testing.T) {
	t.Setenv("NIGHTSEG_CACHE", t.TempDir())
	var r struct {
		SHA256   string           `json:"sha256"`
		Manifest model.Manifest   `json:"manifest"`
		Bytes    map[string]int64 `json:"bytes"`
	}
	commandJSON(t, exitDone, &r, "bundle", "info", tinyBundle(t))
	if r.Manifest.Name != "tiny-3" || len(r.Manifest.Classes) != 3 || r.Bytes["segment.onnx"] == 0 {
		t.Errorf("info: %+v", r)
	}
	packed := filepath.Join(t.TempDir(), "tiny.tar.zst")
	if code, _, errOut := command(t, "bundle", "pack", tinyBundle(t), packed); code != exitDone {
		t.Fatalf("pack: %s", errOut)
	}
	want := r.SHA256
	commandJSON(t, exitDone, &r, "bundle", "info", packed)
	if r.SHA256 != want {
		t.Errorf("identity %s packed, %s before", r.SHA256, want)
	}
	if code, out, _ := command(t, "bundle", "info", packed); code != exitDone || !strings.Contains(out, want) {
		t.Errorf("info for people: exit code %d, %q", code, out)
	}
}

func TestBundleVerify(t *testing.T) {
	needEngine(t)
	var v verification
	commandJSON(t, exitDone, &v, "bundle", "verify", tinyBundle(t))
	if len(v.Checks) < 2 || len(v.Missing) > 1 {
		t.Errorf("checks %+v, missing %v", v.Checks, v.Missing)
	}
	for _, c := range v.Checks {
		if !c.Holds || c.Mask <= 0 || c.Limit.MaskAgreement <= 0 {
			t.Errorf("%+v", c)
		}
	}
	commandJSON(t, exitDone, &v, "bundle", "verify", tinyBundle(t), "--provider", "cpu", "--precision", "fp32",
		"--engine", "onnxruntime")
	if len(v.Checks) != 1 || v.Checks[0].Provider != "cpu" || v.Checks[0].Precision != "fp32" {
		t.Errorf("one engine: %+v", v.Checks)
	}
	commandJSON(t, exitRefused, &v, "bundle", "verify", tinyBundle(t),
		"--provider", "cuda", "--precision", "fp32")
	if len(v.Checks) != 1 || v.Checks[0].Error == "" {
		t.Errorf("a provider that is not here: %+v", v.Checks)
	}
}

// A bundle whose expected mask is another one is refused, with the figures.
func TestBundleVerifyRefuses(t *testing.T) {
	v := &verification{Bundle: "b 1", Checks: []checkLine{{Holds: true}, {Holds: false}}}
	if err := v.verdict(); err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("verdict %v", err)
	}
	v.fp32 = []ran{
		{"a", []float32{0, 1}, []uint8{0, 1}},
		{"same", []float32{0, 1}, []uint8{0, 1}},
		{"off", []float32{0, 0.9}, []uint8{0, 1}},
	}
	v.compare()
	if len(v.Pairs) != 2 || !v.Pairs[0].Holds || v.Pairs[1].Holds {
		t.Errorf("pairs %+v", v.Pairs)
	}
}

func TestDamagedBundleNamesTheFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "damaged")
	if err := os.CopyFS(dir, os.DirFS(tinyBundle(t))); err != nil {
		t.Fatal(err)
	}
	saveText(t, filepath.Join(dir, "segment.onnx"), "nothing of use")
	code, _, errOut := command(t, "bundle", "verify", dir)
	if code != exitFailed || !strings.Contains(errOut, "segment.onnx") {
		t.Errorf("exit code %d, %q", code, errOut)
	}
}

func TestBundleNew(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	classes := saveText(t, filepath.Join(dir, "classes.txt"), "sky\nroad #804080\ncar #400080 moving\n")
	out := filepath.Join(dir, "mine")
	args := []string{
		"bundle", "new", "--onnx", filepath.Join(tinyBundle(t), "segment.onnx"), "--classes", classes, "--out", out,
		"--name", "mine", "--set-version", "3.0.0", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25",
	}
	var r struct {
		Manifest model.Manifest `json:"manifest"`
	}
	commandJSON(t, exitDone, &r, args...)
	if r.Manifest.Name != "mine" || r.Manifest.Version != "3.0.0" || r.Manifest.Normalise.Mean[0] != 0.5 {
		t.Errorf("manifest %+v", r.Manifest)
	}
	var v verification
	commandJSON(t, exitDone, &v, "bundle", "verify", out)
	if code, _, errOut := command(t, args...); code == exitDone {
		t.Errorf("a folder that is there was written over: %s", errOut)
	}
	if code, _, _ := command(t, append(args, "--std", "0,1,1")...); code != exitUsage {
		t.Errorf("deviation 0: exit code %d", code)
	}
}
