//go:build cgo

package ort

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	onnx "github.com/yalue/onnxruntime_go"
	"golang.org/x/sys/unix"

	"nightseg/model"
)

// configure sets threads, providers and caches.
func (e *Engine) configure(opts *onnx.SessionOptions, src *source, p plan) error {
	threads := e.info.Threads
	err := errors.Join(
		opts.SetExecutionMode(onnx.ExecutionModeSequential),
		opts.SetInterOpNumThreads(1),
		// Each session has threads of its own; without this those of the last network
		// still spin, waiting for work, while the next network runs.
		opts.AddSessionConfigEntry("session.force_spinning_stop", "1"),
	)
	if p.strict && p.first() != model.CPU {
		err = errors.Join(err, opts.AddSessionConfigEntry("session.disable_cpu_ep_fallback", "1"))
		threads = 1 // the runtime's own threads have nothing to do
	}
	err = errors.Join(err, opts.SetIntraOpNumThreads(threads))
	for _, name := range p.providers {
		switch name {
		case model.TensorRT:
			err = errors.Join(err, e.appendTensorRT(opts, src))
		case model.CUDA:
			err = errors.Join(err, appendCUDA(opts))
		case model.OpenVINO:
			err = errors.Join(err, e.appendOpenVINO(opts, src))
		}
	}
	return err
}

func (e *Engine) appendOpenVINO(opts *onnx.SessionOptions, src *source) error {
	options := map[string]string{
		"device_type":    "CPU",
		"precision":      "FP32", // of what is not integer; never bfloat16 unasked
		"num_of_threads": strconv.Itoa(e.info.Threads),
	}
	if e.info.Threads < runtime.NumCPU() {
		// Its threads would be tied to the first cores, and so would those of another engine beside it.
		options["load_config"] = `{"CPU":{"ENABLE_CPU_PINNING":"NO"}}`
	}
	if dir := e.makeCache(src, model.OpenVINO); dir != "" {
		options["cache_dir"] = dir
	}
	// OpenVINO optimises by itself and knows the quantised form as the file has it.
	return errors.Join(opts.SetGraphOptimizationLevel(onnx.GraphOptimizationLevelDisableAll),
		opts.AppendExecutionProviderOpenVINO(options))
}

func (e *Engine) appendTensorRT(opts *onnx.SessionOptions, src *source) error {
	t, err := onnx.NewTensorRTProviderOptions()
	if err != nil {
		return err
	}
	defer t.Destroy() //nolint:errcheck // only releases
	options := map[string]string{"trt_fp16_enable": "0", "trt_int8_enable": "0"}
	switch e.info.Precision {
	case model.FP16:
		options["trt_fp16_enable"] = "1"
	case model.INT8:
		options["trt_int8_enable"] = "1"
	}
	if dir := e.makeCache(src, model.TensorRT); dir != "" {
		options["trt_engine_cache_enable"], options["trt_engine_cache_path"] = "1", dir
		options["trt_timing_cache_enable"], options["trt_timing_cache_path"] = "1", dir
	}
	if err := t.Update(options); err != nil {
		return err
	}
	return opts.AppendExecutionProviderTensorRT(t)
}

func appendCUDA(opts *onnx.SessionOptions) error {
	c, err := onnx.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer c.Destroy() //nolint:errcheck // only releases
	return opts.AppendExecutionProviderCUDA(c)
}

// makeCache returns the folder for a provider's compiled form of a graph, or ""
// where it cannot be made: the engine then compiles at each start.
func (e *Engine) makeCache(src *source, provider string) string {
	dir := e.cachePath(src, provider)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		e.note("no engine cache: " + err.Error())
		return ""
	}
	return dir
}

// lockCache keeps other processes from reading a compiled form that is half
// written. Where there is no cache there is nothing to lock.
func (e *Engine) lockCache(src *source, p plan) (unlock func()) {
	f, err := os.OpenFile(filepath.Join(e.cachePath(src, p.first()), "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return func() {}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close() // not locked: nothing to undo
		return func() {}
	}
	return func() { _ = f.Close() } // closing unlocks
}
