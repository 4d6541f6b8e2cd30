//go:build cgo

package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	onnx "github.com/yalue/onnxruntime_go"

	"nightseg/model"
)

// EnvLibDir is the environment variable that names the folder of the library.
const EnvLibDir = "NIGHTSEG_ORT_DIR"

// MinVersion is the oldest ONNX Runtime that has the C interface of this build.
const MinVersion = "1.24"

const remedySetup = "run `make setup-ort`, or set " + EnvLibDir + " to a folder with libonnxruntime.so"

// Library is a folder with an ONNX Runtime.
type Library struct {
	File string // path of libonnxruntime.so*
}

// FindLibrary looks for the shared library: in dir or the folder that
// NIGHTSEG_ORT_DIR names, and nowhere else when one of them is given; else in
// ../lib/nightseg beside the executable, in .cache/ort of a checkout around it or the
// working directory, in /usr/lib/nightseg, and where systems keep libraries.
func FindLibrary(dir string) (*Library, error) {
	origin := "the folder that was asked for"
	if dir == "" {
		dir, origin = os.Getenv(EnvLibDir), EnvLibDir
	}
	if dir != "" {
		if l := libraryIn(dir); l != nil {
			return l, nil
		}
		return nil, &model.FileError{File: dir, Problem: "no libonnxruntime.so in " + origin, Remedy: remedySetup}
	}
	dirs := searchDirs()
	for _, d := range dirs {
		if l := libraryIn(d); l != nil {
			return l, nil
		}
	}
	return nil, &model.FileError{
		File: "libonnxruntime.so", Remedy: remedySetup,
		Problem: "not found in " + strings.Join(dirs, ", "),
	}
}

func searchDirs() []string {
	var dirs []string
	add := func(d string) {
		if !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	var starts []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		starts = append(starts, filepath.Dir(exe))
		add(filepath.Join(filepath.Dir(exe), "..", "lib", "nightseg")) // of the package, wherever it was unpacked
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, d := range starts {
		if root := checkoutRoot(d); root != "" {
			add(filepath.Join(root, ".cache", "ort"))
		}
	}
	for _, d := range []string{
		"/usr/lib/nightseg", "/usr/local/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
	} {
		add(d)
	}
	return dirs
}

// checkoutRoot returns the nearest folder at or above d that holds a go.mod or a
// .cache/ort, or "".
func checkoutRoot(d string) string {
	for {
		for _, mark := range []string{"go.mod", filepath.Join(".cache", "ort")} {
			if _, err := os.Stat(filepath.Join(d, mark)); err == nil {
				return d
			}
		}
		up := filepath.Dir(d)
		if up == d {
			return ""
		}
		d = up
	}
}

// libraryIn returns the library of a folder, the one with the longest version
// where there are several names, or nil.
func libraryIn(dir string) *Library {
	names, err := filepath.Glob(filepath.Join(dir, "libonnxruntime.so*"))
	if err != nil || len(names) == 0 {
		return nil
	}
	abs, err := filepath.Abs(slices.Max(names))
	if err != nil {
		return nil
	}
	return &Library{File: abs}
}

// providerFiles are the plug-ins of the providers, beside the library itself.
var providerFiles = map[string]string{
	model.TensorRT: "libonnxruntime_providers_tensorrt.so",
	model.CUDA:     "libonnxruntime_providers_cuda.so",
	model.OpenVINO: "libonnxruntime_providers_openvino.so",
}

// providerOrder is the order in which automatic choice tries them.
var providerOrder = []string{model.TensorRT, model.CUDA, model.OpenVINO, model.CPU}

// Providers lists what the library has, in the order in which they are tried.
func (l *Library) Providers() []string {
	var ps []string
	for _, p := range providerOrder {
		if l.has(p) {
			ps = append(ps, p)
		}
	}
	return ps
}

func (l *Library) has(provider string) bool {
	if provider == model.CPU {
		return true
	}
	name, ok := providerFiles[provider]
	if !ok {
		return false
	}
	_, err := os.Stat(filepath.Join(filepath.Dir(l.File), name))
	return err == nil
}

// The runtime's environment exists once in a process and lives as long as it.
var env struct {
	sync.Mutex
	file string // library that is loaded, "" before
}

// load makes the library the one of this process.
func (l *Library) load() error {
	env.Lock()
	defer env.Unlock()
	if env.file != "" {
		if env.file != l.File {
			return fmt.Errorf("this process has loaded %s already and cannot load %s as well", env.file, l.File)
		}
		return nil
	}
	onnx.SetSharedLibraryPath(l.File)
	// Errors reach the caller as values; the runtime need not print them as well.
	if err := onnx.InitializeEnvironment(onnx.WithLogLevelFatal()); err != nil {
		problem := "cannot be loaded"
		if strings.Contains(err.Error(), "setting ORT API base: 2") {
			problem = "is too old: its C interface is not that of ONNX Runtime " + MinVersion
			err = errors.New("see docs/jetson.md for other versions")
		}
		return &model.FileError{File: l.File, Problem: problem, Err: err, Remedy: remedySetup}
	}
	env.file = l.File
	return nil
}

// Version returns the version of the loaded library, "" before the first engine.
func Version() string {
	env.Lock()
	defer env.Unlock()
	if env.file == "" {
		return ""
	}
	return onnx.GetVersion()
}
