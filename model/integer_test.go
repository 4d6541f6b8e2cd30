package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNewIntegers(t *testing.T) {
	old, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	old.Gate = &Gate{Subject: "of the old networks"}
	network := readFile(t, filepath.Join(tiny, "segment.onnx")) // stands for an integer one
	o := IntegerOptions{
		Out: filepath.Join(t.TempDir(), "out"), Version: "9.0.1", Calibration: json.RawMessage(`{"by": "a test"}`),
		Now: time.Unix(1700000000, 0), Networks: map[string][]byte{"segment": network},
		Engine: func(b *Bundle) (Engine, error) { return ramp{b}, nil },
	}
	n, err := old.NewIntegers(o)
	if err != nil {
		t.Fatal(err)
	}
	if n.Version != "9.0.1" || n.Created.Unix() != 1700000000 || !strings.Contains(string(n.Calibration), "a test") {
		t.Errorf("%s of %v, %s", n.Version, n.Created, n.Calibration)
	}
	if n.Gate != nil {
		t.Error("the gate's record of other networks is kept")
	}
	got := readFile(t, n.FilePath(n.Graphs.Segment.Files[INT8]))
	if _, relit := n.Graphs.Relight.Files[INT8]; relit || !bytes.Equal(got, network) {
		t.Error("the networks are others than those that were given")
	}
	if n.Tolerance[INT8] != old.Tolerance[INT8] || n.Graphs.Segment.Files[FP32] != old.Graphs.Segment.Files[FP32] ||
		n.Golden.Outputs[FP32] != old.Golden.Outputs[FP32] {
		t.Error("what was not to change has changed")
	}
	if checks, err := Verify(t.Context(), n, precise{ramp{n}}); err != nil || checks[0].Relative != 0 {
		t.Errorf("golden vectors: %v, %v", checks, err)
	}
	if old.Version == n.Version || len(old.Graphs.Relight.Files) != 2 || len(old.Golden.Outputs) != 2 {
		t.Error("the old bundle has changed")
	}
	if _, err := old.NewIntegers(o); !errors.Is(err, os.ErrExist) {
		t.Errorf("written over what is there: %v", err)
	}
}

// A record of the gate goes along as one of the new networks.
func TestNewIntegersWithGate(t *testing.T) {
	old, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	record := Gate{
		Set: "s", SHA256: strings.Repeat("0", 64), Frames: 1, Relight: "none", Engine: "e", Machine: "m",
		Figures: []GateFigure{{Name: "agreement", Value: 100, Limit: 99, Holds: true}},
	}
	n, err := old.NewIntegers(IntegerOptions{
		Out: filepath.Join(t.TempDir(), "out"), Version: "9.0.1", Now: time.Unix(1700000000, 0), Gate: &record,
		Networks: map[string][]byte{"segment": readFile(t, filepath.Join(tiny, "segment.onnx"))},
		Engine:   func(b *Bundle) (Engine, error) { return ramp{b}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	subject, err := n.Subject()
	if err != nil || n.Gate == nil || n.Gate.Subject != subject || record.Subject != "" {
		t.Errorf("%+v, %v", n.Gate, err)
	}
	if before, err := old.Subject(); err != nil || before == subject {
		t.Errorf("the same subject as before: %v", err)
	}
}

// A trial has in its folder what an int8 engine opens, float networks where there
// are no others, and leaves the bundle alone.
func TestTrial(t *testing.T) {
	old, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	network := []byte("an integer network")
	b, err := old.Trial(filepath.Join(t.TempDir(), "trial"), map[string][]byte{"segment": network})
	if err != nil {
		t.Fatal(err)
	}
	segment, _, _ := b.Graphs.Segment.FileFor(INT8)
	relight, used, _ := b.Graphs.Relight.FileFor(INT8)
	if !bytes.Equal(readFile(t, b.FilePath(segment)), network) || used != FP32 ||
		!bytes.Equal(readFile(t, b.FilePath(relight)), readFile(t, filepath.Join(tiny, "relight.onnx"))) {
		t.Errorf("segment %v, relight %v in %s", segment, relight, used)
	}
	if len(old.Graphs.Relight.Files) != 2 || old.Dir == b.Dir {
		t.Error("the bundle has changed")
	}
}

// precise is a ramp that says it runs int8.
type precise struct{ ramp }

func (precise) Info() Info { return Info{Engine: "ramp", Provider: CPU, Precision: INT8} }

func TestNewIntegersLeavesNothingHalf(t *testing.T) {
	old, err := Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	o := IntegerOptions{
		Out: filepath.Join(t.TempDir(), "out"), Version: "9.0.1",
		Networks: map[string][]byte{"segment": readFile(t, filepath.Join(tiny, "segment.onnx"))},
		Engine:   func(*Bundle) (Engine, error) { return nil, errors.New("no engine here") },
	}
	if _, err := old.NewIntegers(o); err == nil || !strings.Contains(err.Error(), "no engine here") {
		t.Errorf("%v", err)
	}
	o.Engine = func(b *Bundle) (Engine, error) { return ramp{b}, nil }
	o.Version = "one"
	if _, err := old.NewIntegers(o); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(o.Out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a half bundle is left: %v", err)
	}
}
