package main

import (
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

// defaultBundle is the folder, in a checkout or a package, of the bundle that ships.
const defaultBundle = "street-11"

// engine runs the networks of a bundle.
type engine interface {
	model.Engine
	Relit(dst *frame.Frame) error
}

// modelFlags are the flags that choose a bundle and how it runs.
type modelFlags struct {
	bundle, engine string
	model.Options
}

func (f *modelFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.bundle, "bundle", "", "folder or .tar.zst of the networks (default: the one that ships)")
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
	e, err := openEngine(f.engine, b, f.Options)
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

// findBundle returns path, or where it is empty the bundle that ships: of the
// checkout around the working directory or the program, or of the package.
func findBundle(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	var places []string
	for _, start := range startDirs() {
		for dir := start; ; dir = filepath.Dir(dir) {
			places = append(places, filepath.Join(dir, "model", "bundles", defaultBundle))
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	places = append(places, filepath.Join("/usr/share/nightseg/bundles", defaultBundle))
	for _, p := range places {
		if _, err := os.Stat(filepath.Join(p, model.ManifestName)); err == nil {
			return p, nil
		}
	}
	return "", fail(exitUsage, "no bundle found: name one with --bundle, or start nightseg in a checkout")
}

func startDirs() []string {
	var dirs []string
	if d, err := os.Getwd(); err == nil {
		dirs = append(dirs, d)
	}
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(exe))
	}
	return dirs
}
