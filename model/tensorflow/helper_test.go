//go:build tensorflow && cgo

package tensorflow

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"nightseg/edge/frame"
	"nightseg/model"
)

const streetBundle = "../bundles/street-11"

// convert makes the SavedModels of a bundle directory, which is quick when they are there.
func convert(t testing.TB, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, ".cache/venv/tf/bin/python")); err != nil {
		t.Skip("needs the converter: run scripts/setup-tensorflow.sh")
	}
	cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(root, "scripts/savedmodel.sh"), dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/savedmodel.sh %s: %v\n%s", dir, err, out)
	}
}

// bundle opens a bundle directory that has its SavedModels.
func bundle(t testing.TB, dir string) *model.Bundle {
	t.Helper()
	b, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	convert(t, dir)
	return b
}

func engine(t testing.TB, b *model.Bundle, o model.Options) *Engine {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	e, err := Open(b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func golden(t testing.TB, b *model.Bundle) *frame.Frame {
	t.Helper()
	f, err := b.GoldenFrame()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// withNetwork writes a bundle like the tiny one, without relighting, whose
// segmentation network is another file of testdata, and which may take bytes.
func withNetwork(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(tinyBundle)); err != nil {
		t.Fatal(err)
	}
	net, err1 := os.ReadFile(filepath.Join("../testdata/nets", file))
	err2 := os.WriteFile(filepath.Join(dir, "segment.onnx"), net, 0o644)
	doc, err3 := os.ReadFile(filepath.Join(dir, model.ManifestName))
	var m map[string]any
	if err := errors.Join(err1, err2, err3, json.Unmarshal(doc, &m)); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(net)
	segment := m["graphs"].(map[string]any)["segment"].(map[string]any)
	segment["files"] = map[string]any{
		"fp32": map[string]any{"file": "segment.onnx", "sha256": hex.EncodeToString(sum[:])},
	}
	if file == "bytes.onnx" {
		segment["input"] = map[string]any{"name": "image", "type": "uint8", "layout": "NHWC"}
		segment["output"].(map[string]any)["name"] = "out"
	}
	m["graphs"] = map[string]any{"segment": segment}
	if doc, err1 = json.Marshal(m); err1 != nil {
		t.Fatal(err1)
	}
	if err := os.WriteFile(filepath.Join(dir, model.ManifestName), doc, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
