package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/relight"
)

// evalFlags are what eval was asked to score.
type evalFlags struct {
	modelFlags
	lookFlags
	labelledFlags
	flicker string

	relights  []string
	stds      []float64
	mode      string
	gate      string
	threshold float64
	apart     []string
	within    float64
	markdown  bool
	confusion bool
}

func newEvalCommand(a *app) *cobra.Command {
	f := &evalFlags{}
	c := &cobra.Command{
		Use:   "eval",
		Short: "Score a bundle on labelled pictures: mIoU with interval, IoU per class; or its flicker",
		Long: "eval runs pictures through the stages of the vehicle (resize, relight, networks, re-weighting,\n" +
			"decision) and compares the masks with labels, at the size of the labels. Several precisions,\n" +
			"relight modes and stds (comma between them) are scored in one run that shares the networks' work.\n\n" +
			"One confusion matrix per set; pixels labelled 255 are left out; mIoU is over the classes that the\n" +
			"labels hold; intervals (95 %) are from a bootstrap over blocks of neighbouring frames.\n\n" +
			"Sets to test on (folders *_test, *_test_*, night_coarse) are looked at once, when all is chosen:\n" +
			"eval refuses them without --look SET, and writes each look into the log.\n\n" +
			"With --flicker: the share of pixels that change class between neighbouring frames; no labels.",
		Example: "  nightseg eval --images set/images --labels set/labels\n" +
			"  nightseg eval --images set/images --labels set/labels --precision fp32,int8 \\\n" +
			"      --relight none,network --std 0,0.05,0.16 --apart fence --markdown\n" +
			"  nightseg eval --images dusk_test/images --labels dusk_test/labels --look dusk_test --json\n" +
			"  nightseg eval --flicker drive/images --relight none,network",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.eval(c.Context(), f) },
	}
	fs := c.Flags()
	f.modelFlags.add(fs)
	f.addShape(fs)
	fs.Lookup("precision").Usage = "networks: auto, fp32 or int8, or several"
	f.labelledFlags.add(fs)
	fs.StringVar(&f.flicker, "flicker", "",
		"folder of consecutive frames to measure flicker on, in place of a score")
	fs.StringSliceVar(&f.relights, "relight", []string{modeBundle}, relightHelp+"; or several")
	fs.Float64SliceVar(&f.stds, "std", nil,
		"spread of the class weights, or several; 0: off (default: as the bundle says)")
	fs.StringVar(&f.mode, "reweight", "bundle", "bundle, probability or logit")
	fs.StringVar(&f.gate, "gate", string(relight.Always), "when to relight: always, dark or never")
	fs.Float64Var(&f.threshold, "threshold", 0, "a pixel below this probability is unknown; 0: none is")
	fs.StringSliceVar(&f.apart, "apart", nil,
		"classes to leave out of a second mIoU (too few pixels), such as fence")
	fs.Float64Var(&f.within, "within", 0,
		"exit with 3 where int8 is so many points below fp32; 0: do not compare")
	f.lookFlags.add(fs)
	fs.BoolVar(&f.markdown, "markdown", false, "print a Markdown table, as docs/accuracy.md has it")
	fs.BoolVar(&f.confusion, "confusion", false, "print the confusion matrices")
	return c
}

// check refuses flags that do not go together.
func (f *evalFlags) check() error {
	switch {
	case f.flicker != "" && (f.images != "" || f.labels != ""):
		return fail(exitUsage, "--flicker takes frames without labels: leave out --images and --labels")
	case f.flicker == "" && (f.images == "" || f.labels == ""):
		return fail(exitUsage, "--images and --labels are needed (or --flicker)")
	case f.block < 0:
		return fail(exitUsage, "--block %d must not be below 0", f.block)
	case f.within < 0:
		return fail(exitUsage, "--within %g must not be below 0", f.within)
	case len(f.relights) == 0:
		return fail(exitUsage, "--relight names no mode")
	}
	if f.flicker != "" {
		return nil
	}
	return f.guard(f.images, f.labels)
}

func (a *app) eval(ctx context.Context, f *evalFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	b, err := f.openBundle()
	if err != nil {
		return err
	}
	ev, err := newEvaluation(f, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ev.close()) }()
	log, err := a.examine(ctx, cmp.Or(f.flicker, f.images), ev, &f.modelFlags, &f.lookFlags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	if f.flicker != "" {
		return a.flickerReport(f, ev)
	}
	r := ev.report(f)
	if err := log.add(f.look, r.glance()); err != nil {
		return err
	}
	return a.evalReport(f, r)
}

// examine takes every frame of a folder through the variants of an evaluation. It
// returns the log that the look belongs into, which the caller closes: it is opened
// before anything is looked at.
func (a *app) examine(
	ctx context.Context, images string, ev *evaluation, m *modelFlags, look *lookFlags,
) (*looks, error) {
	log, err := look.openLog()
	if err != nil {
		return nil, err
	}
	if err = ev.openEngines(ctx, m); err == nil {
		err = a.score(ctx, images, ev)
	}
	if err != nil {
		return nil, errors.Join(err, log.close())
	}
	return log, nil
}

// score takes every frame of a folder through every variant.
func (a *app) score(ctx context.Context, path string, ev *evaluation) error {
	return a.overFrames(ctx, path, ev.bundle, func(src frames, each func()) error { return ev.run(ctx, src, each) })
}

// overFrames opens a source in the bundle's size and lets run take its frames,
// with a bar that each moves.
func (a *app) overFrames(
	ctx context.Context, path string, b *model.Bundle, run func(src frames, each func()) error,
) (err error) {
	src, err := openCamera(ctx, settings.Camera{ID: "eval", Source: path, Fit: "bundle"}, b, playMax)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	bar := a.progress(src.Len(), "frames")
	defer bar.Done()
	return run(src, func() { bar.Add(1) })
}

// words splits a flag that may hold several words.
func words(s string) []string {
	var out []string
	for _, w := range strings.Split(s, ",") {
		if w = strings.TrimSpace(w); w != "" && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// precisions resolves what --precision says for a bundle.
func (f *evalFlags) precisions(b *model.Bundle) ([]string, error) {
	var out []string
	for _, asked := range words(f.Precision) {
		p, err := b.Precision(asked)
		if err != nil {
			return nil, usage(err)
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, fail(exitUsage, "--precision names none")
	}
	return out, nil
}

// live are the settings of one variant in the words of the settings file, so
// that they are checked and understood as run does.
func (f *evalFlags) live(mode string, std *float64) settings.Live {
	l := settings.Default().Live()
	l.Relight.Mode, l.Relight.Gate = mode, f.gate
	l.Reweight.Mode, l.Reweight.Std = f.mode, std
	l.Threshold = f.threshold
	return l
}

// checkApart translates the names of --apart.
func (f *evalFlags) checkApart(b *model.Bundle) ([]int, error) {
	var ids []int
	for _, name := range f.apart {
		i := slices.Index(b.ClassNames(), name)
		if i < 0 {
			return nil, fail(exitUsage, "--apart %q: the bundle has the classes %s", name,
				strings.Join(b.ClassNames(), ", "))
		}
		ids = append(ids, i)
	}
	return ids, nil
}

// setName names a set by its folder: the last two parts of the path, without
// a last part "images". A URI names itself.
func setName(path string) string {
	if strings.Contains(path, "://") {
		return path
	}
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if n := len(parts); n > 1 && (parts[n-1] == "images" || parts[n-1] == "rgb_anon") {
		parts = parts[:n-1]
	}
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "." || p == ".." })
	if len(parts) == 0 {
		return path
	}
	return strings.Join(parts[max(0, len(parts)-2):], "/")
}
