//go:build cgo

package main

import "nightseg/model/ort"

// ortProviders lists the providers of the ONNX Runtime at hand, in the order in
// which they are tried.
func ortProviders(libDir string) ([]string, error) {
	l, err := ort.FindLibrary(libDir)
	if err != nil {
		return nil, err
	}
	return l.Providers(), nil
}

// ortLibrary is the path of the library at hand.
func ortLibrary(libDir string) (string, error) {
	l, err := ort.FindLibrary(libDir)
	if err != nil {
		return "", err
	}
	return l.File, nil
}
