package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"nightseg/calibrate/gate"
	"nightseg/calibrate/qdq"
	"nightseg/calibrate/quantize"
	"nightseg/calibrate/sensitivity"
	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/model/onnx"
)

// search looks for the layers that must be float for the gate to hold: few ones, and quick ones.
type search struct {
	*app
	f      *rangeFlags
	bundle *model.Bundle    // with the float networks
	base   *quantize.Result // all in 8 bits that can be
	dir    string           // for bundles to try
	tried  int

	probe *sensitivity.Probe
	order []sensitivity.Layer // the most sensitive first
	table searchTable
}

// proof is what became of the int8 networks of a drive at the gate.
type proof struct {
	made   *quantize.Result // what holds; nil: nothing does
	record *model.Gate      // of that, or of the last try
	table  *searchTable     // nil: there was no need to search
}

// searchTable is what a search measured, as --json prints it and a bundle keeps it.
type searchTable struct {
	Frames int                 `json:"sensitivity_frames"`
	Layers []sensitivity.Layer `json:"layers,omitempty"` // the most sensitive first
	Float  float64             `json:"float_ms"`         // per frame, all in float
	Steps  []*step             `json:"steps"`

	names  string // bundle, set and engine
	engine string
}

// step is one try: some layers are float.
type step struct {
	Float             []int   `json:"float"` // their ranks, ascending; 1 is the most sensitive layer
	sensitivity.Error         // of the logits, all in 8 bits but these
	MS                float64 `json:"ms"`       // per frame
	Ratio             float64 `json:"of_float"` // median of the ratios to the float networks, frame by frame
	Holds             bool    `json:"holds"`
	Worst             string  `json:"worst"` // figure of the gate
	Failed            int     `json:"failed"`
	Chosen            bool    `json:"chosen,omitempty"`

	made   *quantize.Result
	record *model.Gate
}

// newSearch makes a folder for what is tried; close removes it.
func (a *app) newSearch(f *rangeFlags, b *model.Bundle, r *quantize.Result, beside string) (*search, error) {
	dir, err := os.MkdirTemp(filepath.Dir(beside), ".trial-*")
	if err != nil {
		return nil, err
	}
	return &search{app: a, f: f, bundle: b, base: r, dir: dir}, nil
}

func (s *search) close() error {
	err := os.RemoveAll(s.dir)
	if s.probe != nil {
		err = errors.Join(err, s.probe.Close())
	}
	return err
}

// prove asks the gate about the networks, and searches where it does not hold.
func (a *app) prove(ctx context.Context, f *quantizeFlags, b *model.Bundle, r *quantize.Result) (_ *proof, err error) {
	s, err := a.newSearch(&f.rangeFlags, b, r, f.out)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	first := []*step{{made: r}}
	if err := s.judge(ctx, first); err != nil {
		return nil, err
	}
	if first[0].Holds {
		return &proof{made: r, record: first[0].record}, nil
	}
	others, err := s.observed(ctx, first[0].Worst)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(others, func(st *step) bool { return st.Holds }); i >= 0 {
		return &proof{made: others[i].made, record: others[i].record}, nil
	}
	if !slices.Contains(f.keep, keepAuto) {
		return &proof{record: first[0].record}, nil
	}
	a.notef("the gate does not hold (%s): looking for layers that must be float", first[0].Worst)
	return s.run(ctx)
}

// refusedRanges is what a bundle keeps of a way to make ranges that the gate refused.
type refusedRanges struct {
	Observer string `json:"observer"`
	Worst    string `json:"worst"` // figure of the gate
}

// observed asks the gate about ranges that are made in other ways than the first, of
// which the worst figure is given.
func (s *search) observed(ctx context.Context, worst string) (steps []*step, err error) {
	all := s.f.observers()
	if len(all) == 1 {
		return nil, nil
	}
	s.notef("the gate does not hold with the ranges of %s (%s): asking it about others", all[0].Method, worst)
	for _, o := range all[1:] {
		made, err := s.base.Observed(o, refusedRanges{string(all[0].Method), worst})
		if err != nil {
			return nil, err
		}
		steps = append(steps, &step{made: made})
	}
	return steps, s.judge(ctx, steps)
}

// run measures all layers, then gives back one, two, four ... of them at once, numbers between the last
// one that fails and the first that holds, and at last fewer and other layers.
func (s *search) run(ctx context.Context) (*proof, error) {
	if err := s.measure(ctx); err != nil {
		return nil, err
	}
	s.table.Float = 0 // anew, of the long pass
	most := s.f.most
	if most == 0 || most > len(s.order) {
		most = len(s.order) / 2
	}
	if _, err := s.try(ctx, sensitivity.Firsts(sensitivity.Steps(most)...)); err != nil {
		return nil, err
	}
	if _, err := s.try(ctx, sensitivity.Firsts(sensitivity.Between(fewest(s.table.Steps))...)); err != nil {
		return nil, err
	}
	_, holds := fewest(s.table.Steps)
	try := func(sets [][]int) ([]*step, error) { return s.try(ctx, sets) }
	if err := quicker(try, len(s.order), holds); err != nil {
		return nil, err
	}
	s.table.Frames, s.table.Layers = s.f.sensitive, s.order
	best := choose(s.table.Steps)
	if best == nil {
		return &proof{record: s.table.last().record, table: &s.table}, nil
	}
	best.Chosen = true
	made, err := s.base.Without(s.units(best.Float), s.table.record(best))
	return &proof{made: made, record: best.record, table: &s.table}, err
}

// units are the names, by graph, of the layers with these ranks.
func (s *search) units(ranks []int) map[string][]string {
	var layers []sensitivity.Layer
	for _, r := range ranks {
		layers = append(layers, s.order[r-1])
	}
	return sensitivity.Units(layers)
}

// record is the search as a bundle keeps it: of the layers those that matter.
func (t *searchTable) record(chosen *step) *searchTable {
	r := *t
	r.Layers = r.Layers[:min(len(r.Layers), slices.Max(append([]int{8}, chosen.Float...)))]
	return &r
}

// last is the step with the most layers in float: steps are in the order of their number.
func (t *searchTable) last() *step { return t.Steps[len(t.Steps)-1] }

// layersKept is what is kept of a search that is broken off.
type layersKept struct {
	Frames int                 `json:"frames"`
	Layers []sensitivity.Layer `json:"layers"`
}

// saveEvery is how many layers may have to be measured again.
const saveEvery = 8

// measure finds out how sensitive each layer is.
func (s *search) measure(ctx context.Context) (err error) {
	frames, err := s.frames(ctx)
	if err != nil {
		return err
	}
	o := sensitivity.Options{Bundle: s.bundle, Frames: frames, Load: s.f.load}
	if s.probe, err = sensitivity.New(ctx, o); err != nil {
		return err
	}
	var known layersKept
	if !s.base.Noted(&known) || known.Frames != len(frames) {
		known.Layers = nil
	}
	total := 0
	for _, p := range s.base.Parts {
		total += len(p.Plan.Units())
	}
	bar := s.progress(total, "layers")
	bar.Add(len(known.Layers))
	defer bar.Done()
	var done []sensitivity.Layer
	keep := func() error { return s.base.Note(layersKept{len(frames), done}) }
	defer func() { // also of a run that was broken off
		if len(done) > len(known.Layers) {
			err = errors.Join(err, keep())
		}
	}()
	layers, err := s.probe.Layers(ctx, s.base.Parts, known.Layers, func(l []sensitivity.Layer) error {
		bar.Add(1)
		done = slices.Clone(l)
		if len(done)%saveEvery == 0 {
			return keep()
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.order = sensitivity.Order(layers)
	return nil
}

// frames reads some of the frames that ranges were made of, evenly spread.
func (s *search) frames(ctx context.Context) (frames []sensitivity.Frame, err error) {
	n := min(s.f.sensitive, len(s.base.Chosen))
	src, err := s.f.drive(ctx, s.bundle)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	var f frame.Frame
	at := 0
	for i := range n {
		for last := s.base.Chosen[(2*i+1)*len(s.base.Chosen)/(2*n)]; at <= last; at++ {
			err := src.Next(ctx, &f)
			if errors.Is(err, io.EOF) {
				return nil, errors.New("the drive is shorter than before: give a recording, not a live camera")
			}
			if err != nil {
				return nil, err
			}
		}
		frames = append(frames, slices.Clone(f.Pix))
	}
	return frames, nil
}

// try adds a step to the table for each set of ranks that is not in it, and returns those that hold.
func (s *search) try(ctx context.Context, sets [][]int) (holds []*step, err error) {
	var steps []*step
	for _, ranks := range sets {
		if slices.ContainsFunc(s.table.Steps, func(st *step) bool { return slices.Equal(st.Float, ranks) }) {
			continue
		}
		made, err := s.base.Without(s.units(ranks), nil)
		if errors.Is(err, qdq.ErrNoLayers) {
			continue // that would be the float network
		}
		if err != nil {
			return nil, err
		}
		networks := map[string]*onnx.Model{}
		for name, data := range made.Networks {
			if networks[name], err = onnx.Parse(data); err != nil {
				return nil, err
			}
		}
		st := &step{Float: ranks, made: made}
		if st.Error, err = s.probe.Of(ctx, networks); err != nil {
			return nil, err
		}
		steps = append(steps, st)
	}
	if len(steps) == 0 {
		return nil, nil
	}
	if err := s.judge(ctx, steps); err != nil {
		return nil, err
	}
	s.table.Steps = append(s.table.Steps, steps...)
	slices.SortFunc(s.table.Steps, func(a, b *step) int {
		return cmp.Or(len(a.Float)-len(b.Float), slices.Compare(a.Float, b.Float))
	})
	return slices.DeleteFunc(steps, func(st *step) bool { return !st.Holds }), nil
}

// judge asks the gate about all steps in one pass, in which the networks take turns
// frame by frame: so their times can be compared, whatever else the machine does.
func (s *search) judge(ctx context.Context, steps []*step) (err error) {
	var trials []*model.Bundle
	for _, st := range steps {
		s.tried++
		t, err := s.bundle.Trial(filepath.Join(s.dir, strconv.Itoa(s.tried)), st.made.Networks)
		if err != nil {
			return err
		}
		trials = append(trials, t)
	}
	set := &gateSet{images: s.f.images, labels: s.f.labels, mapFile: s.f.mapFile}
	if set.images == "" {
		set.source, set.most = s.f.source, s.base.Looked
		set.every = int(math.Ceil(float64(s.base.Looked) / float64(s.f.gateFrames)))
	}
	g, err := newGateRun(set, s.bundle, trials...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.ev.close()) }()
	flags := s.f.modelFlags
	flags.CacheDir = filepath.Join(s.dir, "cache") // compiled forms of what is thrown away
	if err := g.ev.openEngines(ctx, &flags); err != nil {
		return err
	}
	clocks := g.clock()
	if err := s.gateFrames(ctx, g); err != nil {
		return err
	}
	if s.table.Float == 0 {
		s.table.Float, _ = clocks[0].pace(clocks[0])
	}
	for i, st := range steps {
		if st.record, err = g.record(i); err != nil {
			return err
		}
		_, st.Ratio = clocks[i+1].pace(clocks[0])
		st.MS = st.Ratio * s.table.Float
		st.Holds = gate.Holds(st.record.Figures)
		st.Worst, st.Failed = gate.Text(gate.Worst(st.record.Figures)), len(failures(st.record.Figures))
	}
	s.table.engine = g.ev.source
	s.table.names = fmt.Sprintf("%s %s, %d frames of %s", s.bundle.Name, s.bundle.Version, steps[0].record.Frames,
		steps[0].record.Set)
	return nil
}

// refuse tells why no bundle is written.
func (a *app) refuse(f *quantizeFlags, b *model.Bundle, found *proof) error {
	if a.json {
		err := a.printJSON(struct {
			Verdict string       `json:"verdict"`
			Gate    *model.Gate  `json:"gate"`
			Search  *searchTable `json:"search,omitempty"`
		}{"fails", found.record, found.table})
		if err != nil {
			return err
		}
	}
	a.printf("%s", (&gateLine{Gate: found.record}).text())
	a.notef("the ranges are kept in %s: the same drive and observer go on from there; remove it to start again",
		quantize.StateFile(f.out))
	how := "with --keep-float auto, layers would be given back to float until it is"
	if found.table != nil {
		how = fmt.Sprintf("not with %d layers in float either (--most-float)", len(found.table.last().Float))
	}
	return fail(exitRefused, "int8 of %s is not as good as float (%s), %s; no bundle was written", b.Name,
		gate.Text(gate.Worst(found.record.Figures)), how)
}
