//go:build !cgo

package ort

import (
	"errors"

	"nightseg/edge/frame"
	"nightseg/model"
	onnxfile "nightseg/model/onnx"
)

var errNoCgo = errors.New("this program was built without cgo and has no ONNX Runtime engine; " +
	"build it with CGO_ENABLED=1 and gcc")

// Engine cannot be had in a build without cgo.
type Engine struct{}

// Open says that this build has no ONNX Runtime.
func Open(*model.Bundle, model.Options) (*Engine, error) { return nil, errNoCgo }

// Infer says that this build has no ONNX Runtime.
func (*Engine) Infer(*frame.Logits, *frame.Frame) error { return errNoCgo }

// Relit says that this build has no ONNX Runtime.
func (*Engine) Relit(*frame.Frame) error { return errNoCgo }

// Info is empty in this build.
func (*Engine) Info() model.Info { return model.Info{} }

// Close does nothing.
func (*Engine) Close() error { return nil }

// Runner cannot be had in a build without cgo.
type Runner struct{}

// NewRunner says that this build has no ONNX Runtime.
func NewRunner(*onnxfile.Model, []int64, model.Options) (*Runner, error) { return nil, errNoCgo }

// Floats is empty in this build.
func (*Runner) Floats() []float32 { return nil }

// Bytes is empty in this build.
func (*Runner) Bytes() []uint8 { return nil }

// Library is empty in this build.
func (*Runner) Library() string { return "" }

// Run says that this build has no ONNX Runtime.
func (*Runner) Run(func(string, []int64, []float32) error) error { return errNoCgo }

// Close does nothing.
func (*Runner) Close() error { return nil }
