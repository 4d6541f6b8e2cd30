package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/pflag"

	"nightseg/edge/frame"
	"nightseg/model"
	"nightseg/model/ort"
	"nightseg/model/tensorflow"
)

// The names of the engines.
const (
	engineORT        = "onnxruntime"
	engineTensorFlow = "tensorflow"
)

// The bundles that ship, and where a package has them. Research data made the
// one of a checkout; the other's licence lets anyone hand it on.
const (
	checkoutBundle = "street-11"
	packageBundle  = "synth-11"
	packageDir     = "/usr/share/nightseg/bundles"
)

// engine runs the networks of a bundle.
type engine interface {
	model.Engine
	Relit(dst *frame.Frame) error
}

// modelFlags are the flags that choose a bundle and how it runs.
type modelFlags struct {
	bundle, engine string
	state          string // the service's folder, where updates put bundles; "": that of this machine
	parallel       int    // engines of the bundle; 0: one
	shape          string // WIDTHxHEIGHT of the pictures, one of the bundle's; "": its default
	model.Options
}

func (f *modelFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.bundle, "bundle", "", "folder or .tar.zst of the networks, or the name of one that ships: "+
		checkoutBundle+" (default in a checkout) or "+packageBundle+" (default of the package)")
	fs.StringVar(&f.engine, "engine", engineORT, "library that runs the networks: onnxruntime or tensorflow")
	fs.StringVar(&f.Provider, "provider", model.Auto, "hardware: auto, tensorrt, cuda, openvino or cpu")
	fs.StringVar(&f.Precision, "precision", model.Auto, "networks: auto, int8 or fp32")
	fs.IntVar(&f.Threads, "threads", 0, "processor threads of the networks; 0: one per core")
	fs.StringVar(&f.LibDir, "lib-dir", "", "folder of the engine's library (default: where the set-up put it)")
	fs.StringVar(&f.CacheDir, "cache-dir", "", "folder for compiled networks (default: the user's cache)")
}

func (f *modelFlags) addShape(fs *pflag.FlagSet) {
	fs.StringVar(&f.shape, "shape", "", "`WIDTHxHEIGHT` of what the networks see and of the masks, one of the "+
		"bundle's, which bundle info lists (default: the first)")
}

// mostParallel bounds --parallel: each frame has an engine with memory of its own.
const mostParallel = 8

// addParallel adds the flag; without says what 0 means.
func (f *modelFlags) addParallel(fs *pflag.FlagSet, without string) {
	fs.IntVar(&f.parallel, "parallel", 0, "frames in the networks at a time, which share --threads: more a second,\n"+
		"each later; "+without)
}

func (f *modelFlags) checkParallel() error {
	if f.parallel < 0 || f.parallel > mostParallel {
		return fail(exitUsage, "--parallel %d is outside 0 to %d", f.parallel, mostParallel)
	}
	return nil
}

// perThread is --parallel, or one frame a thread where it is 0.
func (f *modelFlags) perThread() int {
	return cmp.Or(f.parallel, min(cmp.Or(f.Threads, runtime.NumCPU()), mostParallel))
}

// openBundle opens the bundle that the flags name, at the shape that they say.
func (f *modelFlags) openBundle() (*model.Bundle, error) {
	path := bundleOfUpdate(cmp.Or(f.state, deviceState()), f.bundle)
	if path == "" {
		var err error
		if path, err = findBundle(f.bundle); err != nil {
			return nil, err
		}
	}
	b, err := model.OpenIn(path, f.CacheDir)
	if err != nil || f.shape == "" {
		return b, err
	}
	var w, h int
	if n, err := fmt.Sscanf(f.shape, "%dx%d", &w, &h); n != 2 || err != nil || fmt.Sprintf("%dx%d", w, h) != f.shape {
		return nil, fail(exitUsage, "--shape %q is not of the form WIDTHxHEIGHT, such as 640x480", f.shape)
	}
	if b, err = b.At([2]int{h, w}); err != nil {
		return nil, usage(fmt.Errorf("--shape: %w", err))
	}
	return b, nil
}

// open opens bundle and engine and replays the golden vectors once per machine.
// Where nobody asked for a precision and the int8 networks do not hold on this
// machine, as on a processor that cuts sums of 8-bit products off, those in float do
// its work: slower, but right.
func (f *modelFlags) open(ctx context.Context) (*model.Bundle, engine, error) {
	b, err := f.openBundle()
	if err != nil {
		return nil, nil, err
	}
	e, err := f.openVerified(ctx, b)
	if f.fallsBack(b, err) {
		slog.Warn("fp32 runs in place of int8, which takes longer", "why", err, "remedy", int8Remedy)
		float := *f
		float.Precision = model.FP32
		e, err = float.openVerified(ctx, b)
	}
	return b, e, err
}

const int8Remedy = "nightseg calibrate quantize --weight-bits 7 makes int8 networks that hold on this machine"

// fallsBack reports whether fp32 runs in place of int8 networks that were not asked
// for and failed so.
func (f *modelFlags) fallsBack(b *model.Bundle, err error) bool {
	var bad *model.CheckError
	if !errors.As(err, &bad) || bad.Check.Precision != model.INT8 || f.Precision != model.Auto && f.Precision != "" {
		return false
	}
	_, err = b.Precision(model.FP32)
	return err == nil
}

// openVerified opens the engine of a bundle and replays the golden vectors.
func (f *modelFlags) openVerified(ctx context.Context, b *model.Bundle) (engine, error) {
	e, err := openPool(f.engine, b, f.Options, f.parallel)
	if err != nil {
		return nil, err
	}
	if err := f.verifyOnce(ctx, b, e); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// verifyOnce replays the golden vectors once per machine. They are of the shape
// that the bundle's files have: an engine of another shape is stood in for by one
// of that shape.
func (f *modelFlags) verifyOnce(ctx context.Context, b *model.Bundle, e engine) error {
	own := b.Own()
	if own == b {
		_, _, err := model.VerifyOnce(ctx, b, f.CacheDir, e)
		return err
	}
	s := &standIn{info: e.Info(), open: func() (engine, error) {
		return openPool(f.engine, own, f.Options, f.parallel)
	}}
	_, _, err := model.VerifyOnce(ctx, own, f.CacheDir, s)
	return errors.Join(err, s.close())
}

// standIn is an engine that is opened when a frame comes.
type standIn struct {
	info   model.Info
	open   func() (engine, error)
	opened engine
}

// Info implements model.Inferer.
func (s *standIn) Info() model.Info { return s.info }

// Infer implements model.Inferer.
func (s *standIn) Infer(dst *frame.Logits, src *frame.Frame) (err error) {
	if s.opened == nil {
		if s.opened, err = s.open(); err != nil {
			return err
		}
	}
	return s.opened.Infer(dst, src)
}

func (s *standIn) close() error {
	if s.opened == nil {
		return nil
	}
	return s.opened.Close()
}

// openEngine opens an engine by its name.
func openEngine(kind string, b *model.Bundle, o model.Options) (engine, error) {
	switch kind {
	case engineORT, "ort":
		return ort.Open(b, o)
	case engineTensorFlow, "tf":
		return tensorflow.Open(b, o)
	}
	return nil, fail(exitUsage, "--engine %q is not onnxruntime or tensorflow", kind)
}

// bundleOfUpdate returns the path of a bundle NAME@VERSION that an update has put into a
// slot, "" where there is none.
func bundleOfUpdate(state, name string) string {
	if !strings.Contains(name, "@") || filepath.Base(name) != name {
		return ""
	}
	for _, slot := range []string{"a", "b"} {
		if p := filepath.Join(state, "bundles", slot, name); exists(filepath.Join(p, model.ManifestName)) {
			return p
		}
	}
	return ""
}

// installedDirs are where packages have bundles: beside this program, which may be in a
// slot of updates, and in the system.
func installedDirs() []string {
	if exe, err := os.Executable(); err == nil {
		return []string{filepath.Join(filepath.Dir(exe), "..", "share", "nightseg", "bundles"), packageDir}
	}
	return []string{packageDir}
}

// findBundle returns the path of a bundle: an existing path as it is, a bare
// name from the checkout around the working directory or the program, or from
// the package; without a name, the default of the first place that has it.
func findBundle(name string) (string, error) {
	return bundleIn(name, checkoutDirs(), installedDirs()...)
}

// bundleIn is findBundle over the given folders of bundles.
func bundleIn(name string, checkouts []string, installed ...string) (string, error) {
	if name != "" && (filepath.Base(name) != name || exists(name)) {
		return name, nil
	}
	for _, dir := range checkouts {
		if p := filepath.Join(dir, cmp.Or(name, checkoutBundle)); exists(filepath.Join(p, model.ManifestName)) {
			return p, nil
		}
	}
	for _, dir := range installed {
		if p := filepath.Join(dir, cmp.Or(name, packageBundle)); exists(filepath.Join(p, model.ManifestName)) {
			return p, nil
		}
	}
	if name != "" {
		return "", fail(exitUsage, "--bundle %s: no such file or folder, and no bundle of that name ships (%s, %s)",
			name, checkoutBundle, packageBundle)
	}
	return "", fail(exitUsage, "no bundle found: name one with --bundle, or start nightseg in a checkout")
}

// checkoutDirs returns where bundles would be in checkouts around the working
// directory and the program.
func checkoutDirs() []string {
	var starts, dirs []string
	if d, err := os.Getwd(); err == nil {
		starts = append(starts, d)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			dirs = append(dirs, filepath.Join(dir, "model", "bundles"))
		}
	}
	return dirs
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
