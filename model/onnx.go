package model

import (
	"errors"
	"fmt"
)

// ONNXInfo is what InspectONNX reads out of an ONNX file: enough to check a
// network against a manifest without an engine.
type ONNXInfo struct {
	Opset    int64 // of the default operator set
	Inputs   []TensorInfo
	Outputs  []TensorInfo
	Ops      map[string]int // number of nodes by operator; constants are not counted
	Nodes    int            // sum of Ops
	External bool           // weights are in other files
}

// TensorInfo is a named input or output. A free dimension is -1; Shape is nil
// where the file does not say.
type TensorInfo struct {
	Name  string
	Type  string // float32, uint8, ..., or "type N" for others
	Shape []int64
}

// Input returns the input of that name, or nil.
func (n *ONNXInfo) Input(name string) *TensorInfo { return find(n.Inputs, name) }

// Output returns the output of that name, or nil.
func (n *ONNXInfo) Output(name string) *TensorInfo { return find(n.Outputs, name) }

func find(ts []TensorInfo, name string) *TensorInfo {
	for i := range ts {
		if ts[i].Name == name {
			return &ts[i]
		}
	}
	return nil
}

var errProto = errors.New("truncated or not a protocol buffer")

// field is one field of a protocol buffer message: a number, or bytes.
type field struct {
	num  int
	wire int
	n    uint64
	b    []byte
}

func uvarint(b []byte) (v uint64, rest []byte, err error) {
	for i := 0; i < len(b) && i < 10; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, b[i+1:], nil
		}
	}
	return 0, nil, errProto
}

// eachField calls fn for the fields of a message in order.
func eachField(b []byte, fn func(field) error) error {
	for len(b) > 0 {
		key, rest, err := uvarint(b)
		if err != nil {
			return err
		}
		f := field{num: int(key >> 3), wire: int(key & 7)}
		size := uint64(0)
		switch f.wire {
		case 0:
			f.n, rest, err = uvarint(rest)
		case 1:
			size = 8
		case 2:
			size, rest, err = uvarint(rest)
		case 5:
			size = 4
		default:
			err = errProto
		}
		if err != nil || size > uint64(len(rest)) || f.num == 0 {
			return errProto
		}
		f.b, b = rest[:size], rest[size:]
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

// InspectONNX reads the inputs, outputs and operators of an ONNX file (message
// ModelProto of onnx.proto). It does not run or load the network.
func InspectONNX(data []byte) (*ONNXInfo, error) {
	info := &ONNXInfo{Ops: map[string]int{}}
	var graph []byte
	version := uint64(0)
	err := eachField(data, func(f field) error {
		switch {
		case f.num == 1 && f.wire == 0:
			version = f.n
		case f.num == 7 && f.wire == 2:
			graph = f.b
		case f.num == 8 && f.wire == 2:
			return info.readOpset(f.b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if version == 0 || graph == nil {
		return nil, errors.New("no graph in it")
	}
	if err := info.readGraph(graph); err != nil {
		return nil, fmt.Errorf("graph: %w", err)
	}
	return info, nil
}

func (n *ONNXInfo) readOpset(b []byte) error {
	domain, version := "", int64(0)
	err := eachField(b, func(f field) error {
		switch f.num {
		case 1:
			domain = string(f.b)
		case 2:
			version = int64(f.n)
		}
		return nil
	})
	if domain == "" || domain == "ai.onnx" {
		n.Opset = version
	}
	return err
}

func (n *ONNXInfo) readGraph(b []byte) error {
	weights := map[string]bool{}
	var inputs []TensorInfo
	err := eachField(b, func(f field) error {
		if f.wire != 2 {
			return nil
		}
		switch f.num {
		case 1:
			return n.readNode(f.b)
		case 5:
			return n.readWeight(f.b, weights)
		case 11, 12:
			t, err := readValueInfo(f.b)
			if f.num == 11 {
				inputs = append(inputs, t)
			} else {
				n.Outputs = append(n.Outputs, t)
			}
			return err
		}
		return nil
	})
	for _, t := range inputs { // old files list the weights as inputs too
		if !weights[t.Name] {
			n.Inputs = append(n.Inputs, t)
		}
	}
	return err
}

func (n *ONNXInfo) readNode(b []byte) error {
	op := ""
	err := eachField(b, func(f field) error {
		if f.num == 4 && f.wire == 2 {
			op = string(f.b)
		}
		return nil
	})
	if op != "Constant" {
		n.Ops[op]++
		n.Nodes++
	}
	return err
}

func (n *ONNXInfo) readWeight(b []byte, names map[string]bool) error {
	return eachField(b, func(f field) error {
		switch {
		case f.num == 8 && f.wire == 2:
			names[string(f.b)] = true
		case f.num == 13, f.num == 14 && f.n == 1: // external_data, data_location
			n.External = true
		}
		return nil
	})
}

var onnxTypes = map[uint64]string{
	1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool",
	10: "float16", 11: "float64", 16: "bfloat16",
}

// readValueInfo reads ValueInfoProto{name 1, type 2{tensor_type 1{elem_type 1, shape 2}}}.
func readValueInfo(b []byte) (t TensorInfo, err error) {
	err = eachField(b, func(f field) error {
		switch {
		case f.num == 1 && f.wire == 2:
			t.Name = string(f.b)
		case f.num == 2 && f.wire == 2:
			return eachField(f.b, func(f field) error {
				if f.num != 1 || f.wire != 2 {
					return nil
				}
				return eachField(f.b, t.readTensorType)
			})
		}
		return nil
	})
	return t, err
}

func (t *TensorInfo) readTensorType(f field) error {
	switch {
	case f.num == 1 && f.wire == 0:
		t.Type = onnxTypes[f.n]
		if t.Type == "" {
			t.Type = fmt.Sprintf("type %d", f.n)
		}
	case f.num == 2 && f.wire == 2:
		t.Shape = []int64{}
		return eachField(f.b, func(f field) error {
			if f.num != 1 || f.wire != 2 {
				return nil
			}
			dim := int64(-1)
			err := eachField(f.b, func(f field) error {
				if f.num == 1 && f.wire == 0 {
					dim = int64(f.n)
				}
				return nil
			})
			t.Shape = append(t.Shape, dim)
			return err
		})
	}
	return nil
}
