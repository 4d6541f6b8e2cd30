//go:build tensorflow && cgo

package tensorflow

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	tf "github.com/tensorflow/tensorflow/tensorflow/go"

	"nightseg/edge/frame"
	"nightseg/model"
)

// The binding frees the memory of outputs, megabytes each, when the collector
// finds their small handles, and the collector does not know what they hold on to.
const collectEvery = 32 // frames

// Engine runs the networks of one bundle at its default input shape. Its methods
// may be called from several goroutines; they wait for each other.
type Engine struct {
	mu     sync.Mutex
	b      *model.Bundle
	h, w   int
	lh, lw int
	info   model.Info
	frames int
	closed bool

	segment, relight *session
	logits           tensor // layout of the segmentation network's output
	table            *model.Normaliser
	planes, image    *tf.Tensor // inputs, allocated once
	planesMem        []float32  // memory of planes: NHWC
	imageMem         []byte

	last  frame.Meta
	relit *tf.Tensor // of the last frame, nil where it was not relit
}

// Open loads the SavedModels of a bundle. Precisions other than fp32 and
// providers other than cpu are refused.
func Open(b *model.Bundle, o model.Options) (*Engine, error) {
	start := time.Now()
	if o.Provider != "" && o.Provider != model.Auto && o.Provider != model.CPU {
		return nil, fmt.Errorf("tensorflow: no provider %q, only cpu", o.Provider)
	}
	if o.Precision != "" && o.Precision != model.Auto && o.Precision != model.FP32 {
		return nil, fmt.Errorf("tensorflow: no precision %q: this engine runs the fp32 networks of a bundle only; "+
			"choose fp32, or the engine onnxruntime", o.Precision)
	}
	if o.LibDir != "" {
		return nil, fmt.Errorf("tensorflow: the library is chosen when the program is linked, not by the folder %s; "+
			"leave it out", o.LibDir)
	}
	if own := b.Own(); own != b {
		return nil, fmt.Errorf("tensorflow: this engine runs a bundle at its default shape, %dx%d, alone; "+
			"choose that, or the engine onnxruntime", own.Shapes[0][1], own.Shapes[0][0])
	}
	if o.Threads <= 0 {
		o.Threads = runtime.NumCPU()
	}
	e := &Engine{b: b, h: b.Shapes[0][0], w: b.Shapes[0][1], table: model.NewNormaliser(b.Normalise)}
	e.lh, e.lw = b.LogitSize(e.h, e.w)
	if err := e.load(o); err != nil {
		return nil, errors.Join(fmt.Errorf("tensorflow: %w", err), e.Close())
	}
	e.info = model.Info{
		Engine: "tensorflow", Provider: model.CPU, Precision: model.FP32, Library: "tensorflow " + tf.Version(),
		Threads: o.Threads, NodeShare: map[string]float64{model.CPU: 1}, LoadTime: time.Since(start),
	}
	if _, ok := b.Graphs.Segment.Files[model.INT8]; ok {
		e.info.Notes = append(e.info.Notes, "runs in fp32: the int8 networks of the bundle are for the engine onnxruntime")
	}
	return e, nil
}

func (e *Engine) load(o model.Options) error {
	dir, err := findSavedModels(e.b, o.CacheDir)
	if err != nil {
		return err
	}
	m, err := readSavedModels(dir)
	if err != nil {
		return err
	}
	if e.segment, err = m.Segment.load(dir, o.Threads); err != nil {
		return err
	}
	e.logits = m.Segment.Output
	c := int64(len(e.b.Classes))
	want := []int64{1, c, int64(e.lh), int64(e.lw)}
	if e.logits.Layout == "NHWC" {
		want = []int64{1, int64(e.lh), int64(e.lw), c}
	}
	shape := []int64{1, int64(e.h), int64(e.w), 3}
	if !slices.Equal(e.logits.Shape, want) || !slices.Equal(m.Segment.Input.Shape, shape) {
		return &model.FileError{
			File: filepath.Join(dir, "savedmodel.json"), Remedy: remedyAgain, Problem: fmt.Sprintf(
				"the segment network makes %v of %v, not %v of %v", e.logits.Shape, m.Segment.Input.Shape, want, shape),
		}
	}
	if e.b.Graphs.Relight != nil && m.Relight == nil {
		return &model.FileError{
			File: filepath.Join(dir, "savedmodel.json"), Problem: "lacks the relight network of the bundle", Remedy: remedyAgain,
		}
	}
	if m.Relight != nil {
		if e.relight, err = m.Relight.load(dir, o.Threads); err != nil {
			return err
		}
		if !slices.Equal(m.Relight.Output.Shape, shape) {
			return &model.FileError{
				File: filepath.Join(dir, "savedmodel.json"), Remedy: remedyAgain,
				Problem: fmt.Sprintf("the relight network makes %v, not %v", m.Relight.Output.Shape, shape),
			}
		}
	}
	return e.allocate(shape, m.Segment.Input.Type == "uint8")
}

func (e *Engine) allocate(shape []int64, bytesOnly bool) (err error) {
	n := 3 * e.h * e.w
	if e.image, err = tf.ReadTensor(tf.Uint8, shape, bytes.NewReader(make([]byte, n))); err != nil {
		return err
	}
	if e.imageMem, err = memory(e.image); err != nil || bytesOnly {
		return err
	}
	if e.planes, err = tf.ReadTensor(tf.Float, shape, bytes.NewReader(make([]byte, 4*n))); err != nil {
		return err
	}
	mem, err := memory(e.planes)
	if err != nil {
		return err
	}
	e.planesMem = floats(mem)
	return nil
}

// sink keeps the slice that it is asked to write.
type sink struct{ b []byte }

func (s *sink) Write(b []byte) (int, error) {
	s.b = b
	return len(b), nil
}

// memory returns the bytes of a tensor themselves, which live as long as it does.
func memory(t *tf.Tensor) ([]byte, error) {
	var s sink
	if _, err := t.WriteContentsTo(&s); err != nil {
		return nil, err
	}
	return s.b, nil
}

func floats(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// Infer runs the networks on src, which must have the bundle's input size, and
// writes class-major logits at the network's stride into dst. The relight network
// runs first when src.Relight is frame.RelightNetwork. The meta is copied. A NaN or
// an infinity among the logits gives model.ErrNotFinite.
func (e *Engine) Infer(dst *frame.Logits, src *frame.Frame) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errors.New("tensorflow: the engine is closed")
	}
	if src.W != e.w || src.H != e.h || len(src.Pix) != 3*e.w*e.h {
		return fmt.Errorf("tensorflow: a frame of %dx%d where bundle %s takes %dx%d",
			src.W, src.H, e.b.Name, e.w, e.h)
	}
	e.last, e.relit = src.Meta, nil
	in, err := e.input(src)
	if err != nil {
		return fmt.Errorf("tensorflow: %w", err)
	}
	out, err := e.segment.run(in)
	if err != nil {
		return fmt.Errorf("tensorflow: segment network: %w", err)
	}
	mem, err := memory(out)
	if err != nil {
		return fmt.Errorf("tensorflow: %w", err)
	}
	err = e.copyLogits(dst, src, floats(mem))
	runtime.KeepAlive(out)
	if e.frames++; e.frames%collectEvery == 0 {
		runtime.GC()
	}
	return err
}

// input returns what the segmentation network is to be fed with.
func (e *Engine) input(src *frame.Frame) (*tf.Tensor, error) {
	if src.Relight == frame.RelightNetwork {
		if e.relight == nil {
			return nil, fmt.Errorf("bundle %s: %w", e.b.Name, model.ErrNoRelight)
		}
		copy(e.imageMem, src.Pix)
		out, err := e.relight.run(e.image)
		if err != nil {
			return nil, fmt.Errorf("relight network: %w", err)
		}
		e.relit = out
		return out, nil
	}
	if e.planes == nil {
		copy(e.imageMem, src.Pix)
		return e.image, nil
	}
	e.table.Pixels(e.planesMem, src.Pix)
	return e.planes, nil
}

func (e *Engine) copyLogits(dst *frame.Logits, src *frame.Frame, v []float32) error {
	c := len(e.b.Classes)
	dst.Reset(c, e.lh, e.lw)
	dst.Meta, dst.OutH, dst.OutW = src.Meta, e.h, e.w
	if len(v) != len(dst.Data) {
		return fmt.Errorf("tensorflow: %d logits, not %d", len(v), len(dst.Data))
	}
	for _, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("tensorflow: frame %d: %w", src.Seq, model.ErrNotFinite)
		}
	}
	if e.logits.Layout != "NHWC" {
		copy(dst.Data, v)
		return nil
	}
	n := e.lh * e.lw
	for i := range n {
		for k, x := range v[i*c:][:c] {
			dst.Data[k*n+i] = x
		}
	}
	return nil
}

// Relit writes the relit picture of the last Infer as RGB bytes, with its meta.
// It is an error when that frame was not relit by the network.
func (e *Engine) Relit(dst *frame.Frame) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.relit == nil {
		return errors.New("tensorflow: the last frame was not relit by the network")
	}
	mem, err := memory(e.relit)
	if err != nil {
		return fmt.Errorf("tensorflow: %w", err)
	}
	dst.Reset(e.w, e.h)
	dst.Meta = e.last
	for i, v := range floats(mem) {
		x := 255*(float64(v)*e.b.Normalise.Std[i%3]+e.b.Normalise.Mean[i%3]) + 0.5
		dst.Pix[i] = uint8(min(max(x, 0), 255))
	}
	runtime.KeepAlive(e.relit)
	return nil
}

// Info says what runs the networks.
func (e *Engine) Info() model.Info { return e.info }

// Close releases the networks. It may be called twice.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.relit = nil
	if err := errors.Join(e.segment.close(), e.relight.close()); err != nil {
		return fmt.Errorf("tensorflow: %w", err)
	}
	return nil
}
