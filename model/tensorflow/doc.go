// Package tensorflow holds the engine that runs a bundle with TensorFlow, for
// comparison with the one in model/ort and for machines that have TensorFlow and
// no ONNX Runtime. It is part of a program that is built with the tag
// `tensorflow`; in another build Open says so.
//
// It runs the SavedModels that scripts/savedmodel.sh makes of the bundle's fp32
// networks, on the processor. The int8 networks are written for ONNX Runtime: asked
// for by name they are an error here, and the automatic choice is fp32.
//
// The program is linked against the library that scripts/setup-tensorflow.sh puts
// into .cache/tensorflow/lib; without it the system refuses to start the program and
// names libtensorflow.so. The binding allocates the outputs of each run, so that this
// engine, unlike the other, is not free of allocations.
package tensorflow
