//go:build cgo

package ort

import (
	"fmt"
	"unsafe"

	onnx "github.com/yalue/onnxruntime_go"
	"golang.org/x/sys/unix"
)

// buffer is the memory of one tensor. It lies outside the Go heap, because the
// runtime keeps its address between calls, and on a page boundary, which suits
// vector instructions.
type buffer struct {
	mem   []byte
	value onnx.Value
	u8    []uint8   // the values of a uint8 tensor
	f32   []float32 // the values of a float32 tensor
}

func newBuffer(kind string, shape []int64) (*buffer, error) {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	bytes := n
	if kind == "float32" {
		bytes *= 4
	}
	mem, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("tensor of %d bytes: %w", bytes, err)
	}
	b := &buffer{mem: mem}
	if kind == "float32" {
		b.f32 = unsafe.Slice((*float32)(unsafe.Pointer(&mem[0])), n)
		b.value, err = onnx.NewTensor(onnx.NewShape(shape...), b.f32)
	} else {
		b.u8 = mem
		b.value, err = onnx.NewTensor(onnx.NewShape(shape...), b.u8)
	}
	if err != nil {
		return nil, fmt.Errorf("tensor of shape %v: %w", shape, err)
	}
	return b, nil
}

func (b *buffer) close() {
	if b == nil || b.mem == nil {
		return
	}
	_ = b.value.Destroy()  // it only releases and cannot fail
	_ = unix.Munmap(b.mem) // as above: the mapping is ours
	b.mem, b.u8, b.f32 = nil, nil, nil
}
