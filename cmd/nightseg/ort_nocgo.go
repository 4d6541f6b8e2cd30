//go:build !cgo

package main

import "errors"

var errNoORT = errors.New("this program was built without cgo and has no ONNX Runtime: " +
	"build it with CGO_ENABLED=1")

func ortProviders(string) ([]string, error) { return nil, errNoORT }

func ortLibrary(string) (string, error) { return "", errNoORT }
