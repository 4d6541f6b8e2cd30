package quantize

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/calibrate/observe"
	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/model/onnx"
)

const tiny = "../../model/testdata/tiny"

// recording is a recording of n frames; change makes it another one.
type recording struct {
	n, at  int
	change byte
	closed *int
}

func (d *recording) Next(ctx context.Context, dst *frame.Frame) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.at == d.n {
		return io.EOF
	}
	dst.Reset(48, 32)
	for i := range dst.Pix {
		dst.Pix[i] = byte((i*d.at+i/7)%(20+5*d.at)) ^ d.change // brighter from frame to frame
	}
	d.at++
	return nil
}

func (d *recording) Len() int     { return d.n }
func (d *recording) Close() error { *d.closed++; return nil }

// network stands for an engine: each output is made of the input, a value for each
// of its own names.
type network struct {
	f32      []float32
	u8       []uint8
	outputs  []string
	channels map[string]int // of an output
	runs     *[]string      // names of the first output, run by run
	closed   *int
}

// channelsOf tells how many channels convolutions read of the tensors of a network.
func channelsOf(m *onnx.Model) map[string]int {
	channels := map[string]int{}
	for _, v := range m.Graph.Outputs {
		channels[v.Name] = 1
	}
	for _, n := range m.Graph.Nodes {
		for _, w := range m.Graph.Initializers {
			if n.Op == "Conv" && w.Name == n.Input(1) {
				channels[n.Input(0)] = int(w.Dims[1] * n.Int("group", 1))
			}
		}
	}
	return channels
}

func (n *network) Floats() []float32 { return n.f32 }
func (n *network) Bytes() []uint8    { return n.u8 }
func (n *network) Library() string   { return "fake 1" }
func (n *network) Close() error      { *n.closed++; return nil }

func (n *network) Run(see func(string, []int64, []float32) error) error {
	x := slices.Clone(n.f32)
	for _, v := range n.u8 {
		x = append(x, float32(v)/100)
	}
	*n.runs = append(*n.runs, n.outputs[0])
	for i, name := range n.outputs {
		y := make([]float32, len(x))
		for k, v := range x {
			y[k] = v*float32(i+1) - float32(i)
		}
		c := n.channels[name]
		if err := see(name, []int64{1, int64(c), 16, int64(len(y) / 16 / c)}, y); err != nil {
			return err
		}
	}
	return nil
}

// bench is what a test runs a job with, and what happened.
type bench struct {
	Options
	runs           []string
	opened, closed int
	steps          map[string]int
}

func newBench(t *testing.T, n int) *bench {
	t.Helper()
	b, err := model.Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	h := &bench{steps: map[string]int{}}
	h.Options = Options{
		Bundle: b, Out: filepath.Join(t.TempDir(), "out"), Drive: "drive", Frames: 10, Scan: 1000, Chooser: &spread{},
		Observer: observe.Settings{Method: observe.MinMax}, Machine: "this one", Threads: 1,
		Open: func(context.Context) (Source, error) {
			h.opened++
			return &recording{n: n, closed: &h.closed}, nil
		},
		Load: func(m *onnx.Model, shape []int64) (Network, error) {
			h.opened++
			net := &network{channels: channelsOf(m), runs: &h.runs, closed: &h.closed}
			size := 1
			for _, d := range shape {
				size *= int(d)
			}
			if m.Graph.RealInputs()[0].Elem() == onnx.Uint8 {
				net.u8 = make([]uint8, size)
			} else {
				net.f32 = make([]float32, size)
			}
			for _, v := range m.Graph.Outputs {
				net.outputs = append(net.outputs, v.Name)
			}
			return net, nil
		},
		Progress: func(what string, _ int) (step, done func()) {
			return func() { h.steps[what]++ }, func() {}
		},
	}
	return h
}

func (h *bench) run(t *testing.T) *Result {
	t.Helper()
	r, err := Run(t.Context(), h.Options)
	if err != nil {
		t.Fatal(err)
	}
	if h.opened != h.closed {
		t.Errorf("%d opened, %d closed", h.opened, h.closed)
	}
	return r
}

func TestRun(t *testing.T) {
	h := newBench(t, 40)
	r := h.run(t)
	if h.steps["look"] != 40 || h.steps["ranges"] != 10 || r.Looked != 40 || len(r.Chosen) != 10 || r.Resumed {
		t.Errorf("steps %v, %+v", h.steps, r)
	}
	// Each frame is relit before it is segmented; each fourth is also segmented as it is.
	want := strings.Repeat("relit logits logits relit logits relit logits relit logits ", 3)
	if got := strings.Join(h.runs, " ") + " "; !strings.HasPrefix(want, got) || len(h.runs) != 23 {
		t.Errorf("ran %s", got)
	}
	var rec Record
	if err := json.Unmarshal(r.Record, &rec); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(rec.Frames, []int{2, 6, 10, 14, 18, 22, 26, 30, 34, 38}) || rec.Drive.Frames != 40 ||
		len(rec.Drive.SHA256) != 64 || rec.From != h.Bundle.SHA256 || rec.Observer["segment"] != "minmax" ||
		rec.Engine != (engineRecord{"fake 1", "cpu", 1, "this one"}) || !slices.Equal(rec.Float["relight"], []string{"g3"}) {
		t.Errorf("record %+v", rec)
	}
	for name, data := range r.Networks {
		m, err := onnx.Parse(data)
		if err != nil || !slices.ContainsFunc(m.Graph.Nodes, func(n *onnx.Node) bool { return n.Op == "QuantizeLinear" }) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(r.Networks) != 2 {
		t.Errorf("%d networks", len(r.Networks))
	}
	if err := Done(h.Out); err != nil || fileExists(StateFile(h.Out)) {
		t.Errorf("the state is left: %v", err)
	}
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// Broken off after any number of frames, a run goes on and comes to the same bytes. It
// looks at all frames again for what convolutions read.
func TestResume(t *testing.T) {
	whole := newBench(t, 23).run(t)
	for _, stop := range []int{0, 1, 7, 8, 9} {
		h := newBench(t, 23)
		ctx, cancel := context.WithCancel(t.Context())
		progress := h.Progress
		ran := 0
		h.Progress = func(what string, total int) (func(), func()) {
			step, done := progress(what, total)
			if what != "ranges" {
				return step, done
			}
			if stop == 0 {
				cancel()
			}
			return func() {
				step()
				if ran++; ran == stop {
					cancel()
				}
			}, done
		}
		if _, err := Run(ctx, h.Options); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped after %d: %v", stop, err)
		}
		cancel()
		h.Progress, h.runs = progress, nil
		r := h.run(t)
		if !r.Resumed || h.steps["look"] != 23 || h.steps["ranges"] != stop+10 || !bytes.Equal(r.Record, whole.Record) {
			t.Errorf("stopped after %d: steps %v, %s", stop, h.steps, r.Record)
		}
		for name, data := range whole.Networks {
			if !bytes.Equal(r.Networks[name], data) {
				t.Errorf("stopped after %d: another %s network", stop, name)
			}
		}
	}
}

// A run that fails in the middle of a frame keeps nothing of that frame.
func TestTornFrame(t *testing.T) {
	whole := newBench(t, 23).run(t)
	h := newBench(t, 23)
	load := h.Load
	h.Load = func(m *onnx.Model, shape []int64) (Network, error) {
		n, err := load(m, shape)
		if m.Graph.Outputs[0].Name == "logits" {
			return failing{n, 12}.network(), err
		}
		return n, err
	}
	want := "segmentation network: the engine broke"
	if _, err := Run(t.Context(), h.Options); err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("%v", err)
	}
	h.Load = load
	if r := h.run(t); !r.Resumed || !bytes.Equal(r.Networks["relight"], whole.Networks["relight"]) {
		t.Error("another relight network")
	}
}

// failing is a network that breaks after some runs.
type failing struct {
	Network
	left int
}

func (f failing) network() *failing { return &f }

func (f *failing) Run(see func(string, []int64, []float32) error) error {
	if f.left--; f.left < 0 {
		return errors.New("the engine broke")
	}
	return f.Network.Run(see)
}

func TestSettingsMatter(t *testing.T) {
	plain := newBench(t, 40).run(t)
	for name, change := range map[string]func(*Options){
		"percentile": func(o *Options) { o.Observer = observe.Settings{Method: observe.Percentile, Percentile: 90} },
		"frames":     func(o *Options) { o.Frames = 1 },
		"scan":       func(o *Options) { o.Scan = 5 },
		"float":      func(o *Options) { o.Keep = []string{"c1"} },
	} {
		h := newBench(t, 40)
		change(&h.Options)
		if r := h.run(t); bytes.Equal(r.Networks["segment"], plain.Networks["segment"]) {
			t.Errorf("%s: the same network", name)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *bench)
		want   string
	}{
		"an observer":      {func(h *bench) { h.Observer.Method = "best" }, `"best" is not one of`},
		"a name":           {func(h *bench) { h.Keep = []string{"c1", "nowhere"} }, `"nowhere"`},
		"everything float": {func(h *bench) { h.Keep = []string{"c"} }, "no layer"},
		"a fused graph":    {func(h *bench) { h.Bundle.Graphs.Fused = h.Bundle.Graphs.Segment }, "fused"},
		"no float network": {func(h *bench) {
			h.Bundle.Graphs.Segment.Files = map[string]model.File{model.INT8: h.Bundle.Graphs.Segment.Files[model.INT8]}
		}, "no fp32 file"},
		"no frames": {func(h *bench) {
			h.Open = func(context.Context) (Source, error) { h.opened++; return &recording{closed: &h.closed}, nil }
		}, "no frames"},
		"no source": {func(h *bench) {
			h.Open = func(context.Context) (Source, error) { return nil, errors.New("no such drive") }
		}, "no such drive"},
		"another drive the second time": {func(h *bench) {
			h.Open = func(context.Context) (Source, error) {
				h.opened++
				return &recording{n: 40, closed: &h.closed, change: byte(h.opened / 2)}, nil
			}
		}, "does not change"},
		"a shorter drive the second time": {func(h *bench) {
			h.Open = func(context.Context) (Source, error) {
				h.opened++
				return &recording{n: 40 - 10*(h.opened/2), closed: &h.closed}, nil
			}
		}, "where it had 40"},
		"a damaged state": {func(h *bench) { put(t, h, "{}x") }, "remove it"},
		"a state of another run": {func(h *bench) {
			doc, err := json.Marshal(state{Settings: "other"})
			if err != nil {
				t.Fatal(err)
			}
			put(t, h, string(doc))
		}, "with the same ones it goes on"},
	} {
		h := newBench(t, 40)
		c.change(h)
		if _, err := Run(t.Context(), h.Options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if h.opened != h.closed {
			t.Errorf("%s: %d opened, %d closed", name, h.opened, h.closed)
		}
	}
}

func put(t *testing.T, h *bench, text string) {
	t.Helper()
	if err := os.WriteFile(StateFile(h.Out), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A state with right settings and wrong content is refused.
func TestDamagedState(t *testing.T) {
	h := newBench(t, 40)
	h.run(t)
	good, err := os.ReadFile(StateFile(h.Out))
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(*state){
		"done":      func(s *state) { s.Done = 11 },
		"no frames": func(s *state) { s.Chosen = nil },
		"order":     func(s *state) { s.Chosen[1].Index = 0 },
		"a tensor":  func(s *state) { delete(s.Seen["segment"], "c2") },
		"a count":   func(s *state) { s.Seen["segment"]["c2"].Count++ },
		"no means":  func(s *state) { delete(s.Means["segment"], "x") },
		"a mean":    func(s *state) { s.Means["segment"]["x"].Sums = []float64{1} },
	} {
		var s state
		if err := json.Unmarshal(good, &s); err != nil {
			t.Fatal(err)
		}
		damage(&s)
		doc, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		put(t, h, string(doc))
		if _, err := Run(t.Context(), h.Options); err == nil || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// spread chooses the middle of each of n equal parts of the drive.
type spread struct{ seen int }

func (s *spread) Look(*frame.Frame) { s.seen++ }

func (s *spread) Choose(n int) []int {
	n = min(n, s.seen)
	list := make([]int, n)
	for i := range list {
		list[i] = (2*i + 1) * s.seen / (2 * n)
	}
	return list
}

func (s *spread) String() string { return "evenly" }
