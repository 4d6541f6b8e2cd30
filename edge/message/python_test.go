package message

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/edge/frame"
)

// python returns a Python that has the modules, or skips the test.
func python(t *testing.T, modules ...string) string {
	t.Helper()
	var tried []string
	for _, p := range []string{os.Getenv("NIGHTSEG_PYTHON"), "../../.cache/venv/train/bin/python", "python3"} {
		if p == "" {
			continue
		}
		script := "pass"
		if len(modules) > 0 {
			script = "import " + strings.Join(modules, ", ")
		}
		out, err := exec.Command(p, "-c", script).CombinedOutput()
		if err == nil {
			return p
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		tried = append(tried, fmt.Sprintf("%s: %v %s", p, err, lines[len(lines)-1]))
	}
	t.Skipf("no Python with %v (give one with NIGHTSEG_PYTHON): %s", modules, strings.Join(tried, "; "))
	return ""
}

// pythonMasks are of all shapes, small enough for a reader in plain Python.
func pythonMasks() []*frame.Mask {
	masks := []*frame.Mask{street(640, 480, 1), street(160, 120, 2), street(48, 40, 3)}
	rng := rand.New(rand.NewPCG(11, 12))
	for _, shape := range shapes {
		for _, size := range [][2]int{{1, 1}, {1, 40}, {70, 1}, {67, 33}, {300, 3}} {
			m := &frame.Mask{}
			m.Reset(size[0], size[1])
			m.Meta = testMeta(m.W, m.H)
			for i := range m.Class {
				m.Class[i] = uint8(shape.class(i%m.W, i/m.W, m.W, m.H, rng))
			}
			masks = append(masks, m)
		}
	}
	return masks
}

// runPython writes a message for each mask, and runs a script on them.
func runPython(t *testing.T, python string, c Codec, masks []*frame.Mask, args ...string) (names []string) {
	t.Helper()
	dir := t.TempDir()
	e := testEncoder(t)
	for i, m := range masks {
		name := filepath.Join(dir, fmt.Sprintf("%03d.%s", i, c.Extension()))
		if err := os.WriteFile(name, mustAppend(t, e, m, c), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	cmd := exec.Command(python, append(args, names...)...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, m := range masks {
		got, err := os.ReadFile(names[i] + ".classes")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, m.Class) {
			t.Errorf("mask %d of %dx%d, %s: other classes", i, m.W, m.H, c)
		}
	}
	return names
}

// TestPythonReader runs the reader of docs/ on real messages.
func TestPythonReader(t *testing.T) {
	masks := pythonMasks()
	for c, modules := range map[Codec][]string{PNG: {"numpy", "PIL"}, RLEZstd: {"numpy", "PIL", "zstandard"}} {
		t.Run(string(c), func(t *testing.T) {
			names := runPython(t, python(t, modules...), c, masks, "testdata/classes.py", "../../docs")
			for i, m := range masks {
				b, err := os.ReadFile(names[i] + ".json")
				if err != nil {
					t.Fatal(err)
				}
				var h Header
				var shape [2]int
				var kind string
				if err := json.Unmarshal(b, &[]any{&h, &shape, &kind}); err != nil {
					t.Fatal(err)
				}
				if h.Meta != m.Meta || shape != [2]int{m.H, m.W} || kind != "uint8" {
					t.Errorf("mask %d: %+v, %v, %s", i, h, shape, kind)
				}
			}
		})
	}
}

// TestPythonPlain reads the PNG form with the zlib of Python alone, and every
// checksum of it.
func TestPythonPlain(t *testing.T) {
	runPython(t, python(t), PNG, pythonMasks(), "testdata/plain.py")
}
