// Package ort holds the engine that runs a bundle with ONNX Runtime, loaded as a
// shared library when the first engine is opened.
//
// Providers are tried in the order TensorRT, CUDA, OpenVINO, CPU, of those that
// the library at hand has. One that is asked for by name must take every node of
// every graph. Inputs and outputs are bound once; the output tensor of the relight
// network is the input tensor of the segmentation network, and nothing is
// allocated per frame.
package ort
