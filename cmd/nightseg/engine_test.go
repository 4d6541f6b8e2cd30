package main

import (
	"os"
	"path/filepath"
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
