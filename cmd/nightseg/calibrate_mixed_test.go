package main

import (
	"fmt"
	"image"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/calibrate/gate"
	"nightseg/calibrate/quantize"
	"nightseg/model"
	"nightseg/model/onnx"
)

// node is a node with a weight, where one is named; that of /tell has a bias, too.
func node(op, name, in, weight, out string) *onnx.Node {
	inputs := []string{in}
	if weight != "" {
		inputs = append(inputs, weight)
	}
	if weight == "tell.weight" {
		inputs = append(inputs, "tell.bias")
	}
	return &onnx.Node{Op: op, Name: name, Inputs: inputs, Outputs: []string{out}}
}

// plane is an input or output of 32 x 48 pixels.
func plane(name string, channels int64) *onnx.Value {
	v := onnx.NewValue(name, onnx.Float)
	v.Type.Tensor.Shape = &onnx.Shape{}
	for _, d := range []int64{1, channels, 32, 48} {
		v.Type.Tensor.Shape.Dims = append(v.Type.Tensor.Shape.Dims, &onnx.Dim{Value: d})
	}
	return v
}

// tell are the weights of a last layer that calls a pixel bright where its first three
// channels are more than 1 together.
func tell() []*onnx.Tensor {
	return []*onnx.Tensor{
		onnx.NewFloats("tell.weight", []float32{1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 3, 4, 1, 1),
		onnx.NewFloats("tell.bias", []float32{0, 1, 0}, 3),
	}
}

// ruinousBundle has a network that tells bright from dark in three layers; in 8
// bits the one in the middle ruins it: beside its large weight, which meets only
// zeros, the others round to nothing. With twice, there are two of it.
func ruinousBundle(t *testing.T, twice bool) string {
	t.Helper()
	ruin := []float32{1, 0, 0, 1000, 0, 1, 0, 1000, 0, 0, 1, 1000, 0, 0, 0, 1000}
	g := &onnx.Graph{
		Name: "g", Inputs: []*onnx.Value{plane("x", 3)}, Outputs: []*onnx.Value{plane("logits", 3)},
		Initializers: append(tell(),
			onnx.NewFloats("take.weight", []float32{1, 0, 0, 0, 1, 0, 0, 0, 1, -1, 0, 0}, 4, 3, 1, 1),
			onnx.NewFloats("ruin.weight", ruin, 4, 4, 1, 1), onnx.NewFloats("ruin2.weight", ruin, 4, 4, 1, 1)),
		Nodes: []*onnx.Node{
			node("Conv", "/take", "x", "take.weight", "a"), node("Relu", "/relu", "a", "", "b"),
			node("Conv", "/ruin", "b", "ruin.weight", "c"),
		},
	}
	last := "c"
	if twice {
		g.Nodes = append(g.Nodes, node("Conv", "/ruin2", "c", "ruin2.weight", "d"))
		last = "d"
	}
	g.Nodes = append(g.Nodes, node("Conv", "/tell", last, "tell.weight", "logits"))
	return netBundle(t, g)
}

// netBundle is a bundle of a float network of 32 x 48 pixels with three classes.
func netBundle(t *testing.T, g *onnx.Graph) string {
	t.Helper()
	data, err := (&onnx.Model{IRVersion: 8, Opsets: []*onnx.Opset{{Version: 17}}, Graph: g}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	saveText(t, filepath.Join(dir, "net.onnx"), string(data))
	saveText(t, filepath.Join(dir, "classes.txt"), "bright\ndark\nnone\n")
	out := filepath.Join(dir, "bundle")
	code, _, errOut := command(t, "bundle", "new", "--onnx", filepath.Join(dir, "net.onnx"), "--classes",
		filepath.Join(dir, "classes.txt"), "--out", out, "--mean", "0,0,0", "--std", "1,1,1")
	if code != exitDone {
		t.Fatalf("bundle new: exit code %d, %s", code, errOut)
	}
	return out
}

const brightDrive = "synth://?seed=1&size=48x32&time=day&frames=12"

func quantizeArgs(bundle, out string, more ...string) []string {
	return append([]string{
		"calibrate", "quantize", "--bundle", bundle, "--source", brightDrive, "--out", out, "--threads", "1",
		"--provider", "cpu",
	}, more...)
}

// The search stops at the layer that ruins the network, and all is in the bundle.
func TestQuantizeGivesBackTheRuinousLayer(t *testing.T) {
	needEngine(t)
	out := filepath.Join(t.TempDir(), "mine")
	var r quantizeDone
	commandJSON(t, exitDone, &r, quantizeArgs(ruinousBundle(t, false), out)...)
	if kept := r.Float["segment"]; len(kept) != 1 || kept[0] != "/ruin" {
		t.Fatalf("float: %q", kept)
	}
	s := r.Search
	if s == nil || len(s.Steps) != 4 || s.Steps[0].Holds || !s.Steps[1].Holds || !s.Steps[1].Chosen ||
		s.Layers[0].Name != "/ruin" || s.Steps[1].Noise > s.Steps[0].Noise/100 {
		t.Errorf("search %+v", s)
	}
	if !exists(out + ".png") {
		t.Error("no picture")
	}
	b, err := model.Open(out)
	if err != nil || b.Gate == nil || b.Gate.Frames != 12 || !strings.Contains(string(b.Calibration), `"chosen": true`) {
		t.Errorf("%v, gate %+v, record %s", err, b.Gate, b.Calibration)
	}
	code, text, errOut := command(t, "bundle", "verify", out, "--engine", "onnxruntime", "--provider", "cpu")
	for _, want := range []string{
		"holds gate: int8 against float", "ranges of 12 of 12 frames", "segment stays float in /ruin", "minmax",
	} {
		if code != exitDone || !strings.Contains(text, want) {
			t.Errorf("verify: exit code %d, no %q in %s%s", code, want, text, errOut)
		}
	}
}

// leapingBundle has a network whose fourth channel leaps where a pixel is white, which one of the drive
// is: with its extreme in the range, all else rounds to nothing.
func leapingBundle(t *testing.T) (bundle, drive string) {
	t.Helper()
	drive = t.TempDir()
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 60 {
		img := image.NewRGBA(image.Rect(0, 0, 48, 32))
		for k := range img.Pix {
			img.Pix[k] = uint8(random.IntN(200))
			if k%4 == 3 || i == 30 && k < 4 {
				img.Pix[k] = 255
			}
		}
		savePNG(t, filepath.Join(drive, fmt.Sprintf("%02d.png", i)), img)
	}
	leap := []float32{1, 0, 0, 0, 1, 0, 0, 0, 1, 1000, 1000, 1000}
	return netBundle(t, &onnx.Graph{
		Name: "g", Inputs: []*onnx.Value{plane("x", 3)}, Outputs: []*onnx.Value{plane("logits", 3)},
		Initializers: append(tell(), onnx.NewFloats("take.weight", leap, 4, 3, 1, 1),
			onnx.NewFloats("take.bias", []float32{0, 0, 0, -2700}, 4)),
		Nodes: []*onnx.Node{
			{Op: "Conv", Name: "/take", Inputs: []string{"x", "take.weight", "take.bias"}, Outputs: []string{"a"}},
			node("Relu", "/relu", "a", "", "b"), node("Conv", "/tell", "b", "tell.weight", "logits"),
		},
	}), drive
}

// Before layers are given back, the gate is asked about other ranges.
func TestQuantizeTriesOtherRanges(t *testing.T) {
	needEngine(t)
	bundle, drive := leapingBundle(t)
	out := filepath.Join(t.TempDir(), "mine")
	args := quantizeArgs(bundle, out, "--source", drive, "--keep-float", "none")
	code, text, errOut := command(t, append(args, "--observer", "minmax")...)
	if code != exitRefused {
		t.Fatalf("minmax: exit code %d, %s%s", code, text, errOut)
	}
	if err := quantize.Done(out); err != nil {
		t.Fatal(err)
	}
	var r quantizeDone
	commandJSON(t, exitDone, &r, args...)
	if r.Gate == nil || !gate.Holds(r.Gate.Figures) || r.Search != nil || len(r.Float["segment"]) > 0 {
		t.Errorf("%+v", r)
	}
	b, err := model.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	if how := quantize.ReadRecord(b).String(); !strings.Contains(how, "segment percentile 99.999") {
		t.Errorf("made with %s", how)
	}
	if !strings.Contains(string(b.Calibration), `"worst": "IoU of`) {
		t.Errorf("what was refused is not kept: %s", b.Calibration)
	}
}

// What the gate refuses is not written, whatever was asked of the search.
func TestQuantizeRefuses(t *testing.T) {
	needEngine(t)
	for name, c := range map[string]struct {
		twice bool
		more  []string
		want  string
	}{
		"no search":      {false, []string{"--keep-float", "none"}, "with --keep-float auto"},
		"names only":     {false, []string{"--keep-float", "/tell"}, "with --keep-float auto"},
		"two are ruined": {true, []string{"--most-float", "1"}, "not with 1 layers in float"},
	} {
		bundle, out := ruinousBundle(t, c.twice), filepath.Join(t.TempDir(), "mine")
		code, text, errOut := command(t, quantizeArgs(bundle, out, c.more...)...)
		if code != exitRefused || !strings.Contains(errOut, c.want) || !strings.Contains(text, "FAILS IoU of bright") {
			t.Errorf("%s: exit code %d, %s%s", name, code, text, errOut)
		}
		if exists(out) {
			t.Errorf("%s: a bundle was written", name)
		}
		// The ranges are there for another try.
		var r quantizeDone
		if name == "no search" {
			commandJSON(t, exitDone, &r, quantizeArgs(bundle, out, "--gate=false")...)
			if !r.Resumed || r.Gate != nil || r.Search != nil {
				t.Errorf("without the gate: %+v", r)
			}
		}
	}
}

// With labels it is them that the gate is asked on.
func TestQuantizeOnLabels(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	images, labels := labelledSet(t, dir, 5, 1)
	out := filepath.Join(dir, "mine")
	var r quantizeDone
	commandJSON(t, exitDone, &r, "calibrate", "quantize", "--bundle", tinyBundle(t), "--source", images, "--out", out,
		"--images", images, "--labels", labels, "--threads", "1", "--provider", "cpu")
	if r.Gate == nil || !r.Gate.Labels || r.Gate.Frames != 5 || r.Search != nil {
		t.Errorf("%+v", r)
	}
}

// Given a picture and no bundle to write, all steps are measured.
func TestSensitivity(t *testing.T) {
	needEngine(t)
	picture := filepath.Join(t.TempDir(), "layers.png")
	args := []string{
		"calibrate", "sensitivity", "--bundle", ruinousBundle(t, true), "--source", brightDrive, "--threads", "1",
		"--provider", "cpu", "--most-float", "2", "--picture", picture,
	}
	code, text, errOut := command(t, append(args, "--markdown")...)
	if code != exitDone || !strings.Contains(text, "| **1 to 2** |") || !strings.Contains(text, "`segment /ruin`") {
		t.Errorf("exit code %d, %s%s", code, text, errOut)
	}
	if !exists(picture) || exists(quantize.StateFile(strings.TrimSuffix(picture, ".png"))) {
		t.Error("no picture, or the state is left")
	}
	code, text, errOut = command(t, args...)
	if code != exitDone || !strings.Contains(text, "chosen") {
		t.Errorf("exit code %d, %s%s", code, text, errOut)
	}
}
