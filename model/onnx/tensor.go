package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// DType is the type of the values of a tensor.
type DType int32

// The types that this package or its users know by name.
const (
	Float    DType = 1
	Uint8    DType = 2
	Int8     DType = 3
	Int32    DType = 6
	Int64    DType = 7
	Bool     DType = 9
	Float16  DType = 10
	Double   DType = 11
	BFloat16 DType = 16
)

var typeNames = map[DType]string{
	Float: "float32", Uint8: "uint8", Int8: "int8", Int32: "int32", Int64: "int64", Bool: "bool",
	Float16: "float16", Double: "float64", BFloat16: "bfloat16",
}

// String returns the name of a type, or "type N" of a rare one.
func (t DType) String() string {
	if n, ok := typeNames[t]; ok {
		return n
	}
	return fmt.Sprintf("type %d", int32(t))
}

// Tensor is a constant (TensorProto). Its values are in Raw, little endian, or in
// one of the lists.
type Tensor struct {
	Name     string
	Type     DType
	Dims     []int64
	Raw      []byte
	Floats32 []float32
	Ints32   []int32 // also of smaller types, and the bits of float16
	Ints64   []int64
	Floats64 []float64
	Location int32 // 1: the values are in another file
	rest
}

const externalData protowire.Number = 13

func (t *Tensor) fields() []field {
	return []field{
		numbers(1, &t.Dims, varint[int64], false), integer(2, &t.Type), numbers(4, &t.Floats32, fixed32, true),
		numbers(5, &t.Ints32, varint[int32], true), numbers(7, &t.Ints64, varint[int64], true), text(8, &t.Name),
		blob(9, &t.Raw), numbers(10, &t.Floats64, fixed64, true), integer(14, &t.Location),
	}
}

// External reports whether the values are in another file.
func (t *Tensor) External() bool {
	return t.Location == 1 ||
		slices.ContainsFunc(t.unknown, func(f rawField) bool { return f.num == externalData })
}

// Len returns the number of values that the dimensions stand for.
func (t *Tensor) Len() (int, error) {
	n := int64(1)
	for _, d := range t.Dims {
		if d < 0 || d > maxSize {
			return 0, fmt.Errorf("tensor %q: dimensions %v", t.Name, t.Dims)
		}
		if n *= d; n > maxSize {
			return 0, fmt.Errorf("tensor %q: dimensions %v are too large", t.Name, t.Dims)
		}
	}
	return int(n), nil
}

// Floats returns the values of a tensor of float32, float16, bfloat16 or float64.
func (t *Tensor) Floats() ([]float32, error) {
	switch t.Type {
	case Float:
		return values(t, t.Floats32, 4, func(b []byte) float32 {
			return math.Float32frombits(binary.LittleEndian.Uint32(b))
		}, func(x float32) float32 { return x })
	case Float16:
		return values(t, t.Ints32, 2, func(b []byte) float32 { return half(binary.LittleEndian.Uint16(b)) },
			func(x int32) float32 { return half(uint16(x)) })
	case BFloat16:
		wide := func(x uint16) float32 { return math.Float32frombits(uint32(x) << 16) }
		return values(t, t.Ints32, 2, func(b []byte) float32 { return wide(binary.LittleEndian.Uint16(b)) },
			func(x int32) float32 { return wide(uint16(x)) })
	case Double:
		return values(t, t.Floats64, 8, func(b []byte) float32 {
			return float32(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}, func(x float64) float32 { return float32(x) })
	}
	return nil, fmt.Errorf("tensor %q holds %v, not numbers with a fraction", t.Name, t.Type)
}

// Bytes returns the values of a tensor of int8 or uint8, those below zero in two's
// complement.
func (t *Tensor) Bytes() ([]byte, error) {
	if t.Type != Int8 && t.Type != Uint8 {
		return nil, fmt.Errorf("tensor %q holds %v, not bytes", t.Name, t.Type)
	}
	return values(t, t.Ints32, 1, func(b []byte) byte { return b[0] }, func(x int32) byte { return byte(x) })
}

// Ints returns the values of a tensor of int32.
func (t *Tensor) Ints() ([]int32, error) {
	if t.Type != Int32 {
		return nil, fmt.Errorf("tensor %q holds %v, not %v", t.Name, t.Type, Int32)
	}
	return values(t, t.Ints32, 4, func(b []byte) int32 { return int32(binary.LittleEndian.Uint32(b)) },
		func(x int32) int32 { return x })
}

// Longs returns the values of a tensor of int64. A nil tensor, one of another type
// and one whose values are missing are errors.
func (t *Tensor) Longs() ([]int64, error) {
	if t == nil || t.Type != Int64 {
		return nil, fmt.Errorf("no tensor of %v", Int64)
	}
	return values(t, t.Ints64, 8, func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) },
		func(x int64) int64 { return x })
}

// values takes the values of a tensor, of size bytes each, from Raw, or from the
// list where Raw is empty. They must be there, as many as the dimensions say.
func values[T, V any](t *Tensor, list []T, size int, from func([]byte) V, as func(T) V) ([]V, error) {
	n, err := t.Len()
	if err != nil {
		return nil, err
	}
	if t.External() {
		return nil, fmt.Errorf("tensor %q: its values are in another file", t.Name)
	}
	var v []V
	switch {
	case len(t.Raw) == 0:
		v = make([]V, len(list))
		for i, x := range list {
			v[i] = as(x)
		}
	case len(t.Raw)%size == 0:
		v = make([]V, len(t.Raw)/size)
		for i := range v {
			v[i] = from(t.Raw[i*size:])
		}
	}
	if len(v) != n {
		return nil, fmt.Errorf("tensor %q has %d values for the dimensions %v", t.Name, len(v), t.Dims)
	}
	return v, nil
}

// half turns the bits of a float16 into its value.
func half(b uint16) float32 {
	sign, exp, frac := uint32(b>>15)<<31, uint32(b>>10)&31, uint32(b)&1023
	switch exp {
	case 31: // infinity or no number
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	case 0:
		v := float32(frac) / (1 << 24)
		return math.Float32frombits(math.Float32bits(v) | sign)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// NewFloats makes a tensor of float32; without dims it is a scalar.
func NewFloats(name string, v []float32, dims ...int64) *Tensor {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return &Tensor{Name: name, Type: Float, Dims: dims, Raw: raw}
}

// NewInts makes a tensor of int32.
func NewInts(name string, v []int32, dims ...int64) *Tensor {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(x))
	}
	return &Tensor{Name: name, Type: Int32, Dims: dims, Raw: raw}
}

// NewLongs makes a tensor of int64.
func NewLongs(name string, v []int64, dims ...int64) *Tensor {
	return &Tensor{Name: name, Type: Int64, Dims: dims, Ints64: v}
}

// NewBytes makes a tensor of int8 or uint8.
func NewBytes(name string, t DType, v []byte, dims ...int64) *Tensor {
	return &Tensor{Name: name, Type: t, Dims: dims, Raw: v}
}
