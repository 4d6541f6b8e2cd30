//go:build cgo

package ort

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"nightseg/edge/frame"
	"nightseg/model"
)

// Engine runs the networks of one bundle at its default input shape (model.Bundle.At). Its methods
// may be called from several goroutines; they wait for each other.
type Engine struct {
	mu     sync.Mutex
	b      *model.Bundle
	h, w   int // of the input
	lh, lw int // of the logits
	table  *model.Normaliser
	info   model.Info
	plan   plan

	cacheDir string
	closed   bool

	image  *buffer // uint8 NHWC, nil where no graph takes it
	planes *buffer // float32 NCHW: normalised picture, or the relight network's output
	logits *buffer // float32 NCHW

	segment, relight, fused *session
	pixels                  *pixels // nil: segment takes planes

	last   frame.Meta // of the last Infer
	relit  bool       // last was relit by the network
	inside bool       // ... within the fused graph, so that planes does not hold it yet
}

// Open loads the networks of a bundle. The library, the providers and the
// precision are as o says; errors name what is missing and the remedy.
func Open(b *model.Bundle, o model.Options) (*Engine, error) {
	start := time.Now()
	precision, err := b.Precision(o.Precision)
	if err != nil {
		return nil, fmt.Errorf("onnxruntime: %w", err)
	}
	lib, err := FindLibrary(o.LibDir)
	if err != nil {
		return nil, fmt.Errorf("onnxruntime: %w", err)
	}
	plans, err := lib.plans(o.Provider)
	if err != nil {
		return nil, fmt.Errorf("onnxruntime: %w", err)
	}
	if err := lib.load(); err != nil {
		return nil, fmt.Errorf("onnxruntime: %w", err)
	}
	e := &Engine{b: b, cacheDir: o.CacheDir, h: b.Shapes[0][0], w: b.Shapes[0][1], table: model.NewNormaliser(b.Normalise)}
	if e.cacheDir == "" {
		e.cacheDir = model.DefaultCacheDir()
	}
	if o.Threads <= 0 {
		o.Threads = runtime.NumCPU()
	}
	e.lh, e.lw = b.LogitSize(e.h, e.w)
	e.info = model.Info{
		Engine: "onnxruntime", Precision: precision, Library: "onnxruntime " + Version(), Threads: o.Threads,
	}
	if err := e.allocate(); err != nil {
		return nil, errors.Join(fmt.Errorf("onnxruntime: %w", err), e.Close())
	}
	if err := e.connect(plans); err != nil {
		return nil, errors.Join(fmt.Errorf("onnxruntime: %w", err), e.Close())
	}
	e.info.LoadTime = time.Since(start)
	return e, nil
}

func (e *Engine) note(s string) {
	if !slices.Contains(e.info.Notes, s) {
		e.info.Notes = append(e.info.Notes, s)
	}
}

func (e *Engine) allocate() (err error) {
	h, w := int64(e.h), int64(e.w)
	needImage := false
	e.b.Graphs.Each(func(_ string, g *model.Graph) { needImage = needImage || g.Input.Type == "uint8" })
	if needImage {
		if e.image, err = newBuffer("uint8", []int64{1, h, w, 3}); err != nil {
			return err
		}
	}
	if e.planes, err = newBuffer("float32", []int64{1, 3, h, w}); err != nil {
		return err
	}
	e.logits, err = newBuffer("float32", []int64{1, int64(len(e.b.Classes)), int64(e.lh), int64(e.lw)})
	return err
}

// connect opens the sessions by the first plan that works.
func (e *Engine) connect(plans []plan) error {
	var passed []error
	for _, p := range plans {
		err := e.openGraphs(p)
		if err == nil {
			e.plan, e.info.Provider = p, p.first()
			e.info.NodeShare = nodeShare(e.segment, e.relight, e.fused)
			for _, err := range passed {
				e.note("passed over: " + err.Error())
			}
			return nil
		}
		e.closeSessions()
		passed = append(passed, err)
	}
	return errors.Join(passed...)
}

// nodeShare gives the share of the nodes of all graphs that each provider runs.
func nodeShare(sessions ...*session) map[string]float64 {
	count, total := map[string]int{}, 0
	for _, s := range sessions {
		if s == nil {
			continue
		}
		for p, n := range s.share {
			count[p] += n
			total += n
		}
	}
	share := map[string]float64{}
	for p, n := range count {
		share[p] = float64(n) / float64(total)
	}
	return share
}

func (e *Engine) openGraphs(p plan) error {
	g := &e.b.Graphs
	open := func(dst **session, name string, g *model.Graph, in, out *buffer) error {
		src, err := e.source(name, g, in, out)
		if err == nil {
			*dst, err = e.open(src, p)
		}
		return err
	}
	if err := open(&e.segment, "segment", g.Segment, e.input(g.Segment), e.logits); err != nil {
		return err
	}
	if g.Fused != nil {
		return open(&e.fused, "fused", g.Fused, e.input(g.Fused), e.logits)
	}
	if g.Relight != nil {
		return open(&e.relight, "relight", g.Relight, e.image, e.planes)
	}
	return nil
}

// openRelight loads the relight network of a bundle whose fused graph does its
// work otherwise.
func (e *Engine) openRelight() error {
	g := e.b.Graphs.Relight
	if g == nil {
		return fmt.Errorf("bundle %s: %w", e.b.Name, model.ErrNoRelight)
	}
	src, err := e.source("relight", g, e.image, e.planes)
	if err == nil {
		e.relight, err = e.open(src, e.plan)
	}
	return err
}

func (e *Engine) input(g *model.Graph) *buffer {
	if g.Input.Type == "uint8" {
		return e.image
	}
	return e.planes
}

// Infer runs the networks on src, which must have the bundle's input size, and
// writes class-major logits at the network's stride into dst. The relight network
// runs first when src.Relight is frame.RelightNetwork. The meta is copied. A NaN or
// an infinity among the logits gives model.ErrNotFinite.
func (e *Engine) Infer(dst *frame.Logits, src *frame.Frame) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errors.New("onnxruntime: the engine is closed")
	}
	if src.W != e.w || src.H != e.h || len(src.Pix) != 3*e.w*e.h {
		return fmt.Errorf("onnxruntime: a frame of %dx%d where bundle %s takes %dx%d",
			src.W, src.H, e.b.Name, e.w, e.h)
	}
	e.last, e.relit, e.inside = src.Meta, false, false
	if err := e.forward(src); err != nil {
		return err
	}
	if !finite(e.logits.f32) {
		return fmt.Errorf("onnxruntime: frame %d: %w", src.Seq, model.ErrNotFinite)
	}
	dst.Reset(len(e.b.Classes), e.lh, e.lw)
	dst.Meta, dst.OutH, dst.OutW = src.Meta, e.h, e.w
	copy(dst.Data, e.logits.f32)
	return nil
}

func (e *Engine) forward(src *frame.Frame) error {
	if src.Relight == frame.RelightNetwork {
		if e.fused != nil {
			e.fill(e.b.Graphs.Fused, src.Pix)
			err := e.fused.run()
			e.relit, e.inside = err == nil, true
			return err
		}
		if e.relight == nil {
			return fmt.Errorf("onnxruntime: bundle %s: %w", e.b.Name, model.ErrNoRelight)
		}
		e.fill(e.b.Graphs.Relight, src.Pix)
		if err := e.relight.run(); err != nil {
			return err
		}
		e.relit = true
		if e.pixels != nil {
			e.pixels.put(e.pixels.relit.u8)
		}
		return e.segment.run()
	}
	if e.pixels != nil {
		e.pixels.put(src.Pix)
	} else {
		e.fill(e.b.Graphs.Segment, src.Pix)
	}
	return e.segment.run()
}

// fill writes a picture into the input of a graph.
func (e *Engine) fill(g *model.Graph, pix []byte) {
	if g.Input.Type == "uint8" {
		copy(e.image.u8, pix)
		return
	}
	e.table.Planes(e.planes.f32, pix)
}

// Relit writes the relit picture of the last Infer as RGB bytes, with its meta.
// It is an error when that frame was not relit by the network.
func (e *Engine) Relit(dst *frame.Frame) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || !e.relit {
		return errors.New("onnxruntime: the last frame was not relit by the network")
	}
	if e.inside {
		if e.relight == nil {
			if err := e.openRelight(); err != nil {
				return fmt.Errorf("onnxruntime: %w", err)
			}
		}
		if err := e.relight.run(); err != nil { // the picture is still in its input
			return err
		}
		e.inside = false
	}
	dst.Reset(e.w, e.h)
	dst.Meta = e.last
	if e.pixels != nil {
		copy(dst.Pix, e.pixels.relit.u8)
	} else {
		picture(dst.Pix, e.planes.f32, e.b.Normalise)
	}
	return nil
}

// Info says what runs the networks.
func (e *Engine) Info() model.Info { return e.info }

// Close releases the networks. It may be called twice.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.closeSessions()
	for _, b := range []*buffer{e.image, e.planes, e.logits} {
		b.close()
	}
	return nil
}

func (e *Engine) closeSessions() {
	for _, s := range []**session{&e.segment, &e.relight, &e.fused} {
		(*s).close()
		*s = nil
	}
	e.pixels.close()
	e.pixels = nil
}
