package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"

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
	parallel       int // engines of the bundle; 0: one
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

// openBundle opens the bundle that the flags name.
func (f *modelFlags) openBundle() (*model.Bundle, error) {
	path, err := findBundle(f.bundle)
	if err != nil {
		return nil, err
	}
	return model.OpenIn(path, f.CacheDir)
}

// open opens bundle and engine and replays the golden vectors once per machine.
func (f *modelFlags) open(ctx context.Context) (*model.Bundle, engine, error) {
	b, err := f.openBundle()
	if err != nil {
		return nil, nil, err
	}
	e, err := openPool(f.engine, b, f.Options, f.parallel)
	if err != nil {
		return nil, nil, err
	}
	if _, _, err := model.VerifyOnce(ctx, b, f.CacheDir, e); err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	return b, e, nil
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

// findBundle returns the path of a bundle: an existing path as it is, a bare
// name from the checkout around the working directory or the program, or from
// the package; without a name, the default of the first place that has it.
func findBundle(name string) (string, error) {
	return bundleIn(name, checkoutDirs(), packageDir)
}

// bundleIn is findBundle over the given folders of bundles.
func bundleIn(name string, checkouts []string, installed string) (string, error) {
	if name != "" && (filepath.Base(name) != name || exists(name)) {
		return name, nil
	}
	for _, dir := range checkouts {
		if p := filepath.Join(dir, cmp.Or(name, checkoutBundle)); exists(filepath.Join(p, model.ManifestName)) {
			return p, nil
		}
	}
	if p := filepath.Join(installed, cmp.Or(name, packageBundle)); exists(filepath.Join(p, model.ManifestName)) {
		return p, nil
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
