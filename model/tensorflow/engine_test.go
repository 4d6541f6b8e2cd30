//go:build tensorflow && cgo

package tensorflow

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"nightseg/edge/frame"
	"nightseg/model"
)

func TestInfo(t *testing.T) {
	e := engine(t, bundle(t, tinyBundle), model.Options{Threads: 1})
	info := e.Info()
	if info.Engine != "tensorflow" || info.Provider != model.CPU || info.Precision != model.FP32 || info.Threads != 1 ||
		info.NodeShare[model.CPU] != 1 || !strings.Contains(info.Library, "tensorflow 2.") {
		t.Errorf("info = %+v", info)
	}
	// The automatic choice is int8 elsewhere: what happens instead is said.
	if !strings.Contains(strings.Join(info.Notes, "; "), "fp32") {
		t.Errorf("notes %q do not say that the int8 networks are left aside", info.Notes)
	}
}

func TestWhatTheEngineDoesNotHave(t *testing.T) {
	b := bundle(t, tinyBundle)
	for _, c := range []struct {
		o    model.Options
		want []string
	}{
		{model.Options{Precision: model.INT8}, []string{"int8", "fp32", "onnxruntime"}},
		{model.Options{Precision: model.FP16}, []string{"fp16", "fp32"}},
		{model.Options{Provider: model.CUDA}, []string{"cuda", "only cpu"}},
		{model.Options{LibDir: "/opt/tf"}, []string{"/opt/tf", "linked"}},
	} {
		_, err := Open(b, c.o)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v; want an error with %q", c.o, err, want)
			}
		}
	}
}

func TestMetaAndSizes(t *testing.T) {
	b := bundle(t, tinyBundle)
	e := engine(t, b, model.Options{})
	f := golden(t, b)
	f.Camera, f.Seq, f.Run = "front", 42, "r1"
	var l frame.Logits
	if err := e.Infer(&l, f); err != nil {
		t.Fatal(err)
	}
	if l.Meta != f.Meta || l.OutH != 32 || l.OutW != 48 || l.C != 3 || l.H != 4 || l.W != 6 {
		t.Errorf("logits %dx%dx%d for %dx%d with meta %+v", l.C, l.H, l.W, l.OutH, l.OutW, l.Meta)
	}
	first := slices.Clone(l.Data)
	for range 2 * collectEvery { // what an earlier run returned is freed in between
		if err := e.Infer(&l, f); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(first, l.Data) {
		t.Error("the same picture gave other logits later")
	}
	f.Reset(16, 16)
	if err := e.Infer(&l, f); err == nil || !strings.Contains(err.Error(), "16x16") {
		t.Errorf("a frame of another size: %v", err)
	}
}

func TestNoRelightNetwork(t *testing.T) {
	b := bundle(t, withNetwork(t, "bytes.onnx"))
	e := engine(t, b, model.Options{})
	f := golden(t, b)
	f.Relight = frame.RelightNetwork
	var l frame.Logits
	if err := e.Infer(&l, f); !errors.Is(err, model.ErrNoRelight) {
		t.Errorf("relighting without a network for it: %v", err)
	}
}

func TestNotFinite(t *testing.T) {
	b := bundle(t, withNetwork(t, "nan.onnx"))
	e := engine(t, b, model.Options{})
	f := golden(t, b)
	var l frame.Logits
	if err := e.Infer(&l, f); !errors.Is(err, model.ErrNotFinite) {
		t.Fatalf("logits with NaN: %v", err)
	}
}

func TestClosed(t *testing.T) {
	b := bundle(t, tinyBundle)
	e := engine(t, b, model.Options{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var l frame.Logits
	if err := e.Infer(&l, golden(t, b)); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a frame after the end: %v", err)
	}
	if err := e.Relit(new(frame.Frame)); err == nil {
		t.Error("a relit picture after the end")
	}
}

func TestFromSeveralGoroutines(t *testing.T) {
	b := bundle(t, tinyBundle)
	e := engine(t, b, model.Options{})
	var want frame.Logits
	if err := e.Infer(&want, golden(t, b)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		f := golden(t, b)
		wg.Go(func() {
			var l frame.Logits
			for range 20 {
				if err := e.Infer(&l, f); err != nil || !slices.Equal(l.Data, want.Data) {
					t.Errorf("frames of several goroutines get into each other: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestMissingSavedModel(t *testing.T) {
	b, err := model.Open(tinyBundle)
	if err != nil {
		t.Fatal(err)
	}
	b.SHA256 = strings.Repeat("0", 64)
	_, err = Open(b, model.Options{CacheDir: t.TempDir()})
	for _, want := range []string{b.Path, "no SavedModel", "run scripts/savedmodel.sh " + b.Dir} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want an error with %q", err, want)
		}
	}
}

// SavedModels that were damaged, or are those of something else.
func TestDamagedSavedModel(t *testing.T) {
	b := bundle(t, tinyBundle)
	whole, err := findSavedModels(b, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, now string) func(string) error {
		return func(dir string) error {
			name := filepath.Join(dir, "savedmodel.json")
			doc, err := os.ReadFile(name)
			if err == nil && !strings.Contains(string(doc), old) {
				t.Fatalf("%s holds no %q", name, old)
			}
			return errors.Join(err, os.WriteFile(name, []byte(strings.Replace(string(doc), old, now, 1)), 0o644))
		}
	}
	for _, c := range []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"no JSON", edit("{", "["), "savedmodel.json"},
		{"a later schema", edit(`"schema": 1`, `"schema": 2`), "savedmodel.json"},
		{"no segment network", edit(`"segment": {`, `"other": {`), "savedmodel.json"},
		{"no relight network", edit(`"relight": {`, `"other": {`), "lacks the relight network"},
		{"another size", edit("   48", "   49"), "the segment network makes"},
		{"no such tensor", edit("serving_default_x:0", "serving_default_y:0"), "serving_default_y:0"},
		{"no such output", edit("Call:0", "Call:7"), "Call:7"},
		{"no number", edit("Call:0", "Call:x"), "Call:x"},
		{"truncated", func(dir string) error {
			return os.Truncate(filepath.Join(dir, "segment", "saved_model.pb"), 1000)
		}, "segment: cannot be loaded"},
		{"no network", func(dir string) error {
			return os.RemoveAll(filepath.Join(dir, "relight"))
		}, "relight: cannot be loaded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := t.TempDir()
			dir := filepath.Join(cache, "savedmodel", b.SHA256)
			if err := errors.Join(os.CopyFS(dir, os.DirFS(whole)), c.damage(dir)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(b, model.Options{CacheDir: cache})
			for _, want := range []string{c.want, dir, "run scripts/savedmodel.sh again"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v; want an error with %q", err, want)
				}
			}
		})
	}
}
