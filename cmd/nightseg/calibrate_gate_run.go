package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	drives "nightseg/calibrate/drive"
	"nightseg/calibrate/gate"
	"nightseg/camera"
	"nightseg/edge/frame"
	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/relight"
)

// gateSet is what int8 networks are held against float networks on: pictures with
// labels, or a drive without.
type gateSet struct {
	images, labels, mapFile string
	source                  string
	relight                 string
	block                   int
	every                   int // one of so many frames of a drive is taken; 0: all
	most                    int // frames of the drive, those left out among them; 0: all
}

// gateRun takes frames through the float networks of a bundle (the first group of
// the evaluation) and through int8 networks (a group each), which are all held
// against the float ones.
type gateRun struct {
	*gateSet
	ev      *evaluation
	hash    drives.Hash // of the frames
	pooled  []*gate.Pooled
	margins *gate.Margins
	masks   [2]frame.Mask
	logits  frame.Logits
}

// newGateRun checks bundles and settings before anything is loaded.
func newGateRun(s *gateSet, float *model.Bundle, int8 ...*model.Bundle) (*gateRun, error) {
	g := &gateRun{gateSet: s, ev: &evaluation{bundle: float, judged: model.INT8}}
	if s.source == "" {
		var err error
		if g.ev.labels, err = newLabelReader(s.labels, s.mapFile, float.ClassNames()); err != nil {
			return nil, err
		}
	}
	l := settings.Default().Live()
	l.Relight.Mode, l.Relight.Gate = relightOr(s.relight, float), string(relight.Always)
	add := func(b *model.Bundle, precision string) error {
		if _, err := b.Precision(precision); err != nil {
			return usage(err)
		}
		group := &evalGroup{bundle: b, precision: precision}
		g.ev.groups = append(g.ev.groups, group)
		return group.add(l, float)
	}
	if err := add(float, model.FP32); err != nil {
		return nil, err
	}
	for _, b := range int8 {
		if err := add(b, model.INT8); err != nil {
			return nil, err
		}
		g.pooled = append(g.pooled, gate.NewPooled(len(float.Classes)))
	}
	var err error
	g.margins, err = gate.NewMargins(g.ev.groups[0].variants[0].decide.Settings(), len(float.Classes))
	return g, err
}

// gateFrames takes every frame through all networks.
func (a *app) gateFrames(ctx context.Context, g *gateRun) error {
	return a.overFrames(ctx, cmp.Or(g.source, g.images), g.ev.bundle, func(src frames, each func()) error {
		hashed := &hashedFrames{frames: src, hash: &g.hash, every: max(g.every, 1), left: cmp.Or(g.most, -1)}
		if g.source == "" {
			return g.ev.run(ctx, hashed, each)
		}
		return g.run(ctx, hashed, each)
	})
}

// hashedFrames hashes the frames of a source as the networks get them, and leaves
// frames out between them.
type hashedFrames struct {
	frames
	hash  *drives.Hash
	every int
	left  int // frames of the source that may be read; negative: all
}

// Next implements frames.
func (h *hashedFrames) Next(ctx context.Context, dst *frame.Frame) error {
	skip := h.every - 1
	if h.hash.Frames() == 0 {
		skip = 0
	}
	for range skip + 1 {
		if h.left == 0 {
			return io.EOF
		}
		h.left--
		if err := h.frames.Next(ctx, dst); err != nil {
			return err
		}
	}
	h.hash.Add(dst)
	return nil
}

// run takes a drive without labels through all. A frame that cannot be read or
// inferred ends it.
func (g *gateRun) run(ctx context.Context, src frames, each func()) error {
	for {
		err := src.Next(ctx, &g.ev.picture)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := g.frame(); err != nil {
			return fmt.Errorf("frame %d: %w", len(g.ev.lumas), err)
		}
		each()
	}
	if len(g.ev.lumas) == 0 {
		return errors.New("no frame was compared")
	}
	return nil
}

// frame compares the networks on the picture at hand.
func (g *gateRun) frame() error {
	g.ev.lumas = append(g.ev.lumas, g.ev.picture.Luma)
	var margins []float32
	for i, group := range g.ev.groups {
		shown, err := group.planner.Plan(&g.ev.relit, &g.ev.picture)
		if err != nil {
			return fmt.Errorf("relight: %w", err)
		}
		if err := group.engine.Infer(&g.logits, shown); err != nil {
			return fmt.Errorf("networks: %w", err)
		}
		mask := &g.masks[min(i, 1)]
		if err := group.variants[0].decide.Decide(mask, &g.logits); err != nil {
			return fmt.Errorf("decide: %w", err)
		}
		if i == 0 {
			margins, err = g.margins.Of(&g.logits)
		} else {
			err = g.pooled[i-1].Add(&g.masks[0], mask, margins)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// record is what was found of the i-th int8 networks; who keeps it states whose
// networks they are.
func (g *gateRun) record(i int) (*model.Gate, error) {
	b := g.ev.bundle
	r := &model.Gate{
		Created: time.Now().UTC().Truncate(time.Second), Set: setName(g.images + camera.Redact(g.source)),
		SHA256: g.hash.String(), Frames: len(g.ev.lumas), Labels: g.source == "", Relight: relightOr(g.relight, b),
		Engine: g.ev.source, Machine: machineName(),
	}
	var err error
	if r.Labels {
		boot := bootstrap(g.block, len(g.ev.lumas))
		r.Block = boot.Block
		v := g.ev.variants()
		r.Figures, err = gate.Labelled(v[0].frames, v[1+i].frames, b.ClassNames(), gate.Default(), boot)
	} else {
		r.Figures, err = g.pooled[i].Figures(b.ClassNames(), gate.Default())
	}
	return r, err
}

// failures are the figures that do not hold, in words.
func failures(figures []model.GateFigure) (failed []string) {
	for _, f := range figures {
		if !f.Holds {
			failed = append(failed, gate.Text(f))
		}
	}
	return failed
}

// timedEngine notes how long the networks take.
type timedEngine struct {
	engine
	took []time.Duration
}

// Infer implements engine.
func (t *timedEngine) Infer(dst *frame.Logits, f *frame.Frame) error {
	start := time.Now()
	err := t.engine.Infer(dst, f)
	t.took = append(t.took, time.Since(start))
	return err
}

// clock times the engines of all groups from here on.
func (g *gateRun) clock() []*timedEngine {
	var clocks []*timedEngine
	for _, group := range g.ev.groups {
		t := &timedEngine{engine: group.engine}
		group.engine = t
		clocks = append(clocks, t)
	}
	return clocks
}

// pace is the median time of a frame, and that of its ratio to another engine's on
// the same frame: what else the machine does then slows both.
func (t *timedEngine) pace(other *timedEngine) (ms, ratio float64) {
	var all, ratios []float64
	for i, d := range t.took {
		all = append(all, d.Seconds()*1e3)
		ratios = append(ratios, d.Seconds()/other.took[i].Seconds())
	}
	return median(all), median(ratios)
}

// median sorts v.
func median(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
