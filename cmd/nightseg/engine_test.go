package main

import (
	"encoding/json"
	"errors"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/model"
)

func TestBundleIn(t *testing.T) {
	root := t.TempDir()
	checkout, installed := filepath.Join(root, "checkout"), filepath.Join(root, "installed")
	at := func(dir, name string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p, model.ManifestName), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	street, synth := at(checkout, "street-11"), at(checkout, "synth-11")
	packaged, own := at(installed, "synth-11"), at(root, "own")
	for name, c := range map[string]struct {
		bundle    string
		checkouts []string
		want      string
	}{
		"default of a checkout":    {"", []string{root, checkout}, street},
		"name in a checkout":       {"synth-11", []string{root, checkout}, synth},
		"default of the package":   {"", []string{root}, packaged},
		"name in the package":      {"synth-11", nil, packaged},
		"folder":                   {own, []string{checkout}, own},
		"folder that is not there": {own + "/no", []string{checkout}, own + "/no"},
		"unknown name":             {"no-such-bundle", []string{checkout}, ""},
		"not installed":            {"street-11", nil, ""},
	} {
		got, err := bundleIn(c.bundle, c.checkouts, installed)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestShape replays a drive at another shape than the networks' own: masks have
// that size, and the golden vectors of the own one are checked all the same.
func TestShape(t *testing.T) {
	needEngine(t)
	dir := filepath.Join(t.TempDir(), "shaped")
	if err := os.CopyFS(dir, os.DirFS(tinyBundle(t))); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, model.ManifestName)
	doc, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(doc, &m); err != nil {
		t.Fatal(err)
	}
	m["shapes"] = append(m["shapes"].([]any), []int{64, 96})
	if doc, err = json.Marshal(m); err == nil {
		err = os.WriteFile(manifest, doc, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	out := filepath.Join(t.TempDir(), "seen")
	args := []string{
		"replay", "synth://?frames=2", "--bundle", dir, "--cache-dir", cache, "--provider", "cpu", "--rate", "max",
		"--out", out, "--shape",
	}
	if code, _, errOut := command(t, append(args, "96x64")...); code != exitDone {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	masks, err := filepath.Glob(filepath.Join(out, "*_mask.png"))
	if err != nil || len(masks) != 2 {
		t.Fatalf("masks %v, %v", masks, err)
	}
	f, err := os.Open(masks[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if c, _, err := image.DecodeConfig(f); err != nil || c.Width != 96 || c.Height != 64 {
		t.Errorf("a mask of %dx%d, %v", c.Width, c.Height, err)
	}
	if records, err := os.ReadDir(filepath.Join(cache, "verified")); err != nil || len(records) != 1 {
		t.Errorf("records of the golden vectors: %v, %v", records, err)
	}
	for shape, want := range map[string]string{
		"64x96": "it has 48x32, 96x64", "96x064": "not of the form", "96": "not of the form",
	} {
		code, _, errOut := command(t, append(args, shape)...)
		if code != exitUsage || !strings.Contains(errOut, want) {
			t.Errorf("--shape %s: exit code %d, %q, where %q is wanted", shape, code, errOut, want)
		}
	}
}

// Where int8 is further from its golden vectors than the bundle allows, the float
// networks run, unless someone has asked for int8.
func TestFloatInPlaceOfWrongInt8(t *testing.T) {
	needEngine(t)
	b, err := model.Open(tinyBundle(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := damage(t, b, func(net []byte) {
		tensors(t, net, func(_ string, kind uint64, data []byte) {
			if kind == onnxInt8 && len(data) > 8 {
				slices.Reverse(data)
			}
		})
	})
	f := &modelFlags{bundle: dir, engine: engineORT, Options: model.Options{Precision: model.Auto, CacheDir: t.TempDir()}}
	_, e, err := f.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Info().Precision; got != model.FP32 {
		t.Errorf("%s runs", got)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	var bad *model.CheckError
	f.Precision = model.INT8
	if _, _, err := f.open(t.Context()); !errors.As(err, &bad) || bad.Check.OK() {
		t.Errorf("int8 was asked for: %v", err)
	}
}
