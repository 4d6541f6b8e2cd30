package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nightseg/calibrate/gate"
	ranges "nightseg/calibrate/observe"
	"nightseg/calibrate/pick"
	"nightseg/calibrate/quantize"
	"nightseg/camera"
	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/model/onnx"
	"nightseg/model/ort"
)

// rangeFlags say which drive ranges are made of, and how; the gate is asked on its
// frames, or on pictures with labels.
type rangeFlags struct {
	modelFlags
	observer     string
	percentile   float64
	frames, scan int
	weights      int // bits of one
	images       string
	labels       string
	mapFile      string
	source       string
	gateFrames   int
	most         int
	sensitive    int
	picture      string
	markdown     bool
}

// quantizeFlags are what calibrate quantize was asked to make.
type quantizeFlags struct {
	rangeFlags
	outFlags
	keep []string
	gate bool
}

// The words of --keep-float that are no parts of names.
const (
	keepAuto = "auto"
	keepNone = "none"
)

// picked: so many times more frames than are wanted are remembered to choose from.
const picked = 16

func newCalibrateQuantize(a *app) *cobra.Command {
	f := &quantizeFlags{}
	c := &cobra.Command{
		Use:   "quantize",
		Short: "Make the integer networks of a bundle from a drive of your own camera, and prove them",
		Long: "quantize runs the float networks of a bundle on frames of a drive, each relit by the relight\n" +
			"network before it reaches the segmentation network, gathers the ranges of the values inside, and\n" +
			"makes int8 networks. Python is not needed. Then it asks the gate (see calibrate gate): over the\n" +
			"drive, or on --images with --labels. Where int8 is not as good as float, it makes the ranges in\n" +
			"other ways; where that is not enough, it measures how much each layer costs, and gives layers back\n" +
			"to float, the most sensitive first, until the gate holds. What holds goes into a new version of the\n" +
			"bundle, with golden vectors and records.\n\n" +
			"The drive is played several times: give a recording, not a live camera. Work that is broken off\n" +
			"goes on where it was when the same command is given again: it is kept in OUT.calibration.json until\n" +
			"the bundle is written. The same drive and settings give the same ranges on one machine and\n" +
			"library. docs/quantisation.md says how all this is done.\n\n" +
			"Exit code 3: the gate does not hold with as many float layers as --most-float allows, or the golden\n" +
			"vectors do not on a provider of this machine; no bundle is left then.",
		Example: "  nightseg calibrate quantize --source drive/ --out mine\n" +
			"  nightseg calibrate quantize --source drive/ --images val/images --labels val/labels --out mine\n" +
			"  nightseg calibrate quantize --bundle street-11 --source night.mp4 --out mine \\\n" +
			"      --observer percentile --percentile 99.99 --frames 128 --keep-float auto,/head/",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.quantize(c.Context(), f) },
	}
	fs := c.Flags()
	f.rangeFlags.add(fs)
	f.outFlags.add(fs)
	fs.StringSliceVar(&f.keep, "keep-float", []string{keepAuto},
		"layers that stay float: auto finds out which must; parts of names, such as /head/, are float in any case; none")
	fs.BoolVar(&f.gate, "gate", true, "false: write the bundle without asking the gate, to compare ways of making it")
	fs.Lookup("picture").Usage = "picture of error against time, where layers are given back (default: OUT.png)"
	return c
}

func (f *rangeFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.bundle, "bundle", "", "bundle with the float networks, or the name of one that ships: "+
		checkoutBundle+" or "+packageBundle)
	fs.StringVar(&f.source, "source", "", "the drive: a folder of pictures, a video file, or synth://...")
	fs.StringVar(&f.observer, "observer", observerAuto, "how ranges of the segmentation network are made: minmax, "+
		"percentile, mse or entropy; auto: minmax, and where the gate refuses it, percentile 99.9999, 99.999 or mse")
	fs.Float64Var(&f.percentile, "percentile", 99.99, "share of the values within the range, with --observer percentile")
	fs.IntVar(&f.frames, "frames", 64, "frames of the drive to run")
	fs.IntVar(&f.scan, "scan", 20000, "frames of the drive to look at, at most")
	fs.IntVar(&f.weights, "weight-bits", 8, "8, or 7, which x86 processors without VNNI compute exactly (see doctor)")
	fs.StringVar(&f.images, "images", "", "folder of pictures with labels to ask the gate on, in place of the drive")
	fs.StringVar(&f.labels, "labels", "", "folder of their labels: PNG of class ids, named like the pictures")
	fs.StringVar(&f.mapFile, "map", "", `JSON file from label ids to classes, such as {"7": "road"}`)
	fs.IntVar(&f.gateFrames, "gate-frames", 600, "frames of the drive that the gate is asked on, evenly spread, about")
	fs.IntVar(&f.most, "most-float", 0, "most layers to give back to float; 0: half of them")
	fs.IntVar(&f.sensitive, "sensitivity-frames", 6, "frames to measure the error of each layer on")
	fs.StringVar(&f.picture, "picture", "", "picture of error against time")
	fs.BoolVar(&f.markdown, "markdown", false, "print the table of error against time as Markdown")
	fs.StringVar(&f.Provider, "provider", model.Auto,
		"hardware that the gate is asked on: auto, tensorrt, cuda, openvino or cpu")
	fs.IntVar(&f.Threads, "threads", 0, "processor threads of the networks; 0: one per core")
	fs.StringVar(&f.LibDir, "lib-dir", "", "folder of the engine's library (default: where the set-up put it)")
	fs.StringVar(&f.CacheDir, "cache-dir", "", "folder for compiled networks (default: the user's cache)")
	f.engine = engineORT
}

// check refuses flags before anything is read.
func (f *rangeFlags) check() error {
	if f.source == "" {
		return fail(exitUsage, "--source is missing (see --help)")
	}
	if (f.images == "") != (f.labels == "") {
		return fail(exitUsage, "--images and --labels go together")
	}
	if f.weights != 8 && f.weights != 7 {
		return fail(exitUsage, "--weight-bits %d is not 8 or 7", f.weights)
	}
	for _, dir := range []string{f.source, f.images, f.labels} {
		if sets := testSets(dir); dir != "" && len(sets) > 0 {
			return fail(exitRefused, "%s is a test set: networks are made and chosen on another one", sets[0])
		}
	}
	if err := f.observers()[0].Validate(); err != nil {
		return fail(exitUsage, "--observer, --percentile: %w; the default is --observer auto", err)
	}
	for flag, n := range map[string]int{
		"frames": f.frames, "scan": f.scan, "gate-frames": f.gateFrames, "sensitivity-frames": f.sensitive,
	} {
		if n < 1 {
			return fail(exitUsage, "--%s %d must be above 0", flag, n)
		}
	}
	if f.most < 0 {
		return fail(exitUsage, "--most-float %d must not be below 0", f.most)
	}
	return nil
}

// check refuses flags before anything is read.
func (f *quantizeFlags) check() error {
	if f.source != "" && f.out == "" {
		return fail(exitUsage, "--out is missing (see nightseg calibrate quantize --help)")
	}
	if err := f.outFlags.check(); err != nil {
		return err
	}
	f.out = filepath.Clean(f.out)
	if !exists(filepath.Dir(f.out)) {
		return fail(exitUsage, "--out %s: the folder around it is not there: make it first", f.out)
	}
	if slices.Contains(f.keep, keepNone) && len(f.keep) > 1 {
		return fail(exitUsage, "--keep-float %s: none goes alone", strings.Join(f.keep, ","))
	}
	f.picture = cmp.Or(f.picture, f.out+".png")
	return f.rangeFlags.check()
}

// words are the parts of names that stay float in any case.
func (f *quantizeFlags) words() (words []string) {
	for _, w := range f.keep {
		if w != keepAuto && w != keepNone {
			words = append(words, w)
		}
	}
	return words
}

func (a *app) quantize(ctx context.Context, f *quantizeFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	b, err := f.openBundle()
	if err != nil {
		return err
	}
	if f.version == "" {
		if f.version, err = model.NextVersion(b.Version); err != nil {
			return err
		}
	}
	r, err := a.ranges(ctx, &f.rangeFlags, b, f.out, f.words())
	if err != nil {
		return err
	}
	var found *proof // nil: the gate was not asked
	if f.gate {
		if found, err = a.prove(ctx, f, b, r); err != nil {
			a.tellKept(f.out)
			return err
		}
		if found.table != nil {
			if err := a.searchReport(&f.rangeFlags, found.table); err != nil {
				return err
			}
		}
		if !gate.Holds(found.record.Figures) {
			return a.refuse(f, b, found)
		}
		r = found.made
	}
	return a.writeIntegers(f, b, r, found)
}

// ranges makes int8 networks of a drive; the work is kept beside out.
func (a *app) ranges(
	ctx context.Context, f *rangeFlags, b *model.Bundle, out string, keep []string,
) (*quantize.Result, error) {
	r, err := quantize.Run(ctx, a.quantizeOptions(f, b, out, keep))
	if err == nil {
		return r, nil
	}
	var unknown *quantize.UnknownNameError
	if errors.As(err, &unknown) {
		return nil, fail(exitUsage, "--keep-float %q: %w; names are as a viewer of ONNX files shows them, "+
			"such as /net/head/head.1/Conv", unknown.Name, err)
	}
	a.tellKept(out)
	return nil, err
}

// tellKept says where the work so far is.
func (a *app) tellKept(out string) {
	if name := quantize.StateFile(out); exists(name) {
		a.notef("the work so far is in %s: the same command goes on from there", name)
	}
}

// writeIntegers writes the bundle with the networks and what was found of them, and
// replays its golden vectors; they are made by the processor, which each machine has.
func (a *app) writeIntegers(f *quantizeFlags, b *model.Bundle, r *quantize.Result, found *proof) error {
	o := model.IntegerOptions{
		Out: f.out, Version: f.version, Networks: r.Networks, Calibration: r.Record, Now: time.Now(),
		Engine: func(b *model.Bundle) (model.Engine, error) {
			o := f.Options
			o.Precision, o.Provider = model.INT8, model.CPU
			return openEngine(engineORT, b, o)
		},
	}
	if found != nil {
		o.Gate = found.record
	}
	n, err := b.NewIntegers(o)
	if err != nil {
		return err
	}
	v, err := checkIntegers(n, f)
	if err != nil {
		return errors.Join(err, os.RemoveAll(f.out))
	}
	return errors.Join(a.quantizeReport(n, r, v, found), quantize.Done(f.out))
}

func (a *app) quantizeOptions(f *rangeFlags, b *model.Bundle, out string, keep []string) quantize.Options {
	return quantize.Options{
		Bundle: b, Out: out, Drive: filepath.Base(camera.Redact(f.source)),
		Observer: f.observers()[0], Frames: f.frames, Scan: f.scan, Keep: keep, Weights: f.weights,
		Chooser: pick.New(picked * f.frames),
		Threads: f.Threads, Machine: machineName(),
		Open: func(ctx context.Context) (quantize.Source, error) { return f.drive(ctx, b) },
		Load: f.load,
		Progress: func(what string, total int) (step, done func()) {
			bar := a.progress(total, what)
			return func() { bar.Add(1) }, bar.Done
		},
	}
}

// observerAuto stands for several ways to make ranges.
const observerAuto = "auto"

// observers are the ways to make ranges, in the order in which the gate is asked
// about them.
func (f *rangeFlags) observers() []ranges.Settings {
	if f.observer != observerAuto {
		return []ranges.Settings{{Method: ranges.Method(f.observer), Percentile: f.percentile}}
	}
	return []ranges.Settings{
		{Method: ranges.MinMax},
		{Method: ranges.Percentile, Percentile: 99.9999},
		{Method: ranges.Percentile, Percentile: 99.999},
		{Method: ranges.MSE},
	}
}

// drive opens the drive from its start, in the bundle's size.
func (f *rangeFlags) drive(ctx context.Context, b *model.Bundle) (quantize.Source, error) {
	return openCamera(ctx, settings.Camera{ID: "calibrate", Source: f.source, Fit: "bundle"}, b, playMax)
}

// load loads a network that is in no bundle.
func (f *rangeFlags) load(m *onnx.Model, shape []int64) (quantize.Network, error) {
	return ort.NewRunner(m, shape, f.Options)
}

// machineName says what computed, without naming the single device.
func machineName() string {
	name, _ := processorText(os.DirFS("/"))
	return strings.TrimSpace(fmt.Sprintf("%s/%s %s", runtime.GOOS, runtime.GOARCH, name))
}

// checkIntegers replays the golden vectors on the providers of this machine.
func checkIntegers(n *model.Bundle, f *quantizeFlags) (*verification, error) {
	v := &verification{bundle: n, Bundle: n.Name + " " + n.Version, SHA256: n.SHA256}
	flags := &verifyFlags{modelFlags{engine: engineORT, Options: f.Options}}
	flags.Provider, flags.Precision = everyEngine, model.INT8
	plans, err := v.plans(flags)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		v.check(p)
	}
	for _, l := range v.Checks {
		if !l.Holds {
			return nil, fail(exitRefused, "bundle %s: %s", v.Bundle, l.text())
		}
	}
	return v, nil
}

// quantizeDone is what calibrate quantize made, as --json prints it.
type quantizeDone struct {
	Path    string              `json:"path"`
	Version string              `json:"version"`
	SHA256  string              `json:"sha256"`
	Looked  int                 `json:"frames_looked_at"`
	Ran     int                 `json:"frames"`
	Resumed bool                `json:"resumed"`
	Bytes   map[string]int      `json:"bytes"` // by graph
	Float   map[string][]string `json:"float"` // nodes that stay float, by graph
	Checks  []checkLine         `json:"checks"`
	Gate    *model.Gate         `json:"gate,omitempty"`
	Search  *searchTable        `json:"search,omitempty"`
}

func (a *app) quantizeReport(n *model.Bundle, r *quantize.Result, v *verification, found *proof) error {
	d := quantizeDone{
		Path: n.Path, Version: n.Version, SHA256: n.SHA256, Looked: r.Looked, Ran: len(r.Chosen), Resumed: r.Resumed,
		Bytes: map[string]int{}, Float: r.Kept, Checks: v.Checks, Gate: n.Gate,
	}
	for name, data := range r.Networks {
		d.Bytes[name] = len(data)
	}
	if found != nil {
		d.Search = found.table
	}
	if a.json {
		return a.printJSON(d)
	}
	a.printf("%s: %s %s, ranges of %d of %d frames\n", n.Path, n.Name, n.Version, len(r.Chosen), r.Looked)
	for _, name := range sortedKeys(d.Bytes) {
		a.printf("  %s.int8.onnx, %.1f MB", name, float64(d.Bytes[name])/1e6)
		if kept := r.Kept[name]; len(kept) > 0 {
			a.printf(", float: %s", strings.Join(kept, ", "))
		}
		a.printf("\n")
	}
	for _, l := range v.Checks {
		a.printf("  %s\n", l.text())
	}
	if n.Gate != nil {
		a.printf("  %s", (&gateLine{Gate: n.Gate, Holds: true}).text())
	}
	return nil
}
