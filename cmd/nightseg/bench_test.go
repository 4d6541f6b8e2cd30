package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"nightseg/edge/frame"
)

func TestBenchMeasures(t *testing.T) {
	needEngine(t)
	t.Setenv(asProgram, "1")
	dir := t.TempDir()
	for i := range 3 {
		savePNG(t, filepath.Join(dir, fmt.Sprintf("%d.png", i)), scene(96, 64, i))
	}
	var out, errOut strings.Builder
	a := &app{out: &out, err: &errOut}
	f := &benchFlags{
		source: dir, relit: "network", codec: "png", broker: brokerProcess, frames: 8, rounds: 2,
		starts: 1, force: true, self: selfInTest(),
	}
	f.bundle, f.engine, f.Provider = tinyBundle(t), engineORT, "cpu"
	if err := a.bench(t.Context(), f); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	for _, want := range []string{
		"tiny-3", "whole loop", "stage encode", "objects allocated a frame", "cold", "limit",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if !strings.Contains(out.String(), "100 % of the nodes on cpu") {
		t.Errorf("no share of nodes in\n%s", out.String())
	}
}

func TestBenchJSON(t *testing.T) {
	needEngine(t)
	var r benchResult
	commandJSON(t, exitDone, &r, "bench", "--bundle", tinyBundle(t), "--frames", "6", "--rounds", "1",
		"--starts", "0", "--broker", "none", "--force", "--provider", "cpu", "--relight", "none")
	if r.Frames != 6 || r.Networks.Median <= 0 || r.Outside.Median <= 0 || r.Core.Median <= 0 ||
		r.Decode.Median <= 0 || r.DecideP99.Median <= 0 || r.Eighth.Median <= 0 || r.DecideMost.Median <= 0 ||
		r.Parallel < 1 {
		t.Errorf("a figure is missing: %+v", r)
	}
	if len(r.Limits) != 4 || r.Starts != nil || r.Pictures != "synthetic drive, JPEG" {
		t.Errorf("limits %+v, starts %v, pictures %q", r.Limits, r.Starts, r.Pictures)
	}
	for _, name := range []string{"capture", "decide", "encode"} {
		if r.Stages[name].Median <= 0 {
			t.Errorf("no time of %s in %v", name, r.Stages)
		}
	}
}

func TestBenchRefusesUnderLoad(t *testing.T) {
	files := fstest.MapFS{"proc/stat": file("cpu  100 0 50 1000 10 0 5 0 0 0\ncpu0 1 1 1 1\n")}
	m := newLoadMeter(files)
	before := m.read()
	before.at = before.at.Add(-2 * time.Second)
	files["proc/stat"] = file("cpu  250 0 100 1100 10 0 5 0 0 0\n")
	// 2 s of work in 2 s, less the little that this test did.
	if busy := m.since(before); busy < 0.8 || busy > 1.01 {
		t.Errorf("one core busy reads %.2f", busy)
	}
	others := spreadOf([]float64{0.01, 0.5})
	if err := (&benchFlags{}).refuseBusy(others); err == nil {
		t.Error("half a core of other work while timing was taken")
	}
	if err := (&benchFlags{force: true}).refuseBusy(others); err != nil {
		t.Errorf("--force: %v", err)
	}
}

func TestEighth(t *testing.T) {
	l := frame.Logits{C: 2, H: 4, W: 8, OutH: 16, OutW: 32} // at 1/4
	for i := range 64 {
		l.Data = append(l.Data, float32(i))
	}
	e := eighth(&l)
	want := []float32{4.5, 6.5, 8.5, 10.5, 20.5, 22.5, 24.5, 26.5, 36.5, 38.5, 40.5, 42.5, 52.5, 54.5, 56.5, 58.5}
	if e.H != 2 || e.W != 4 || e.OutW != 32 || !slices.Equal(e.Data, want) {
		t.Errorf("%d x %d: %v", e.W, e.H, e.Data)
	}
	if again := eighth(&e); again.W != 4 || !slices.Equal(again.Data, want) {
		t.Errorf("what lies at 1/8 was changed: %v", again.Data)
	}
}

func TestProcessTimes(t *testing.T) {
	files := fstest.MapFS{"proc/77/stat": file("77 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0")}
	name, d := processTime(files, "77")
	if name != "a (b) c" || d != 2*time.Second {
		t.Errorf("%q, %v", name, d)
	}
	if _, d := processTime(files, "78"); d != 0 {
		t.Errorf("a process that is not there: %v", d)
	}
	m := newLoadMeter(files)
	if got := m.busiest(map[string]time.Duration{"77": time.Second}); len(got) != 1 ||
		!strings.Contains(got[0], "process 77") {
		t.Errorf("busiest %v", got)
	}
}

func FuzzProcFiles(f *testing.F) {
	f.Add("cpu  1 2 3 4 5 6 7 8 9 10\n")
	f.Add("7 (x) S 1 2 3 4 5 6 7 8 9 10 1 1")
	f.Add("7 )( S")
	f.Fuzz(func(t *testing.T, text string) {
		files := fstest.MapFS{"proc/stat": file(text), "proc/7/stat": file(text)}
		busyTime(files)
		processTime(files, "7")
	})
}

func TestSpread(t *testing.T) {
	if s := spreadOf([]float64{3, 1, 2, 10}); s != (spread{1, 2.5, 10}) {
		t.Errorf("spread %+v", s)
	}
	if s := spreadOf(nil); s != (spread{}) {
		t.Errorf("spread of nothing %+v", s)
	}
}

func TestLimits(t *testing.T) {
	r := &benchResult{
		Outside: spread{Median: 1.9}, Share: spread{Median: 0.25}, WallFactor: spread{Median: 1.05},
		DecideP99: spread{Median: 0.6}, Eighth: spread{Median: 0.4},
		Starts: &startTimes{Cold: []float64{3100}, Warm: []float64{900}},
	}
	var got []bool
	for _, l := range r.limits() {
		got = append(got, l.Holds)
	}
	if fmt.Sprint(got) != "[true false true true false true]" {
		t.Errorf("limits hold: %v", got)
	}
	var out strings.Builder
	a := &app{out: &out, err: &out}
	if err := a.benchReport(&benchFlags{check: true}, r); err == nil ||
		!strings.Contains(out.String(), "FAILS its share") {
		t.Errorf("--check: %v\n%s", err, out.String())
	}
}

func TestBrokerProcessEndsWithItsInput(t *testing.T) {
	t.Setenv(asProgram, "1")
	c, err := startBrokerProcess(t.Context(), selfInTest())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	if _, err := startBrokerProcess(t.Context(), []string{os.DevNull}); err == nil {
		t.Error("a program that cannot be started became a broker")
	}
}
