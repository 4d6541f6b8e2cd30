//go:build cgo && !linux

package ort

// keepSignalStack only calls f: the library that needs it is for Linux.
func keepSignalStack(f func()) { f() }
