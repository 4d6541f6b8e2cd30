//go:build !tensorflow || !cgo

package tensorflow

import (
	"errors"

	"nightseg/edge/frame"
	"nightseg/model"
)

var errNoTensorFlow = errors.New("tensorflow: this program was built without the tag `tensorflow`; " +
	"run `make build TAGS=tensorflow`, which sets TensorFlow up and builds with the tag")

// Engine cannot be had in a build without the tag.
type Engine struct{}

// Open says that this build has no TensorFlow.
func Open(*model.Bundle, model.Options) (*Engine, error) { return nil, errNoTensorFlow }

// Infer says that this build has no TensorFlow.
func (*Engine) Infer(*frame.Logits, *frame.Frame) error { return errNoTensorFlow }

// Relit says that this build has no TensorFlow.
func (*Engine) Relit(*frame.Frame) error { return errNoTensorFlow }

// Info is empty in this build.
func (*Engine) Info() model.Info { return model.Info{} }

// Close does nothing.
func (*Engine) Close() error { return nil }
