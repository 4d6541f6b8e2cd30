package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxDepth is how deep messages may lie in each other: a graph in an attribute of
// a node of a graph is three deeper.
const maxDepth = 48

// maxSize is the largest file that is read or written: that of protocol buffers.
const maxSize = math.MaxInt32

var (
	errProto = errors.New("truncated or not a protocol buffer")
	errDepth = errors.New("graphs lie too deep in each other")
)

// rest is what a message of a file holds besides the values of its struct.
type rest struct {
	stated  uint32     // fields, by number, that the file states though they are 0 or empty
	unknown []rawField // in the order of their numbers
}

// rawField is a field as it was read, with its tag.
type rawField struct {
	num protowire.Number
	raw []byte
}

func (r *rest) say(num protowire.Number)       { r.stated |= 1 << num }
func (r *rest) said(num protowire.Number) bool { return r.stated&(1<<num) != 0 }
func (r *rest) more() *rest                    { return r }

// messageOf is a struct of this package.
type messageOf[T any] interface {
	*T
	fields() []field
	more() *rest
}

// field reads and writes one field of a message.
type field struct {
	num protowire.Number
	// read takes a value without its tag; ok is false for a wire type that is not the field's.
	read func(t protowire.Type, v []byte, depth int) (ok bool, err error)
	// write appends the field with its tag; stated: even where it is 0 or empty.
	write func(b []byte, stated bool) []byte
	empty func() bool
}

// read fills a message. Slices of bytes are parts of b.
func read[T any, P messageOf[T]](m P, b []byte, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	fields, rest := m.fields(), m.more()
	for len(b) > 0 {
		num, typ, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return errProto
		}
		size := protowire.ConsumeFieldValue(num, typ, b[tag:])
		if size < 0 {
			return errProto
		}
		raw, value := b[:tag+size:tag+size], b[tag:tag+size]
		b = b[tag+size:]
		known := false
		if i := slices.IndexFunc(fields, func(f field) bool { return f.num == num }); i >= 0 {
			var err error
			if known, err = fields[i].read(typ, value, depth); err != nil {
				return err
			}
			if known && fields[i].empty() {
				rest.say(num)
			}
		}
		if !known {
			rest.unknown = append(rest.unknown, rawField{num, raw})
		}
	}
	slices.SortStableFunc(rest.unknown, func(x, y rawField) int { return int(x.num) - int(y.num) })
	return nil
}

// appendMessage writes the fields of a message in the order of their numbers.
func appendMessage[T any, P messageOf[T]](b []byte, m P) []byte {
	rest := m.more()
	left := rest.unknown
	for _, f := range m.fields() {
		for len(left) > 0 && left[0].num < f.num {
			b, left = append(b, left[0].raw...), left[1:]
		}
		b = f.write(b, rest.said(f.num))
	}
	for _, u := range left {
		b = append(b, u.raw...)
	}
	return b
}

func integer[T ~int32 | ~int64](num protowire.Number, p *T) field {
	return field{
		num: num, empty: func() bool { return *p == 0 },
		read: func(t protowire.Type, v []byte, _ int) (bool, error) {
			if t != protowire.VarintType {
				return false, nil
			}
			n, _ := protowire.ConsumeVarint(v)
			*p = T(n)
			return true, nil
		},
		write: func(b []byte, stated bool) []byte {
			if *p == 0 && !stated {
				return b
			}
			return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(*p))
		},
	}
}

func float(num protowire.Number, p *float32) field {
	return field{
		num: num, empty: func() bool { return *p == 0 },
		read: func(t protowire.Type, v []byte, _ int) (bool, error) {
			if t != protowire.Fixed32Type {
				return false, nil
			}
			n, _ := protowire.ConsumeFixed32(v)
			*p = math.Float32frombits(n)
			return true, nil
		},
		write: func(b []byte, stated bool) []byte {
			bits := math.Float32bits(*p)
			if bits == 0 && !stated {
				return b
			}
			return protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), bits)
		},
	}
}

// delimited makes a field of a value with a length: text, bytes, a message.
func delimited(num protowire.Number, take func([]byte, int) error, write func([]byte, bool) []byte,
	empty func() bool,
) field {
	return field{
		num: num, empty: empty, write: write,
		read: func(t protowire.Type, v []byte, depth int) (bool, error) {
			if t != protowire.BytesType {
				return false, nil
			}
			v, _ = protowire.ConsumeBytes(v)
			return true, take(v[:len(v):len(v)], depth)
		},
	}
}

func appendBytes[T ~[]byte | ~string](b []byte, num protowire.Number, v T) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(len(v)))
	return append(b, v...)
}

func text(num protowire.Number, p *string) field {
	return delimited(num, func(v []byte, _ int) error { *p = string(v); return nil },
		func(b []byte, stated bool) []byte {
			if *p == "" && !stated {
				return b
			}
			return appendBytes(b, num, *p)
		}, func() bool { return *p == "" })
}

func texts(num protowire.Number, p *[]string) field {
	return delimited(num, func(v []byte, _ int) error { *p = append(*p, string(v)); return nil },
		func(b []byte, _ bool) []byte {
			for _, s := range *p {
				b = appendBytes(b, num, s)
			}
			return b
		}, func() bool { return false })
}

// blob is a field of bytes; one that is there and empty is not nil.
func blob(num protowire.Number, p *[]byte) field {
	return delimited(num, func(v []byte, _ int) error { *p = v; return nil },
		func(b []byte, _ bool) []byte {
			if *p == nil {
				return b
			}
			return appendBytes(b, num, *p)
		}, func() bool { return false })
}

func blobs(num protowire.Number, p *[][]byte) field {
	return delimited(num, func(v []byte, _ int) error { *p = append(*p, v); return nil },
		func(b []byte, _ bool) []byte {
			for _, v := range *p {
				b = appendBytes(b, num, v)
			}
			return b
		}, func() bool { return false })
}

// message is a field with one message; a second one in a file adds to the first.
func message[T any, P messageOf[T]](num protowire.Number, p **T) field {
	return delimited(num, func(v []byte, depth int) error {
		if *p == nil {
			*p = new(T)
		}
		return read(P(*p), v, depth+1)
	}, func(b []byte, _ bool) []byte {
		if *p == nil {
			return b
		}
		return appendBytes(b, num, appendMessage(nil, P(*p)))
	}, func() bool { return false })
}

func messages[T any, P messageOf[T]](num protowire.Number, p *[]*T) field {
	return delimited(num, func(v []byte, depth int) error {
		m := new(T)
		*p = append(*p, m)
		return read(P(m), v, depth+1)
	}, func(b []byte, _ bool) []byte {
		for _, m := range *p {
			b = appendBytes(b, num, appendMessage(nil, P(m)))
		}
		return b
	}, func() bool { return false })
}

// element is how one number of a list lies in a file.
type element[T any] struct {
	typ    protowire.Type
	take   func([]byte) (T, int)
	append func([]byte, T) []byte
}

func fixed32() element[float32] {
	return element[float32]{
		protowire.Fixed32Type,
		func(b []byte) (float32, int) {
			v, n := protowire.ConsumeFixed32(b)
			return math.Float32frombits(v), n
		},
		func(b []byte, v float32) []byte { return protowire.AppendFixed32(b, math.Float32bits(v)) },
	}
}

func fixed64() element[float64] {
	return element[float64]{
		protowire.Fixed64Type,
		func(b []byte) (float64, int) {
			v, n := protowire.ConsumeFixed64(b)
			return math.Float64frombits(v), n
		},
		func(b []byte, v float64) []byte { return protowire.AppendFixed64(b, math.Float64bits(v)) },
	}
}

func varint[T ~int32 | ~int64]() element[T] {
	return element[T]{
		protowire.VarintType,
		func(b []byte) (T, int) {
			v, n := protowire.ConsumeVarint(b)
			return T(v), n
		},
		func(b []byte, v T) []byte { return protowire.AppendVarint(b, uint64(v)) },
	}
}

// numbers is a list of numbers; both forms of a list are read, one is written.
func numbers[T any](num protowire.Number, p *[]T, of func() element[T], packed bool) field {
	e := of()
	return field{
		num: num, empty: func() bool { return packed && len(*p) == 0 },
		read: func(t protowire.Type, v []byte, _ int) (bool, error) {
			switch t {
			case e.typ:
				x, _ := e.take(v)
				*p = append(*p, x)
				return true, nil
			case protowire.BytesType:
				v, _ = protowire.ConsumeBytes(v)
				for len(v) > 0 {
					x, n := e.take(v)
					if n < 0 {
						return true, errProto
					}
					*p, v = append(*p, x), v[n:]
				}
				return true, nil
			}
			return false, nil
		},
		write: func(b []byte, stated bool) []byte {
			if packed {
				if len(*p) == 0 && !stated {
					return b
				}
				var list []byte
				for _, x := range *p {
					list = e.append(list, x)
				}
				return appendBytes(b, num, list)
			}
			for _, x := range *p {
				b = e.append(protowire.AppendTag(b, num, e.typ), x)
			}
			return b
		},
	}
}

// Parse reads a model file. Data of tensors stays in b, which must not be changed
// while the model is in use.
func Parse(b []byte) (*Model, error) {
	if len(b) > maxSize {
		return nil, fmt.Errorf("%d bytes are more than an ONNX file may have", len(b))
	}
	m := new(Model)
	if err := read(m, b, 0); err != nil {
		return nil, err
	}
	if m.IRVersion == 0 || m.Graph == nil {
		return nil, errors.New("no graph in it")
	}
	return m, nil
}

// Marshal writes a model file.
func (m *Model) Marshal() ([]byte, error) {
	b := appendMessage(nil, m)
	if len(b) > maxSize {
		return nil, fmt.Errorf("%d bytes are more than an ONNX file may have", len(b))
	}
	return b, nil
}
