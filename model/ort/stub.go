//go:build !cgo

package ort

import (
	"errors"

	"nightseg/edge/frame"
	"nightseg/model"
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
