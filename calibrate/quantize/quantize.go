// Package quantize makes the integer networks of a bundle out of a drive: it looks
// over the frames, chooses some, runs the float networks on these with the tensors
// inside as outputs, makes ranges of what it saw, and writes the networks.
//
// Frames take the way that they take in the vehicle: the relight network first,
// the segmentation network on what that gives. The work is kept beside the result
// as it goes, so that it can be broken off and taken up again; the same drive and
// settings give the same bytes.
package quantize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"nightseg/calibrate/observe"
	"nightseg/calibrate/qdq"
	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/model/onnx"
)

// plainEvery: so many frames apart, one also goes to the segmentation network as it
// is, which then runs alone: the vehicle does not relight a bright picture.
const plainEvery = 4

// Source gives the frames of the drive from its start, in the bundle's size.
type Source interface {
	Next(ctx context.Context, dst *frame.Frame) error
	Len() int // -1: not known
	Close() error
}

// Chooser looks at all frames of the drive in their order, and then chooses some.
type Chooser interface {
	Look(f *frame.Frame)
	// Choose returns the indices of at most n frames, in ascending order.
	Choose(n int) []int
	// String says in a few words how it chooses, for the record.
	String() string
}

// Network runs one network; the input is filled through Floats or Bytes.
type Network interface {
	Floats() []float32
	Bytes() []uint8
	Run(see func(output string, values []float32) error) error
	Library() string // name and version of what runs it
	Close() error
}

// Options say what to make of which drive.
type Options struct {
	Bundle   *model.Bundle
	Out      string // where the bundle will be: the state lies beside it
	Drive    string // name of the drive, for the record
	Observer observe.Settings
	Frames   int      // how many frames are run
	Scan     int      // how many frames of the drive are looked at, at most
	Keep     []string // parts of names of nodes that stay float
	Chooser  Chooser
	Open     func(ctx context.Context) (Source, error)
	Load     func(m *onnx.Model, shape []int64) (Network, error)
	Progress func(what string, total int) (step, done func())
	Threads  int    // of the networks; 0: one per core
	Machine  string // for the record
}

// Result is what was made.
type Result struct {
	Networks map[string][]byte   // by graph
	Record   json.RawMessage     // for the bundle
	Kept     map[string][]string // nodes with weights that stay float, by graph
	Looked   int                 // frames of the drive
	Ran      int                 // frames of which ranges were made
	Resumed  bool                // part of the work was done before
}

// job is a run.
type job struct {
	Options
	plans map[string]*qdq.Plan // by graph; nil for one of which nothing becomes integer
	state *state
}

// Run makes the integer networks. Where ctx ends it, or it fails, the work so far
// is kept; Done removes it.
func Run(ctx context.Context, o Options) (*Result, error) {
	j := &job{Options: o}
	if err := j.plan(); err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	resumed, err := j.resume()
	if err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	if !resumed {
		if err := j.scan(ctx); err != nil {
			return nil, fmt.Errorf("quantize: %w", err)
		}
	}
	if err := j.gather(ctx); err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	r, err := j.write()
	if err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	r.Looked, r.Ran, r.Resumed = j.state.Drive.Frames, j.state.Done, resumed
	return r, nil
}

// StateFile is where the work for a bundle at out is kept.
func StateFile(out string) string { return out + ".calibration.json" }

// Done removes what was kept of the work, once its result is in a bundle.
func Done(out string) error { return os.Remove(StateFile(out)) }

// The graphs that become integer, in the order in which a frame meets them.
var graphs = []string{"relight", "segment"}

func (j *job) graph(name string) *model.Graph {
	if name == "relight" {
		return j.Bundle.Graphs.Relight
	}
	return j.Bundle.Graphs.Segment
}

// plan looks into the float networks.
func (j *job) plan() error {
	if err := j.Observer.Validate(); err != nil {
		return err
	}
	if j.Bundle.Graphs.Fused != nil {
		return errors.New("bundle " + j.Bundle.Name + " has a fused graph, which would stay float and be run instead " +
			"of the integer ones; make a bundle without it")
	}
	j.plans = map[string]*qdq.Plan{}
	named := make([]bool, len(j.Keep))
	for _, name := range graphs {
		g := j.graph(name)
		if g == nil {
			continue
		}
		f, ok := g.Files[model.FP32]
		if !ok {
			return fmt.Errorf("bundle %s: graphs.%s has no fp32 file to start from", j.Bundle.Name, name)
		}
		m, err := parse(j.Bundle.FilePath(f))
		if err != nil {
			return err
		}
		for i, word := range j.Keep {
			named[i] = named[i] || qdq.Names(m, word)
		}
		j.plans[name], err = qdq.New(m, j.Keep)
		if name == "relight" && errors.Is(err, qdq.ErrNoLayers) {
			j.plans[name], err = nil, nil
		}
		if err != nil {
			return &model.FileError{File: j.Bundle.FilePath(f), Problem: "cannot become integer", Err: err}
		}
	}
	for i, ok := range named {
		if !ok {
			return &UnknownNameError{Name: j.Keep[i]}
		}
	}
	return nil
}

// UnknownNameError is a name to keep float that is in no node's name.
type UnknownNameError struct{ Name string }

// Error names it.
func (e *UnknownNameError) Error() string {
	return fmt.Sprintf("no node of the networks has %q in its name", e.Name)
}

func parse(path string) (*onnx.Model, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := onnx.Parse(data)
	if err != nil {
		return nil, &model.FileError{File: path, Problem: "is not an ONNX network", Err: err}
	}
	return m, nil
}

// settingsOf returns how ranges of a graph are made. Those of the relight network
// are always by extremes: what it cuts off would be missing in the picture.
func (j *job) settingsOf(graph string) observe.Settings {
	if graph == "relight" {
		return observe.Settings{Method: observe.MinMax}
	}
	return j.Observer
}

// write makes the networks of the ranges.
func (j *job) write() (*Result, error) {
	r := &Result{Networks: map[string][]byte{}, Kept: map[string][]string{}}
	for _, name := range graphs {
		p := j.plans[name]
		if p == nil {
			continue
		}
		ranges := map[string]observe.Range{}
		for _, tensor := range p.Tensors() {
			var err error
			if ranges[tensor], err = j.state.Seen[name][tensor].Range(j.settingsOf(name)); err != nil {
				return nil, fmt.Errorf("%s network, tensor %q: %w", name, tensor, err)
			}
		}
		m, err := p.Write(ranges)
		if err != nil {
			return nil, fmt.Errorf("%s network: %w", name, err)
		}
		if r.Networks[name], err = m.Marshal(); err != nil {
			return nil, fmt.Errorf("%s network: %w", name, err)
		}
		r.Kept[name] = p.Kept()
	}
	var err error
	r.Record, err = json.Marshal(j.record(r))
	return r, err
}

// record is what the bundle says of its calibration.
type record struct {
	Tool     string              `json:"tool"`
	From     string              `json:"from"` // identity of the bundle with the float networks
	Drive    driveRecord         `json:"drive"`
	Choice   string              `json:"choice"`
	Frames   []int               `json:"frames"` // of the drive, from 0
	Plain    int                 `json:"plain_every"`
	Observer map[string]string   `json:"observer"` // by graph
	Float    map[string][]string `json:"float"`    // nodes with weights that stay float, by graph
	Engine   engineRecord        `json:"engine"`
}

type driveRecord struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // of the frames' pixels, in the bundle's size
	Frames int    `json:"frames"` // that were looked at
}

type engineRecord struct {
	Library  string `json:"library"`
	Provider string `json:"provider"`
	Threads  int    `json:"threads"`
	Machine  string `json:"machine"`
}

func (j *job) record(r *Result) record {
	rec := record{
		Tool: "nightseg calibrate quantize", From: j.Bundle.SHA256, Drive: j.state.Drive, Choice: j.Chooser.String(),
		Plain: plainEvery, Observer: map[string]string{}, Float: r.Kept,
		Engine: engineRecord{j.state.Library, model.CPU, j.Threads, j.Machine},
	}
	if rec.Engine.Threads <= 0 {
		rec.Engine.Threads = runtime.NumCPU()
	}
	for _, c := range j.state.Chosen {
		rec.Frames = append(rec.Frames, c.Index)
	}
	for _, name := range graphs {
		if j.plans[name] == nil {
			continue
		}
		s := j.settingsOf(name)
		rec.Observer[name] = string(s.Method)
		if s.Method == observe.Percentile {
			rec.Observer[name] = fmt.Sprintf("%s %g", s.Method, s.Percentile)
		}
	}
	return rec
}
