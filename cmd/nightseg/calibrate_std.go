package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"nightseg/calibrate/sweep"
	"nightseg/edge/decide"
	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/relight"
)

// stdFlags are what calibrate std was asked to sweep.
type stdFlags struct {
	modelFlags
	lookFlags
	outFlags
	labelledFlags
	relight string
	stds    []float64
	modes   []string
	picture string
}

func newCalibrateStd(a *app) *cobra.Command {
	f := &stdFlags{}
	c := &cobra.Command{
		Use:   "std",
		Short: "Choose the spread of the class weights on labelled pictures, and draw its curve",
		Long: "std runs the networks once per picture and decides their logits with many spreads (std) of the class\n" +
			"weights, in both modes: probability (the paper's rule) and logit (that of its authors' program).\n" +
			"It prints a table, draws the curve, and writes the choice into the bundle's next version.\n\n" +
			"Chosen is " + sweep.Rule + ".\n" +
			"Intervals (95 %) are from a bootstrap over blocks of neighbouring frames. Sets to test on are\n" +
			"refused without --look SET, are logged, and choose nothing.",
		Example: "  nightseg calibrate std --images val/images --labels val/labels\n" +
			"  nightseg calibrate std --bundle mine --images val/images --labels val/labels --out tuned\n" +
			"  nightseg calibrate std --images a/images --labels a/labels --std 0,0.1,0.2 --mode probability",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.calibrateStd(c.Context(), f) },
	}
	fs := c.Flags()
	f.modelFlags.add(fs)
	f.labelledFlags.add(fs)
	fs.StringVar(&f.relight, "relight", "", relightHelp)
	fs.Float64SliceVar(&f.stds, "std", nil, "spreads to try; 0 is always among them (default: 0 to 0.3 by 0.02)")
	fs.StringSliceVar(&f.modes, "mode", []string{string(decide.Probability), string(decide.Logit)},
		"probability, logit, or both")
	fs.StringVar(&f.picture, "picture", "std.png", `curve to draw; "": none`)
	f.lookFlags.add(fs)
	f.outFlags.add(fs)
	return c
}

func (f *stdFlags) check() error {
	if err := f.labelledFlags.check(); err != nil {
		return err
	}
	if f.look != "" && f.out != "" {
		return fail(exitRefused, "--look %s and --out: nothing is chosen on a test set", f.look)
	}
	for _, m := range f.modes {
		if m != string(decide.Probability) && m != string(decide.Logit) {
			return fail(exitUsage, "--mode %q is not %s or %s", m, decide.Probability, decide.Logit)
		}
	}
	if err := f.outFlags.check(); err != nil {
		return err
	}
	return f.guard(f.images, f.labels)
}

// grid lists the spreads to try: those that were named, or the usual ones
// below the limit of the bundle's shares.
func (f *stdFlags) grid(b *model.Bundle) ([]float64, error) {
	most, err := decide.MaxStd(b.ClassShares)
	if err != nil {
		return nil, err
	}
	if math.IsInf(most, 1) {
		return nil, fail(exitFailed, "all classes of %s have the same share, so that no std does anything: "+
			"count them first (nightseg calibrate weights)", b.Path)
	}
	stds := slices.Clone(f.stds)
	if len(stds) == 0 {
		for i := 0; i <= 15 && 0.02*float64(i) < most; i++ {
			stds = append(stds, math.Round(2*float64(i))/100)
		}
	}
	stds = append(stds, 0)
	slices.Sort(stds)
	stds = slices.Compact(stds)
	if stds[0] < 0 || stds[len(stds)-1] >= most {
		return nil, fail(exitUsage, "--std %v: spreads lie within 0 and %.3g, where a weight of this bundle reaches 0",
			f.stds, most)
	}
	return stds, nil
}

// newSweep makes an evaluation whose variants are the points of the curve.
func newSweep(f *stdFlags, b *model.Bundle) (*evaluation, []sweep.Scored, error) {
	stds, err := f.grid(b)
	if err != nil {
		return nil, nil, err
	}
	ev := &evaluation{bundle: b}
	if ev.labels, err = newLabelReader(f.labels, f.mapFile, b.ClassNames()); err != nil {
		return nil, nil, err
	}
	g := &evalGroup{}
	if g.precision, err = b.Precision(f.Precision); err != nil {
		return nil, nil, usage(err)
	}
	var points []sweep.Scored
	for _, mode := range f.modes {
		for _, std := range stds {
			if std == 0 && len(points) > 0 {
				continue // off is off in both modes
			}
			l := settings.Default().Live()
			l.Relight.Mode, l.Relight.Gate = relightOr(f.relight, b), string(relight.Always)
			l.Reweight.Mode, l.Reweight.Std = mode, &std
			if err := g.add(l, b); err != nil {
				return nil, nil, err
			}
			points = append(points, sweep.Scored{Mode: decide.Mode(mode), Std: std})
		}
	}
	ev.groups = []*evalGroup{g}
	return ev, points, nil
}

func (a *app) calibrateStd(ctx context.Context, f *stdFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	b, err := f.openBundle()
	if err != nil {
		return err
	}
	ev, points, err := newSweep(f, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ev.close()) }()
	log, err := a.examine(ctx, f.images, ev, &f.modelFlags, &f.lookFlags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	for i, v := range ev.variants() {
		points[i].Frames = v.frames
	}
	boot := bootstrap(f.block, len(ev.lumas))
	curve, err := sweep.Choose(points, boot)
	if err != nil {
		return err
	}
	r := newStdReport(f, ev, curve, boot.Block)
	if err := log.add(f.look, r.glance()); err != nil {
		return err
	}
	return a.stdReport(f, b, r)
}

// stdReport draws, writes and prints.
func (a *app) stdReport(f *stdFlags, b *model.Bundle, r *stdReport) error {
	if f.picture != "" {
		img, err := r.draw()
		if err != nil {
			return err
		}
		if err := writePNG(f.picture, img); err != nil {
			return fmt.Errorf("--picture: %w", err)
		}
	}
	var err error
	r.Out, err = f.revise(b, func(m *model.Manifest) error {
		m.Reweight = model.Reweight{Mode: r.Chosen.Mode, Std: r.Chosen.Std}
		return nil
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	a.printf("%s", r.text())
	return nil
}
