package message

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nightseg/edge/frame"
)

var update = flag.Bool("update", false, "write the files of testdata/golden anew")

// TestGolden reads messages as they were written when the format was fixed:
// what a vehicle has stored stays readable, whatever becomes of the writer.
func TestGolden(t *testing.T) {
	for name, m := range map[string]*frame.Mask{"street": street(48, 40, 7), "odd": odd(), "lit": lit()} {
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

// lit is of a camera that is controlled, with a light sensor beside it: members that
// messages did not have at first.
func lit() *frame.Mask {
	m := street(48, 40, 9)
	m.Lux, m.Exposure, m.CameraGain = 0.54, 16700*time.Microsecond, 62.5
	return m
}

// TestDarkHeader: where nothing is known of the light, a header is as it was before there
// were members for it.
func TestDarkHeader(t *testing.T) {
	with := testHeader()
	with.Meta = lit().Meta
	without := testHeader()
	without.Meta = with.Meta
	without.Lux, without.Exposure, without.CameraGain = 0, 0, 0
	b := string(appendHeader(nil, with))
	const news = `"lux":0.54,"exposure_us":16700,"camera_gain":62.5,`
	if old := strings.Replace(b, news, "", 1); old == b || old != string(appendHeader(nil, without)) {
		t.Errorf("with light: %s", b)
	}
	for text, want := range map[string]frame.Meta{
		`"exposure_us":100,"camera_gain":0`: {Exposure: 100 * time.Microsecond},
		`"camera_gain":3`:                   {CameraGain: 3},
		`"lux":0.01`:                        {Lux: 0.01},
	} {
		h := Header{Meta: want}
		if b := string(appendHeader(nil, &h)); !strings.Contains(b, ","+text+",") {
			t.Errorf("no %s in %s", text, b)
		}
	}
	for _, bad := range []string{"-1", "1.5", "null", "9223372036854775807"} {
		var h Header
		if h.UnmarshalJSON([]byte(strings.Replace(b, "16700", bad, 1))) == nil {
			t.Errorf("an exposure of %s is taken", bad)
		}
	}
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
