package main

import (
	"path/filepath"
	"strings"
	"testing"

	"nightseg/calibrate/quantize"
	"nightseg/model"
	"nightseg/model/onnx"
)

// ruinousBundle has a network that tells bright from dark in three layers; in 8
// bits the one in the middle ruins it: beside its large weight, which meets only
// zeros, the others round to nothing. With twice, there are two of it.
func ruinousBundle(t *testing.T, twice bool) string {
	t.Helper()
	node := func(op, name, in, weight, out string) *onnx.Node {
		inputs := []string{in}
		if weight != "" {
			inputs = append(inputs, weight)
		}
		if weight == "tell.weight" {
			inputs = append(inputs, "tell.bias")
		}
		return &onnx.Node{Op: op, Name: name, Inputs: inputs, Outputs: []string{out}}
	}
	shaped := func(name string, c, h, w int64) *onnx.Value {
		v := onnx.NewValue(name, onnx.Float)
		v.Type.Tensor.Shape = &onnx.Shape{}
		for _, d := range []int64{1, c, h, w} {
			v.Type.Tensor.Shape.Dims = append(v.Type.Tensor.Shape.Dims, &onnx.Dim{Value: d})
		}
		return v
	}
	ruin := []float32{1, 0, 0, 1000, 0, 1, 0, 1000, 0, 0, 1, 1000, 0, 0, 0, 1000}
	g := &onnx.Graph{
		Name: "g", Inputs: []*onnx.Value{shaped("x", 3, 32, 48)}, Outputs: []*onnx.Value{shaped("logits", 3, 32, 48)},
		Initializers: []*onnx.Tensor{
			onnx.NewFloats("take.weight", []float32{1, 0, 0, 0, 1, 0, 0, 0, 1, -1, 0, 0}, 4, 3, 1, 1),
			onnx.NewFloats("ruin.weight", ruin, 4, 4, 1, 1), onnx.NewFloats("ruin2.weight", ruin, 4, 4, 1, 1),
			onnx.NewFloats("tell.weight", []float32{1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 3, 4, 1, 1),
			onnx.NewFloats("tell.bias", []float32{0, 1, 0}, 3),
		},
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
	if s == nil || s.Chosen != 1 || len(s.Steps) != 2 || s.Steps[0].Holds || !s.Steps[1].Holds ||
		s.Layers[0].Name != "/ruin" || s.Steps[1].Noise > s.Steps[0].Noise/100 {
		t.Errorf("search %+v", s)
	}
	if !exists(out + ".png") {
		t.Error("no picture")
	}
	b, err := model.Open(out)
	if err != nil || b.Gate == nil || b.Gate.Frames != 12 || !strings.Contains(string(b.Calibration), `"chosen": 1`) {
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
	if code != exitDone || !strings.Contains(text, "| **2** |") || !strings.Contains(text, "`segment /ruin`") {
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
