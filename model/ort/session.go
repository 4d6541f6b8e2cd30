//go:build cgo

package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	onnx "github.com/yalue/onnxruntime_go"

	"nightseg/model"
	onnxfile "nightseg/model/onnx"
)

// session is one loaded graph with its tensors bound.
type session struct {
	name  string
	s     *onnx.AdvancedSession
	share map[string]int // nodes of the graph's file by provider
}

func (s *session) run() error {
	if err := s.s.Run(); err != nil {
		return fmt.Errorf("onnxruntime: %s network: %w", s.name, err)
	}
	return nil
}

func (s *session) close() {
	if s != nil && s.s != nil {
		keepSignalStack(func() { _ = s.s.Destroy() }) // always nil in this binding
		s.s = nil
	}
}

// plan is a way to run graphs: the providers in order of preference, and whether
// the first must take every node.
type plan struct {
	providers []string
	strict    bool
}

func (p plan) first() string { return p.providers[0] }

// plans lists what to try for a provider that was asked for, or for automatic
// choice: each provider for the whole graph, and, where it cannot take every
// node, together with those after it.
func (l *Library) plans(asked string) ([]plan, error) {
	has := l.Providers()
	if asked == "" || asked == model.Auto {
		var ps []plan
		for i, p := range has {
			ps = append(ps, plan{[]string{p}, true})
			if p != model.CPU {
				ps = append(ps, plan{has[i:], false})
			}
		}
		return ps, nil
	}
	for _, p := range providerOrder {
		if p != asked {
			continue
		}
		if !l.has(p) {
			return nil, &model.FileError{
				File: l.File, Problem: "has no provider " + asked + ", only " + strings.Join(has, ", "),
				Remedy: "take one of these, or install a library with it: see docs/jetson.md",
			}
		}
		return []plan{{[]string{p}, true}}, nil
	}
	return nil, fmt.Errorf("there is no provider %q; known are %s", asked, strings.Join(providerOrder, ", "))
}

// source is a graph of the bundle with the file of the chosen precision.
type source struct {
	name    string
	graph   *model.Graph
	file    model.File
	path    string
	in, out *buffer
	output  string // name of the output
	pixels  bool   // takes or gives pixels where the file has planes
	changed []byte // the network for another size than the file's, or with pixels; nil: the file is as it should be
}

func (e *Engine) source(name string, g *model.Graph, in, out *buffer) (*source, error) {
	f, used, ok := g.FileFor(e.info.Precision)
	if !ok {
		return nil, fmt.Errorf("graphs.%s has no %s file", name, e.info.Precision)
	}
	if note := fmt.Sprintf("the %s graph runs in %s", name, used); used != e.info.Precision {
		e.note(note)
	}
	return &source{name: name, graph: g, file: f, path: e.b.FilePath(f), in: in, out: out, output: g.Output.Name}, nil
}

// open loads a graph as the plan says and finds out which provider runs its nodes.
func (e *Engine) open(src *source, p plan) (*session, error) {
	data, err := os.ReadFile(src.path)
	if err != nil {
		return nil, &model.FileError{File: src.path, Problem: "cannot be read", Err: err}
	}
	file, err := onnxfile.Parse(data)
	if err != nil {
		return nil, &model.FileError{File: src.path, Problem: "is not an ONNX network", Err: err}
	}
	if err := e.adapt(src, file, p); err != nil {
		return nil, err
	}
	nodes := file.Graph.Work()
	s := &session{name: src.name, share: map[string]int{p.first(): nodes}}
	if !p.strict {
		if s.share, err = e.profile(src, p, nodes); err != nil {
			return nil, err
		}
		if s.share[p.first()] == 0 {
			return nil, fmt.Errorf("provider %s takes no node of %s", p.first(), src.path)
		}
	}
	if s.s, err = e.create(src, p, ""); err == nil {
		return s, nil
	}
	if p.strict && p.first() != model.CPU {
		if ops := e.operatorsOnCPU(src, p); ops != "" {
			err = errors.New("it does not take the operators " + ops)
		}
	}
	return nil, &model.FileError{
		File: src.path, Problem: "cannot be loaded on provider " + p.first(), Err: err,
		Remedy: "choose another provider, or automatic choice",
	}
}

// adapt makes a network fit the engine's size where its file has another one, and
// lets pixels take the place of planes where that changes no value.
func (e *Engine) adapt(src *source, file *onnxfile.Model, p plan) error {
	resized, err := e.resize(src, file)
	if err != nil {
		return &model.FileError{
			File: src.path, Err: err, Problem: fmt.Sprintf("cannot take pictures of %dx%d", e.w, e.h),
			Remedy: "choose another shape of the bundle",
		}
	}
	if err := e.usePixels(src, file.Graph, p); err != nil {
		return &model.FileError{File: src.path, Err: err, Problem: "cannot be made to take or give pixels"}
	}
	if resized || src.pixels {
		src.changed, err = file.Marshal()
	}
	return err
}

func (e *Engine) resize(src *source, file *onnxfile.Model) (resized bool, err error) {
	axes := src.graph.Input.Axes()
	in := onnxfile.Find(file.Graph.RealInputs(), src.graph.Input.Name)
	if in == nil {
		return false, nil // the library says what is wrong with it
	}
	if s := in.Shape(); len(s) == 4 && s[axes[0]] == int64(e.h) && s[axes[1]] == int64(e.w) {
		return false, nil
	}
	return true, file.Graph.SetSize(src.graph.Input.Name, axes, e.h, e.w)
}

// create makes a session; a profile prefix makes it write what each node did.
func (e *Engine) create(src *source, p plan, profile string) (s *onnx.AdvancedSession, err error) {
	keepSignalStack(func() { s, err = e.createHere(src, p, profile) })
	return s, err
}

func (e *Engine) createHere(src *source, p plan, profile string) (*onnx.AdvancedSession, error) {
	opts, err := onnx.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer opts.Destroy() //nolint:errcheck // only releases
	if err := e.configure(opts, src, p); err != nil {
		return nil, err
	}
	if profile != "" {
		if err := opts.EnableProfiling(profile); err != nil {
			return nil, err
		}
	}
	unlock := e.lockCache(src, p)
	defer unlock()
	ins, outs := []string{src.graph.Input.Name}, []string{src.output}
	in, out := []onnx.Value{src.in.value}, []onnx.Value{src.out.value}
	if src.changed != nil {
		return onnx.NewAdvancedSessionWithONNXData(src.changed, ins, outs, in, out, opts)
	}
	return onnx.NewAdvancedSession(src.path, ins, outs, in, out, opts)
}

// operatorsOnCPU lists the operators that a provider leaves to the processor, for
// an error text; "" where that cannot be found out.
func (e *Engine) operatorsOnCPU(src *source, p plan) string {
	events, err := e.profileEvents(src, plan{p.providers, false})
	if err != nil {
		return ""
	}
	seen := map[string]bool{}
	var ops []string
	for _, ev := range events {
		if ev.provider() == model.CPU && !seen[ev.Args.Op] {
			seen[ev.Args.Op] = true
			ops = append(ops, ev.Args.Op)
		}
	}
	return strings.Join(ops, ", ")
}

// cachePath is the folder for the compiled form of a graph on a provider. Its
// name holds all that the compiled form depends on.
func (e *Engine) cachePath(src *source, provider string) string {
	form := ""
	if src.pixels {
		form = "-pixels"
	}
	return filepath.Join(e.cacheDir, "engines",
		fmt.Sprintf("%s-%s-%.16s-%dx%d-%dthreads%s", provider, Version(), src.file.SHA256, e.w, e.h, e.info.Threads, form))
}
