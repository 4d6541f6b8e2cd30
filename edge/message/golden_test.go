package message

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"nightseg/edge/frame"
)

var update = flag.Bool("update", false, "write the files of testdata/golden anew")

// TestGolden reads messages as they were written when the format was fixed:
// what a vehicle has stored stays readable, whatever becomes of the writer.
func TestGolden(t *testing.T) {
	for name, m := range map[string]*frame.Mask{"street": street(48, 40, 7), "odd": odd()} {
		m.Class = classes(t, name, m.Class) // from a file: other processors round a street in other ways
		for _, c := range Codecs() {
			file := filepath.Join("testdata", "golden", name+"."+c.Extension())
			if *update {
				if err := os.WriteFile(file, mustAppend(t, testEncoder(t), m, c), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got frame.Mask
			h, err := Parse(&got, b)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if !bytes.Equal(got.Class, m.Class) || got.Meta != m.Meta || h.Bundle != testOrigin.Bundle || h.Settings != 3 {
				t.Errorf("%s: %+v", file, h)
			}
		}
	}
}

// classes reads the classes that belong to the golden messages.
func classes(t *testing.T, name string, now []uint8) []uint8 {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".classes")
	if *update {
		if err := os.WriteFile(file, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// odd has every kind of run, long ones too, and every class.
func odd() *frame.Mask {
	m := &frame.Mask{}
	m.Reset(97, 13)
	m.Meta = testMeta(97, 13)
	for i := range m.Class {
		x, y := i%97, i/97
		switch {
		case y < 3:
			m.Class[i] = uint8(i)
		case y < 6:
			m.Class[i] = uint8(5 + (x+y)/9)
		case y < 9 && x > y*10:
			m.Class[i] = frame.Unknown
		default:
			m.Class[i] = uint8(y / 11)
		}
	}
	return m
}
