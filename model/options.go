package model

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The names of the execution providers, in the order in which they are tried.
const (
	TensorRT = "tensorrt"
	CUDA     = "cuda"
	OpenVINO = "openvino"
	CPU      = "cpu"
)

// Options choose how an engine runs a bundle. The zero value means the best
// that the machine has.
type Options struct {
	// Provider is tensorrt, cuda, openvino, cpu, or auto ("" is the same). One that is asked
	// for by name and is missing, or cannot take every node, is an error.
	Provider string
	// Precision is fp32, fp16, int8, or auto ("" is the same): int8 where the bundle has it, else fp32.
	Precision string
	// Threads is the number of processor threads of one inference; 0 means one per core.
	Threads int
	// CacheDir holds compiled networks between runs; "" means DefaultCacheDir.
	CacheDir string
	// LibDir holds the engine's shared library; "" means that it is searched for.
	LibDir string
}

// Info says what an engine is and does.
type Info struct {
	Engine    string `json:"engine"`    // onnxruntime or tensorflow
	Provider  string `json:"provider"`  // the first of the providers at work
	Precision string `json:"precision"` // of the segment graph
	Library   string `json:"library"`   // name and version of the shared library
	Threads   int    `json:"threads"`
	Parallel  int    `json:"parallel,omitempty"` // frames that it takes at a time, which share the threads; 0: one
	// NodeShare is the share of the graphs' nodes that each provider runs, measured; the sum is 1.
	NodeShare map[string]float64 `json:"node_share"`
	// LoadTime is what opening took, compilation or the reading of the compiled form included.
	LoadTime time.Duration `json:"load_time_ns"`
	// Notes say what a user should know: a provider that was passed over and why, a graph in another precision.
	Notes []string `json:"notes,omitempty"`
}

// DefaultCacheDir returns the folder for compiled networks, unpacked bundles and
// the record of checked ones: NIGHTSEG_CACHE, else the service's own cache
// folder, else the user's.
func DefaultCacheDir() string {
	if d := os.Getenv("NIGHTSEG_CACHE"); d != "" {
		return d
	}
	if d, _, _ := strings.Cut(os.Getenv("CACHE_DIRECTORY"), ":"); d != "" { // set by systemd
		return d
	}
	if d, err := os.UserCacheDir(); err == nil {
		return filepath.Join(d, "nightseg")
	}
	return filepath.Join(os.TempDir(), "nightseg-cache")
}

// cacheDirOr returns dir, or the default one where it is empty.
func cacheDirOr(dir string) string {
	if dir == "" {
		return DefaultCacheDir()
	}
	return dir
}
