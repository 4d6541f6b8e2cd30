package main

import (
	"errors"
	"runtime"

	"nightseg/edge/frame"
	"nightseg/model"
)

// pool is several engines of one bundle, each with its share of the threads: as
// many frames are in the networks at a time. That gives more frames a second
// than one engine with all threads, as these wait for each other after every
// layer, and each mask later.
type pool struct {
	all  []engine
	free chan engine
}

// openPool opens n engines, or one where n is 1 or another device than the
// processor does the work.
func openPool(kind string, b *model.Bundle, o model.Options, n int) (engine, error) {
	if n <= 1 {
		return openEngine(kind, b, o)
	}
	threads := o.Threads
	if threads <= 0 {
		threads = runtime.NumCPU()
	}
	p := &pool{free: make(chan engine, n)}
	for i := range n {
		o.Threads = max((threads+i)/n, 1)
		e, err := openEngine(kind, b, o)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.all = append(p.all, e)
		p.free <- e
		if by := e.Info().Provider; by == model.TensorRT || by == model.CUDA {
			break
		}
	}
	return p, nil
}

// Infer implements edge.Inferer.
func (p *pool) Infer(dst *frame.Logits, src *frame.Frame) error {
	e := <-p.free
	defer func() { p.free <- e }()
	return e.Infer(dst, src)
}

// Relit implements edge.Relit where there is but one engine.
func (p *pool) Relit(dst *frame.Frame) error {
	if len(p.all) > 1 {
		return errors.New("relit pictures can be shown of one frame at a time only")
	}
	return p.all[0].Relit(dst)
}

// Info describes the first engine, with the threads of all.
func (p *pool) Info() model.Info {
	i := p.all[0].Info()
	i.Parallel = len(p.all)
	for _, e := range p.all[1:] {
		i.Threads += e.Info().Threads
	}
	return i
}

// Close closes all engines.
func (p *pool) Close() error {
	var errs []error
	for _, e := range p.all {
		errs = append(errs, e.Close())
	}
	return errors.Join(errs...)
}
