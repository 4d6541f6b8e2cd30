package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// asProgram makes the test binary behave as nightseg, for commands that start
// this program again.
const asProgram = "NIGHTSEG_TEST_AS_PROGRAM"

// selfInTest is how a test starts nightseg; it needs t.Setenv(asProgram, "1").
func selfInTest() []string { return []string{os.Args[0], "-test.run=^TestAsProgram$", "--"} }

func TestAsProgram(t *testing.T) {
	if os.Getenv(asProgram) == "" {
		t.Skip("runs only when another test starts it as the program nightseg")
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	args := os.Args[slices.Index(os.Args, "--")+1:]
	code := execute(ctx, args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command runs nightseg in this process.
func command(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = execute(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

// commandJSON runs nightseg --json, which must end with code, and reads what it writes.
func commandJSON(t *testing.T, code int, into any, args ...string) {
	t.Helper()
	got, out, errOut := command(t, append(args, "--json")...)
	if got != code {
		t.Fatalf("%s: exit code %d, want %d: %s", strings.Join(args, " "), got, code, errOut)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%s: %v in %q", strings.Join(args, " "), err, out)
	}
}

// tinyBundle is the path of a bundle with small networks: 48 x 32, three classes.
func tinyBundle(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "model", "testdata", "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// needEngine skips a test where no ONNX Runtime is at hand.
func needEngine(t *testing.T) {
	t.Helper()
	if _, err := ortLibrary(""); err != nil {
		t.Skipf("no ONNX Runtime: %v", err)
	}
	t.Setenv("NIGHTSEG_CACHE", t.TempDir())
}

// The size of the tiny bundle.
const tinyW, tinyH = 48, 32

// savePNG writes a picture and makes its folder.
func savePNG(t *testing.T, name string, img image.Image) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// saveText writes a file.
func saveText(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// scene is a picture with three regions that move with n.
func scene(w, h, n int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{uint8(40 + 5*n), 40, 60, 255}
			if y > h/2 {
				c = color.RGBA{20, uint8(3 * x), 20, 255}
			}
			if (x+4*n)%w > w/2 && y > h/4 {
				c = color.RGBA{200, 180, uint8(7 * y), 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	return img
}

func TestHelpShowsExamples(t *testing.T) {
	for _, args := range [][]string{
		{"run"},
		{"replay"},
		{"demo"},
		{"watch"},
		{"eval"},
		{"bench"},
		{"bench", "codecs"},
		{"synth"},
		{"doctor"},
		{"bundle"},
		{"config"},
		{"bundle", "info"},
		{"bundle", "verify"},
		{"bundle", "pack"},
		{"bundle", "new"},
		{"calibrate"},
		{"calibrate", "weights"},
		{"calibrate", "std"},
		{"calibrate", "gate"},
		{"config", "check"},
		{"config", "show"},
		{"config", "schema"},
		{"config", "example"},
	} {
		code, out, _ := command(t, append(args, "--help")...)
		if code != exitDone || !strings.Contains(out, "Examples:\n  nightseg "+args[0]) {
			t.Errorf("%v --help: exit code %d, no example in %q", args, code, out)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown flag":        {"eval", "--imagse", "x"},
		"no folders":          {"eval"},
		"flicker and labels":  {"eval", "--flicker", "a", "--labels", "b"},
		"below zero":          {"eval", "--images", "a", "--labels", "b", "--block", "-1"},
		"two sources":         {"bench", "a", "b"},
		"no rounds":           {"bench", "--rounds", "0"},
		"codecs of nothing":   {"bench", "codecs"},
		"starts, no broker":   {"bench", "--broker", "none"},
		"synth without out":   {"synth"},
		"size":                {"synth", "--out", "x", "--size", "640"},
		"demo of no length":   {"demo", "--seconds", "0"},
		"watch with argument": {"watch", "mqtt://localhost"},
		"run with argument":   {"run", "nightseg.yaml"},
		"too many arguments":  {"config", "check", "a", "b"},
		"no argument":         {"config", "check"},
		"pack without ending": {"bundle", "pack", "a", "b.zip"},
		"new without network": {"bundle", "new"},
		"no labels":           {"calibrate", "weights"},
		"std without labels":  {"calibrate", "std", "--images", "a"},
		"gate of nothing":     {"calibrate", "gate", "--images", "a"},
		"gate of two sorts":   {"calibrate", "gate", "--source", "a", "--labels", "b"},
		"gate of one sort":    {"calibrate", "gate", "--source", "a", "--precision", "int8"},
		"gate, two places":    {"calibrate", "gate", "--source", "a", "--in-place", "--out", "b"},
		"no form":             {"calibrate", "weights", "--labels", "a", "--form", "rgb"},
		"map and form":        {"calibrate", "weights", "--labels", "a", "--form", "palette", "--map", "m.json"},
		"version, no bundle":  {"calibrate", "weights", "--labels", "a", "--set-version", "2.0.0"},
		"out is there":        {"calibrate", "weights", "--labels", "a", "--out", "."},
		"unknown engine":      {"bundle", "verify", tinyBundle(t), "--engine", "torch"},
	} {
		if code, _, errOut := command(t, args...); code != exitUsage || errOut == "" {
			t.Errorf("%s: exit code %d, %q", name, code, errOut)
		}
	}
}
