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
	"slices"

	"nightseg/calibrate/observe"
	"nightseg/calibrate/qdq"
	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/model/onnx"
)

// plainEvery: so many frames apart, one also goes to the segmentation network as it
// is, which then runs alone: the vehicle does not relight a bright picture. Of a
// bundle that is best without its relight network, such a frame is also relit.
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
	Run(see func(output string, shape []int64, values []float32) error) error
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
	Weights  int      // bits of a weight: 8 or 7
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
	Kept     map[string][]string // nodes that stay float, by graph
	Looked   int                 // frames of the drive
	Chosen   []int               // frames of which ranges were made
	Resumed  bool                // part of the work was done before
	Parts    []Part              // what the networks were made of, in the order in which a frame meets them

	job *job
}

// Part is one network: what of it becomes integer, and the ranges of its tensors.
type Part struct {
	Graph  string
	Plan   *qdq.Plan // nil: all of it is float
	Ranges map[string]observe.Range
	Means  map[string][]float64 // by channel, of what convolutions read
	float  []string             // where Plan is nil: its units
}

// job is a run.
type job struct {
	Options
	plans map[string]*qdq.Plan     // by graph; nil for one of which nothing becomes integer
	fixed map[string]observe.Range // of tensors of the segmentation network that need none from the drive
	state *state
	// spreads are what convolutions read, by graph and node. They are too large to be
	// kept: a run that goes on looks at all of its frames again for them.
	spreads map[string]map[string]*observe.Spread
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
	j.fit()
	r := &Result{Looked: j.state.Drive.Frames, Resumed: resumed, job: j}
	for _, c := range j.state.Chosen {
		r.Chosen = append(r.Chosen, c.Index)
	}
	return r.remake(nil)
}

// remake makes the parts and the networks of what the job has seen.
func (r *Result) remake(search any) (*Result, error) {
	var err error
	if r.Parts, err = r.job.parts(); err == nil {
		err = r.write(search)
	}
	if err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	return r, nil
}

// Without returns the result with further units float, by graph, and how they
// were found for the record. No frame is run again.
func (r *Result) Without(units map[string][]string, search any) (*Result, error) {
	n := *r
	n.Parts = slices.Clone(r.Parts)
	for i, p := range n.Parts {
		if len(units[p.Graph]) == 0 {
			continue
		}
		part, err := p.Plan.Without(units[p.Graph])
		if p.Graph == "relight" && errors.Is(err, qdq.ErrNoLayers) {
			n.Parts[i].Plan, n.Parts[i].float = nil, slices.Concat(p.Plan.Kept(), p.Plan.Units())
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("quantize: %s network: %w", p.Graph, err)
		}
		n.Parts[i].Plan = part
	}
	if err := n.write(search); err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	return &n, nil
}

// Observed returns the result with ranges that are made in another way, and how it
// came to that for the record. No frame is run again.
func (r *Result) Observed(o observe.Settings, search any) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	n, j := *r, *r.job
	n.job, j.Observer = &j, o
	return n.remake(search)
}

// Note keeps what was found out after the ranges, to go on from there later.
func (r *Result) Note(v any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r.job.state.Note = doc
	return r.job.save()
}

// Noted reads what Note kept; false: nothing that fits.
func (r *Result) Noted(v any) bool {
	return len(r.job.state.Note) > 0 && json.Unmarshal(r.job.state.Note, v) == nil
}

// StateFile is where the work for a bundle at out is kept.
func StateFile(out string) string { return out + ".calibration.json" }

// Done removes what was kept of the work, once its result is in a bundle.
func Done(out string) error { return os.Remove(StateFile(out)) }

// The graphs that become integer, in the order in which a frame meets them.
var graphs = []string{"relight", "segment"}

func graphOf(b *model.Bundle, name string) *model.Graph {
	if name == "relight" {
		return b.Graphs.Relight
	}
	return b.Graphs.Segment
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
	j.plans, j.fixed = map[string]*qdq.Plan{}, map[string]observe.Range{}
	named := make([]bool, len(j.Keep))
	for _, name := range graphs {
		if graphOf(j.Bundle, name) == nil {
			continue
		}
		m, err := Float(j.Bundle, name)
		if err != nil {
			return err
		}
		for i, word := range j.Keep {
			named[i] = named[i] || qdq.Names(m, word)
		}
		// A picture that is not relit has 256 values a channel, which bytes hold.
		if name == "segment" && j.Bundle.RelightMode() != frame.RelightNetwork.String() {
			n := j.Bundle.Normalise
			if pixels, tensor, r, ok := qdq.OnPixels(m, n.Mean, n.Std); ok {
				m, j.fixed[tensor] = pixels, r
			}
		}
		j.plans[name], err = qdq.New(m, qdq.Options{Keep: j.Keep, WeightBits: j.Weights})
		if name == "relight" && errors.Is(err, qdq.ErrNoLayers) {
			j.plans[name], err = nil, nil
		}
		if err != nil {
			return fmt.Errorf("the %s network of %s cannot become integer: %w", name, j.Bundle.Path, err)
		}
	}
	for i, ok := range named {
		if !ok {
			return &UnknownNameError{Name: j.Keep[i]}
		}
	}
	return nil
}

// fit rounds the weights by what was seen.
func (j *job) fit() {
	layers := 0
	for _, seen := range j.spreads {
		layers += len(seen)
	}
	step, done := j.Progress("weights", layers)
	defer done()
	for _, name := range graphs {
		if p := j.plans[name]; p != nil {
			p.Fit(j.spreads[name], step)
		}
	}
	j.spreads = nil // hundreds of megabytes
}

// UnknownNameError is a name to keep float that is in no node's name.
type UnknownNameError struct{ Name string }

// Error names it.
func (e *UnknownNameError) Error() string {
	return fmt.Sprintf("no node of the networks has %q in its name", e.Name)
}

// Float reads the float network of a graph that the bundle has.
func Float(b *model.Bundle, graph string) (*onnx.Model, error) {
	f, ok := graphOf(b, graph).Files[model.FP32]
	if !ok {
		return nil, fmt.Errorf("bundle %s: graphs.%s has no fp32 file to start from", b.Name, graph)
	}
	path := b.FilePath(f)
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

// parts makes the ranges of what was seen.
func (j *job) parts() ([]Part, error) {
	var parts []Part
	for _, name := range graphs {
		p := j.plans[name]
		if p == nil {
			continue
		}
		ranges, means := map[string]observe.Range{}, map[string][]float64{}
		for _, tensor := range p.Tensors() {
			if r, ok := j.fixed[tensor]; ok && name == "segment" {
				ranges[tensor] = r
				continue
			}
			var err error
			if ranges[tensor], err = j.state.Seen[name][tensor].Range(j.settingsOf(name)); err != nil {
				return nil, fmt.Errorf("%s network, tensor %q: %w", name, tensor, err)
			}
		}
		for _, in := range p.Inputs() {
			means[in.Tensor] = j.state.Means[name][in.Tensor].Values()
		}
		parts = append(parts, Part{Graph: name, Plan: p, Ranges: ranges, Means: means})
	}
	return parts, nil
}

// write makes the networks of the parts.
func (r *Result) write(search any) error {
	r.Networks, r.Kept = map[string][]byte{}, map[string][]string{}
	for _, p := range r.Parts {
		if p.Plan == nil {
			r.Kept[p.Graph] = p.float
			continue
		}
		m, err := p.Plan.Write(p.Ranges, p.Means)
		if err == nil {
			r.Networks[p.Graph], err = m.Marshal()
		}
		if err != nil {
			return fmt.Errorf("%s network: %w", p.Graph, err)
		}
		r.Kept[p.Graph] = p.Plan.Kept()
	}
	rec := r.job.record(r)
	rec.Search = search
	var err error
	r.Record, err = json.Marshal(rec)
	return err
}
