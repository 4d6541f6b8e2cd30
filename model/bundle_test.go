package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const tiny = "testdata/tiny"

// copyTiny copies the tiny bundle, for a test to damage.
func copyTiny(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	if err := os.CopyFS(dir, os.DirFS(tiny)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// edit changes bundle.json as a document.
func edit(t testing.TB, dir string, change func(doc map[string]any)) {
	t.Helper()
	name := filepath.Join(dir, ManifestName)
	var doc map[string]any
	if err := json.Unmarshal(readFile(t, name), &doc); err != nil {
		t.Fatal(err)
	}
	change(doc)
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, name, data)
}

// replace puts other bytes in place of a file and the right hash into the manifest.
func replace(t testing.TB, dir, file string, data []byte) {
	t.Helper()
	old := sha256.Sum256(readFile(t, filepath.Join(dir, file)))
	sum := sha256.Sum256(data)
	writeFile(t, filepath.Join(dir, file), data)
	name := filepath.Join(dir, ManifestName)
	doc := bytes.ReplaceAll(readFile(t, name), []byte(hex.EncodeToString(old[:])), []byte(hex.EncodeToString(sum[:])))
	writeFile(t, name, doc)
}

func TestOpen(t *testing.T) {
	for _, path := range []string{tiny, filepath.Join(tiny, ManifestName)} {
		b, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if b.Name != "tiny-3" || b.Dir != tiny || b.Path != path || len(b.SHA256) != 64 {
			t.Errorf("bundle %+v", b)
		}
		if names := strings.Join(b.ClassNames(), ","); names != "sky,road,car" {
			t.Errorf("classes %s", names)
		}
		if p, err := b.Precision(Auto); p != INT8 || err != nil {
			t.Errorf("automatic precision %s, %v", p, err)
		}
	}
}

func pngOf(t testing.TB, img image.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Each fault must be refused with an error that names the file and says enough.
func TestOpenFaults(t *testing.T) {
	at := func(doc map[string]any, path ...string) map[string]any {
		for _, p := range path {
			doc = doc[p].(map[string]any)
		}
		return doc
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   []string
	}{
		"no directory": {
			func(t *testing.T, dir string) {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"no such bundle", ".tar.zst"},
		},
		"no manifest": {
			func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(dir, ManifestName)); err != nil {
					t.Fatal(err)
				}
			},
			[]string{ManifestName, "no such file", "docs/bundles.md"},
		},
		"truncated network": {
			func(t *testing.T, dir string) {
				if err := os.Truncate(filepath.Join(dir, "segment.onnx"), 1000); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"segment.onnx", "1000 bytes", "sha256", "copy the bundle again"},
		},
		"truncated network with its hash": {
			func(t *testing.T, dir string) {
				replace(t, dir, "segment.onnx", readFile(t, filepath.Join(dir, "segment.onnx"))[:1000])
			},
			[]string{"segment.onnx", "not an ONNX network", "copy the bundle again"},
		},
		"wrong hash": {
			func(t *testing.T, dir string) {
				data := readFile(t, filepath.Join(dir, "golden/logits.fp32.bin"))
				data[7] ^= 1
				writeFile(t, filepath.Join(dir, "golden/logits.fp32.bin"), data)
			},
			[]string{"logits.fp32.bin", "sha256", "damaged"},
		},
		"picture in place of a network": {
			func(t *testing.T, dir string) {
				replace(t, dir, "segment.onnx", pngOf(t, image.NewGray(image.Rect(0, 0, 9, 9))))
			},
			[]string{"segment.onnx", "not an ONNX network"},
		},
		"network of another shape": {
			func(t *testing.T, dir string) {
				replace(t, dir, "segment.onnx", readFile(t, "testdata/nets/wrong-shape.onnx"))
			},
			[]string{"segment.onnx", "[1 3 2 3]", "[1 3 4 6]", "graphs.segment"},
		},
		"network of another kind": {
			func(t *testing.T, dir string) {
				replace(t, dir, "segment.onnx", readFile(t, "testdata/nets/bytes.onnx"))
			},
			[]string{"segment.onnx", "[image]", `"x"`},
		},
		"not JSON": {
			func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, ManifestName), []byte("{schema: 1}")) },
			[]string{ManifestName, "not JSON"},
		},
		"unknown key": {
			func(t *testing.T, dir string) { edit(t, dir, func(d map[string]any) { d["strides"] = 8 }) },
			[]string{ManifestName, "strides", "docs/bundles.md"},
		},
		"missing key": {
			func(t *testing.T, dir string) { edit(t, dir, func(d map[string]any) { delete(d, "stride") }) },
			[]string{ManifestName, "stride"},
		},
		"wrong type": {
			func(t *testing.T, dir string) {
				edit(t, dir, func(d map[string]any) { at(d, "normalise")["std"] = []any{1, 1, "one"} })
			},
			[]string{"normalise.std.2", "number"},
		},
		"path that leads out": {
			func(t *testing.T, dir string) {
				edit(t, dir, func(d map[string]any) { at(d, "golden", "image")["file"] = "../secret.png" })
			},
			[]string{"../secret.png", "leads out"},
		},
		"class ids with a gap": {
			func(t *testing.T, dir string) {
				edit(t, dir, func(d map[string]any) { d["classes"].([]any)[2].(map[string]any)["id"] = 5 })
			},
			[]string{"classes", "id 5"},
		},
		"shares that do not sum to 1": {
			func(t *testing.T, dir string) {
				edit(t, dir, func(d map[string]any) { d["class_shares"] = []any{0.5, 0.3, 0.5} })
			},
			[]string{"class_shares", "1.3"},
		},
		"golden picture of another size": {
			func(t *testing.T, dir string) {
				edit(t, dir, func(d map[string]any) { d["shapes"] = []any{[]any{32, 64}} })
			},
			[]string{"[1 32 48 3]", "[1 32 64 3]"},
		},
		"logits that are far from the stride": {
			func(t *testing.T, dir string) {
				edit(t, dir, func(d map[string]any) { d["logits"] = []any{[]any{4, 8}} })
			},
			[]string{"logits", "8x4", "48x32", "stride 8"},
		},
		"sizes of logits for other shapes": {
			func(t *testing.T, dir string) {
				edit(t, dir, func(d map[string]any) { d["logits"] = []any{[]any{4, 6}, []any{4, 6}} })
			},
			[]string{"logits", "2 sizes for 1 shapes"},
		},
		"logits with a point that the network lacks": {
			func(t *testing.T, dir string) {
				edit(t, dir, func(d map[string]any) { d["logits"] = []any{[]any{5, 7}} })
			},
			[]string{"segment.onnx", "[1 3 4 6]", "[1 3 5 7]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyTiny(t)
			c.damage(t, dir)
			_, err := Open(dir)
			if err == nil {
				t.Fatal("the bundle was opened")
			}
			t.Log(err)
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

func TestFileErrorUnwraps(t *testing.T) {
	cause := errors.New("cause")
	err := error(&FileError{File: "f", Problem: "p", Err: cause, Remedy: "r"})
	if !errors.Is(err, cause) || err.Error() != "f: p: cause (r)" {
		t.Errorf("error %q", err)
	}
}

func TestLogitSize(t *testing.T) {
	for name, c := range map[string]struct {
		stride int
		logits [][2]int
		h, w   int
		want   [2]int
	}{
		"stride 8":                  {8, nil, 480, 640, [2]int{60, 80}},
		"stride 4":                  {4, nil, 480, 640, [2]int{120, 160}},
		"rounded up":                {8, nil, 540, 960, [2]int{68, 120}},
		"as stated":                 {8, [][2]int{{60, 80}, {68, 121}}, 540, 960, [2]int{68, 121}},
		"a shape that is not there": {8, [][2]int{{60, 80}, {68, 121}}, 96, 160, [2]int{12, 20}},
	} {
		m := Manifest{Stride: c.stride, Shapes: [][2]int{{480, 640}, {540, 960}}, Logits: c.logits}
		if h, w := m.LogitSize(c.h, c.w); [2]int{h, w} != c.want {
			t.Errorf("%s: %dx%d, want %v", name, h, w, c.want)
		}
		if err := m.checkLogits(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPrecisionAndTolerance(t *testing.T) {
	b, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Precision(FP16); err == nil || !strings.Contains(err.Error(), "fp32, int8") {
		t.Errorf("a precision that is not there: %v", err)
	}
	b.Tolerance["int8/cpu"] = Tolerance{LogitsRelative: 0.5, MaskAgreement: 0.5}
	if l, ok := b.ToleranceFor(INT8, CPU); !ok || l.LogitsRelative != 0.5 {
		t.Errorf("tolerance of the provider: %+v", l)
	}
	if l, ok := b.ToleranceFor(INT8, CUDA); !ok || l.LogitsRelative != 0.1 {
		t.Errorf("tolerance of the precision: %+v", l)
	}
	delete(b.Graphs.Relight.Files, INT8)
	if f, used, ok := b.Graphs.Relight.FileFor(INT8); !ok || used != FP32 || f.File != "relight.onnx" {
		t.Errorf("a graph without the precision: %v %s %v", f, used, ok)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(readFile(f, filepath.Join(tiny, ManifestName)))
	for _, s := range []string{"", "{}", "[]", "null", `{"schema":1}`, `{"schema":2}`, "\xff", `{"a":1e999}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		m, err := ParseManifest(doc)
		if err != nil {
			return
		}
		for _, file := range m.AllFiles() {
			if !filepath.IsLocal(file.File) {
				t.Errorf("file name %q leads out", file.File)
			}
		}
		if _, err := m.Precision(Auto); err != nil {
			t.Errorf("accepted, but: %v", err)
		}
		id, err := Identity(doc)
		if err != nil {
			t.Fatalf("accepted, but without identity: %v", err)
		}
		canonical, err := Canonical(doc)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Identity(canonical); err != nil || again != id {
			t.Errorf("the canonical form has another identity: %v", err)
		}
	})
}
