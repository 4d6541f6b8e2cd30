package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	ranges "nightseg/calibrate/observe"
	"nightseg/calibrate/pick"
	"nightseg/calibrate/quantize"
	"nightseg/camera"
	"nightseg/edge/settings"
	"nightseg/model"
	"nightseg/model/onnx"
	"nightseg/model/ort"
)

// quantizeFlags are what calibrate quantize was asked to make.
type quantizeFlags struct {
	modelFlags
	source, out, version string
	observer             string
	percentile           float64
	frames, scan         int
	keep                 []string
}

// picked: so many times more frames than are wanted are remembered to choose from.
const picked = 16

func newCalibrateQuantize(a *app) *cobra.Command {
	f := &quantizeFlags{}
	c := &cobra.Command{
		Use:   "quantize",
		Short: "Make the integer networks of a bundle from a drive of your own camera",
		Long: "quantize runs the float networks of a bundle on frames of a drive, each relit by the relight\n" +
			"network before it reaches the segmentation network, gathers the ranges of the values inside, and\n" +
			"writes a new version of the bundle with int8 networks, golden vectors and a record. Python is not\n" +
			"needed. The drive is looked over once and played a second time: give a recording, not a live camera.\n\n" +
			"Work that is broken off goes on where it was when the same command is given again: it is kept in\n" +
			"OUT.calibration.json until the bundle is written. The same drive and settings give the same networks\n" +
			"on one machine and library. docs/quantisation.md says how ranges are made.\n\n" +
			"Exit code 3: the golden vectors do not hold on a provider of this machine; no bundle is left then.",
		Example: "  nightseg calibrate quantize --source drive/ --out mine\n" +
			"  nightseg calibrate quantize --bundle street-11 --source night.mp4 --out mine \\\n" +
			"      --observer percentile --percentile 99.99 --frames 128 --keep-float /head/\n" +
			"  nightseg calibrate quantize --source 'synth://?seed=1&frames=200' --out mine --json",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.quantize(c.Context(), f) },
	}
	fs := c.Flags()
	fs.StringVar(&f.bundle, "bundle", "", "bundle with the float networks, or the name of one that ships: "+
		checkoutBundle+" or "+packageBundle)
	fs.StringVar(&f.source, "source", "", "the drive: a folder of pictures, a video file, or synth://...")
	fs.StringVar(&f.out, "out", "", "folder to make; it must not be there yet")
	fs.StringVar(&f.observer, "observer", string(ranges.MinMax),
		"how ranges of the segmentation network are made: minmax, percentile, mse or entropy")
	fs.Float64Var(&f.percentile, "percentile", 99.99, "share of the values within the range, with --observer percentile")
	fs.IntVar(&f.frames, "frames", 64, "frames of the drive to run")
	fs.IntVar(&f.scan, "scan", 20000, "frames of the drive to look at, at most")
	fs.StringSliceVar(&f.keep, "keep-float", nil, "nodes that stay float: parts of their names, such as /head/")
	fs.StringVar(&f.version, "set-version", "", "version of the new bundle (default: one patch above)")
	fs.StringVar(&f.Provider, "provider", model.CPU, "hardware that makes the golden vectors: cpu, openvino, ...")
	fs.IntVar(&f.Threads, "threads", 0, "processor threads of the networks; 0: one per core")
	fs.StringVar(&f.LibDir, "lib-dir", "", "folder of the engine's library (default: where the set-up put it)")
	fs.StringVar(&f.CacheDir, "cache-dir", "", "folder for compiled networks (default: the user's cache)")
	return c
}

// check refuses flags before anything is read.
func (f *quantizeFlags) check() error {
	for flag, v := range map[string]string{"source": f.source, "out": f.out} {
		if v == "" {
			return fail(exitUsage, "--%s is missing (see nightseg calibrate quantize --help)", flag)
		}
	}
	f.out = filepath.Clean(f.out)
	if exists(f.out) {
		return fail(exitUsage, "--out %s is there already: name a folder that is not", f.out)
	}
	if !exists(filepath.Dir(f.out)) {
		return fail(exitUsage, "--out %s: the folder around it is not there: make it first", f.out)
	}
	s := ranges.Settings{Method: ranges.Method(f.observer), Percentile: f.percentile}
	if err := s.Validate(); err != nil {
		return fail(exitUsage, "--observer, --percentile: %w", err)
	}
	for flag, n := range map[string]int{"frames": f.frames, "scan": f.scan} {
		if n < 1 {
			return fail(exitUsage, "--%s %d must be above 0", flag, n)
		}
	}
	return nil
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
	r, err := quantize.Run(ctx, a.quantizeOptions(f, b))
	if err != nil {
		var unknown *quantize.UnknownNameError
		if errors.As(err, &unknown) {
			return fail(exitUsage, "--keep-float %q: %w; names are as a viewer of ONNX files shows them, "+
				"such as /net/head/head.1/Conv", unknown.Name, err)
		}
		if exists(quantize.StateFile(f.out)) {
			a.notef("the work so far is in %s: the same command goes on from there", quantize.StateFile(f.out))
		}
		return err
	}
	n, err := b.NewIntegers(model.IntegerOptions{
		Out: f.out, Version: f.version, Networks: r.Networks, Calibration: r.Record, Now: time.Now(),
		Engine: func(b *model.Bundle) (model.Engine, error) {
			o := f.Options
			o.Precision = model.INT8
			return openEngine(engineORT, b, o)
		},
	})
	if err != nil {
		return err
	}
	v, err := checkIntegers(n, f)
	if err != nil {
		return errors.Join(err, os.RemoveAll(f.out))
	}
	return errors.Join(a.quantizeReport(n, r, v), quantize.Done(f.out))
}

func (a *app) quantizeOptions(f *quantizeFlags, b *model.Bundle) quantize.Options {
	return quantize.Options{
		Bundle: b, Out: f.out, Drive: filepath.Base(camera.Redact(f.source)),
		Observer: ranges.Settings{Method: ranges.Method(f.observer), Percentile: f.percentile},
		Frames:   f.frames, Scan: f.scan, Keep: f.keep, Chooser: pick.New(picked * f.frames),
		Threads: f.Threads, Machine: machineName(),
		Open: func(ctx context.Context) (quantize.Source, error) {
			return openCamera(ctx, settings.Camera{ID: "calibrate", Source: f.source, Fit: "bundle"}, b, playMax)
		},
		Load: func(m *onnx.Model, shape []int64) (quantize.Network, error) {
			return ort.NewRunner(m, shape, f.Options)
		},
		Progress: func(what string, total int) (step, done func()) {
			bar := a.progress(total, what)
			return func() { bar.Add(1) }, bar.Done
		},
	}
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
	Float   map[string][]string `json:"float"` // nodes with weights that stay float, by graph
	Checks  []checkLine         `json:"checks"`
}

func (a *app) quantizeReport(n *model.Bundle, r *quantize.Result, v *verification) error {
	d := quantizeDone{
		Path: n.Path, Version: n.Version, SHA256: n.SHA256, Looked: r.Looked, Ran: r.Ran, Resumed: r.Resumed,
		Bytes: map[string]int{}, Float: r.Kept, Checks: v.Checks,
	}
	for name, data := range r.Networks {
		d.Bytes[name] = len(data)
	}
	if a.json {
		return a.printJSON(d)
	}
	a.printf("%s: %s %s, ranges of %d of %d frames\n", n.Path, n.Name, n.Version, r.Ran, r.Looked)
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
	return nil
}
