//go:build cgo

package ort

import (
	"errors"
	"fmt"
	"runtime"

	onnx "github.com/yalue/onnxruntime_go"

	"nightseg/model"
	onnxfile "nightseg/model/onnx"
)

// Runner runs a network that is in no bundle, with one input and any number of
// float32 outputs, on the processor. It is for tools: each run allocates.
type Runner struct {
	s       *onnx.DynamicAdvancedSession
	in      *buffer
	outputs []string
	library string
}

// NewRunner loads a network. Its input must be float32 or uint8 of a fixed shape,
// or shape says what it is to be.
func NewRunner(m *onnxfile.Model, shape []int64, o model.Options) (*Runner, error) {
	r, err := newRunner(m, shape, o)
	if err != nil {
		return nil, fmt.Errorf("onnxruntime: %w", errors.Join(err, r.Close()))
	}
	return r, nil
}

func newRunner(m *onnxfile.Model, shape []int64, o model.Options) (*Runner, error) {
	r := &Runner{}
	inputs := m.Graph.RealInputs()
	if len(inputs) != 1 {
		return r, fmt.Errorf("a network with %d inputs where 1 is wanted", len(inputs))
	}
	data, err := m.Marshal()
	if err != nil {
		return r, err
	}
	lib, err := FindLibrary(o.LibDir)
	if err != nil {
		return r, err
	}
	if err := lib.load(); err != nil {
		return r, err
	}
	r.library = "onnxruntime " + Version()
	for _, out := range m.Graph.Outputs {
		r.outputs = append(r.outputs, out.Name)
	}
	if r.in, err = newBuffer(inputs[0].Elem().String(), shape); err != nil {
		return r, err
	}
	keepSignalStack(func() { err = r.load(data, inputs[0].Name, o.Threads) })
	return r, err
}

func (r *Runner) load(data []byte, input string, threads int) error {
	opts, err := onnx.NewSessionOptions()
	if err != nil {
		return err
	}
	defer opts.Destroy() //nolint:errcheck // only releases
	if threads <= 0 {
		threads = runtime.NumCPU()
	}
	if err := errors.Join(opts.SetIntraOpNumThreads(threads), opts.SetInterOpNumThreads(1)); err != nil {
		return err
	}
	r.s, err = onnx.NewDynamicAdvancedSessionWithONNXData(data, []string{input}, r.outputs, opts)
	return err
}

// Floats returns the memory of a float32 input, nil where it is another; Bytes that
// of a uint8 input. Both are filled before Run.
func (r *Runner) Floats() []float32 { return r.in.f32 }

// Bytes returns the memory of a uint8 input.
func (r *Runner) Bytes() []uint8 { return r.in.u8 }

// Library is name and version of the shared library.
func (r *Runner) Library() string { return r.library }

// Run runs the network and calls see for each of its outputs in their order, with its
// shape; the values are gone after the call.
func (r *Runner) Run(see func(output string, shape []int64, values []float32) error) error {
	results := make([]onnx.Value, len(r.outputs))
	defer func() {
		for _, v := range results {
			if v != nil {
				_ = v.Destroy() // it only releases and cannot fail
			}
		}
	}()
	if err := r.s.Run([]onnx.Value{r.in.value}, results); err != nil {
		return fmt.Errorf("onnxruntime: %w", err)
	}
	for i, v := range results {
		t, ok := v.(*onnx.Tensor[float32])
		if !ok {
			return fmt.Errorf("onnxruntime: output %q is not of float32", r.outputs[i])
		}
		if err := see(r.outputs[i], t.GetShape(), t.GetData()); err != nil {
			return err
		}
	}
	return nil
}

// Close releases the network. It may be called twice.
func (r *Runner) Close() error {
	var err error
	if r.s != nil {
		keepSignalStack(func() { err = r.s.Destroy() })
		r.s = nil
	}
	r.in.close()
	r.in = nil
	return err
}
