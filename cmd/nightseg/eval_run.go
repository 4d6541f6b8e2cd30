package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"

	"nightseg/edge/decide"
	"nightseg/edge/frame"
	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/relight"
	"nightseg/score"
)

// evaluation scores several variants of one bundle in one pass over a set.
// Frames are read once, and inferred once per precision and relight mode.
type evaluation struct {
	bundle *model.Bundle
	apart  []int
	labels *labelReader // nil: flicker
	groups []*evalGroup // by precision, then relight mode
	lumas  []float32    // mean luma of each frame
	pixels uint64       // labelled ones
	source string       // engine and provider
	judged string       // a precision that this run itself judges: its golden vectors are not asked for

	engines []engine
	picture frame.Frame
	relit   frame.Frame
	logits  frame.Logits
	mask    frame.Mask
	onLabel []uint8
	before  string // sequence of the frame before
}

// evalGroup are the variants that share the networks' output.
type evalGroup struct {
	bundle    *model.Bundle // of these networks; nil: that of the evaluation
	precision string
	engine    engine
	planner   *relight.Planner
	variants  []*evalVariant
}

// evalVariant is one row of the result.
type evalVariant struct {
	precision, relight string
	std                float64
	decide             *decide.Decider
	frames             []*score.Confusion
	flicker            score.Flicker
	last               []uint8 // the mask of the frame before
}

// newEvaluation checks all variants before anything is loaded.
func newEvaluation(f *evalFlags, b *model.Bundle) (*evaluation, error) {
	ev := &evaluation{bundle: b}
	var err error
	if ev.apart, err = f.checkApart(b); err != nil {
		return nil, err
	}
	if f.flicker == "" {
		if ev.labels, err = newLabelReader(f.labels, f.mapFile, b.ClassNames()); err != nil {
			return nil, err
		}
	}
	precisions, err := f.precisions(b)
	if err != nil {
		return nil, err
	}
	for _, p := range precisions {
		for _, mode := range f.relights {
			g, err := newEvalGroup(f, b, p, mode)
			if err != nil {
				return nil, err
			}
			ev.groups = append(ev.groups, g)
		}
	}
	return ev, nil
}

func newEvalGroup(f *evalFlags, b *model.Bundle, precision, mode string) (*evalGroup, error) {
	stds := []*float64{nil}
	if len(f.stds) > 0 {
		stds = nil
		for _, v := range f.stds {
			stds = append(stds, &v)
		}
	}
	g := &evalGroup{precision: precision}
	for _, std := range stds {
		if err := g.add(f.live(mode, std), b); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// add adds a variant with the settings of a camera, all of which relight in one way.
func (g *evalGroup) add(l settings.Live, b *model.Bundle) error {
	s, bad := stagesOf(l, b)
	if len(bad) > 0 {
		return usage(bad[0])
	}
	if g.planner == nil {
		var err error
		if g.planner, err = relight.New(s.relight); err != nil {
			return usage(err)
		}
	}
	d, err := decide.New(s.decide)
	if err != nil {
		return usage(err)
	}
	g.variants = append(g.variants, &evalVariant{
		precision: g.precision, relight: s.relight.Mode.String(), std: s.decide.Std, decide: d,
	})
	return nil
}

// openEngines opens an engine per bundle and precision and replays the golden
// vectors.
func (ev *evaluation) openEngines(ctx context.Context, f *modelFlags) error {
	type networks struct {
		bundle    *model.Bundle
		precision string
	}
	open := map[networks]engine{}
	for _, g := range ev.groups {
		n := networks{cmp.Or(g.bundle, ev.bundle), g.precision}
		e, ok := open[n]
		if !ok {
			o := f.Options
			o.Precision = n.precision
			var err error
			if e, err = openEngine(f.engine, n.bundle, o); err != nil {
				return err
			}
			open[n] = e
			ev.engines = append(ev.engines, e)
			ev.source = e.Info().Engine + "/" + e.Info().Provider
			if n.precision != ev.judged {
				if err := f.verifyOnce(ctx, n.bundle, e); err != nil {
					return err
				}
			}
		}
		g.engine = e
	}
	return nil
}

func (ev *evaluation) close() error {
	var errs []error
	for _, e := range ev.engines {
		errs = append(errs, e.Close())
	}
	return errors.Join(errs...)
}

// frames is the part of a camera that an evaluation uses.
type frames interface {
	Next(ctx context.Context, dst *frame.Frame) error
}

// run takes all frames of src through all variants. A frame that cannot be
// read, or has no label, ends it: half a set would pass for the whole.
func (ev *evaluation) run(ctx context.Context, src frames, each func()) error {
	for {
		err := src.Next(ctx, &ev.picture)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := ev.frame(); err != nil {
			return fmt.Errorf("%s: %w", ev.picture.Name, err)
		}
		each()
	}
	if len(ev.lumas) == 0 {
		return errors.New("no frame was scored")
	}
	return nil
}

// frame takes the picture at hand through all variants.
func (ev *evaluation) frame() error {
	var l *labelled
	if ev.labels != nil {
		var err error
		if l, err = ev.labels.read(ev.picture.Name); err != nil {
			return err
		}
		for _, k := range l.ids {
			if k != frame.Unknown {
				ev.pixels++
			}
		}
	}
	sequence := path.Dir(ev.picture.Name)
	cut := sequence != ev.before
	ev.before = sequence
	ev.lumas = append(ev.lumas, ev.picture.Luma)
	for _, g := range ev.groups {
		shown, err := g.planner.Plan(&ev.relit, &ev.picture)
		if err != nil {
			return fmt.Errorf("relight: %w", err)
		}
		if err := g.engine.Infer(&ev.logits, shown); err != nil {
			return fmt.Errorf("networks: %w", err)
		}
		for _, v := range g.variants {
			if l != nil {
				err = ev.compare(v, l)
			} else {
				err = ev.change(v, cut)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// compare decides the logits at the label's size and counts the frame.
func (ev *evaluation) compare(v *evalVariant, l *labelled) error {
	lg := ev.logits // a view: the size of the mask differs from variant to variant
	whole := ev.bundle.Resize.Fit == "stretch"
	if whole {
		lg.OutW, lg.OutH, lg.Valid = l.w, l.h, frame.Rect{}
	} else if l.w != lg.SourceW || l.h != lg.SourceH {
		return fmt.Errorf("label of %d x %d pixels, picture of %d x %d: a bundle that fits by %s needs equal sizes",
			l.w, l.h, lg.SourceW, lg.SourceH, ev.bundle.Resize.Fit)
	}
	if err := v.decide.Decide(&ev.mask, &lg); err != nil {
		return fmt.Errorf("decide: %w", err)
	}
	classes := ev.mask.Class
	if !whole {
		ev.onLabel = slices.Grow(ev.onLabel[:0], l.w*l.h)[:l.w*l.h]
		toSource(ev.onLabel, l.w, l.h, &ev.mask)
		classes = ev.onLabel
	}
	c := score.NewConfusion(len(ev.bundle.Classes))
	if err := c.Add(l.ids, classes); err != nil {
		return err
	}
	v.frames = append(v.frames, c)
	return nil
}

// toSource samples a mask at the pixel centres of the camera's picture; what
// the mask does not show is unknown.
func toSource(dst []uint8, w, h int, m *frame.Mask) {
	a := m.ToSource
	det := a.A*a.E - a.B*a.D
	for y := range h {
		for x := range w {
			cx, cy := float64(x)+0.5-a.C, float64(y)+0.5-a.F
			u := int(math.Floor((a.E*cx - a.B*cy) / det))
			v := int(math.Floor((a.A*cy - a.D*cx) / det))
			dst[y*w+x] = frame.Unknown
			if u >= 0 && v >= 0 && u < m.W && v < m.H {
				dst[y*w+x] = m.Class[v*m.W+u]
			}
		}
	}
}

// change decides the logits at the bundle's size and compares with the frame
// before, unless another sequence begins.
func (ev *evaluation) change(v *evalVariant, cut bool) error {
	if err := v.decide.Decide(&ev.mask, &ev.logits); err != nil {
		return fmt.Errorf("decide: %w", err)
	}
	if !cut {
		if err := v.flicker.Add(v.last, ev.mask.Class); err != nil {
			return err
		}
	}
	v.last = append(v.last[:0], ev.mask.Class...)
	return nil
}

// variants lists all rows in order.
func (ev *evaluation) variants() []*evalVariant {
	var out []*evalVariant
	for _, g := range ev.groups {
		out = append(out, g.variants...)
	}
	return out
}
