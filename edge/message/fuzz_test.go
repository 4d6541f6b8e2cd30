package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"nightseg/edge/frame"
)

// fuzzLimit bounds the masks of a fuzz target, for its speed.
const fuzzLimit = 1 << 16

// FuzzParse gives the parser anything: as it is, and with right checksums. What
// is taken is written again and must come back equal, and where it is a
// picture, Go's image/png must see the same.
func FuzzParse(f *testing.F) {
	e := testEncoder(f)
	small := street(9, 6, 1)
	plain := &frame.Mask{W: 1, H: 1, Class: []uint8{255}, Meta: frame.Meta{Camera: "c", Run: "r"}}
	for _, m := range []*frame.Mask{small, plain, street(40, 30, 2)} {
		for _, c := range Codecs() {
			f.Add(mustAppend(f, e, m, c))
		}
	}
	f.Add(runsMessage(f, 4, 3, []byte("\x01\x06\x05\x01\x00\x02\x05\x03")))
	f.Add(runsMessage(f, 66, 5, []byte("\x00\xfe\x04\x07\x86\x02")))
	f.Fuzz(func(t *testing.T, b []byte) {
		tryParse(t, b)
		tryParse(t, mend(b))
	})
}

func tryParse(t *testing.T, b []byte) {
	var m frame.Mask
	h, err := Parse(&m, b)
	if err != nil {
		if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
			t.Fatalf("%v is neither ErrFormat nor ErrVersion", err)
		}
		return
	}
	if len(m.Class) > fuzzLimit {
		return
	}
	if h.Codec == PNG {
		checkSamePicture(t, b, &m)
	}
	e, err := NewEncoder(Origin{Fleet: h.Fleet, Device: h.Device, Bundle: h.Bundle})
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.Append(nil, &m, Sending{Codec: h.Codec, Published: h.Published, Settings: h.Settings})
	if err != nil {
		t.Fatal(err)
	}
	var m2 frame.Mask
	h2, err := Parse(&m2, again)
	if err != nil {
		t.Fatal(err)
	}
	// By way of JSON, as a header that is not finite is not equal to itself.
	if !bytes.Equal(appendHeader(nil, &h), appendHeader(nil, &h2)) || !bytes.Equal(m.Class, m2.Class) {
		t.Fatalf("was %+v, came back as %+v", h, h2)
	}
}

// FuzzRoundTrip writes masks made of anything.
func FuzzRoundTrip(f *testing.F) {
	f.Add(street(40, 30, 1).Class, 40, "name", uint64(7), float32(31.5), 2.5)
	f.Add([]byte{255}, 1, "", uint64(0), float32(0), 0.0)
	f.Add(bytes.Repeat([]byte{1, 2, 2, 2, 2, 2, 2, 1}, 90), 90, "\xff\u2028😀", uint64(1<<63), float32(-1), 1e-310)
	f.Add(bytes.Repeat([]byte{3}, 700), 700, "a/b", uint64(1), float32(255), 1e22)
	e, r := testEncoder(f), new(Reader) // used for all, as a loop does
	f.Fuzz(func(t *testing.T, class []byte, width int, name string, seq uint64, luma float32, a float64) {
		if width < 1 || len(class) < width || len(class) > fuzzLimit || len(name) > 4096 {
			return
		}
		m := &frame.Mask{W: width, H: len(class) / width}
		m.Class = class[:m.W*m.H]
		m.Camera, m.Run, m.Name, m.Seq, m.Luma, m.ToSource.A = "c", "r", name, seq, luma, a
		m.Mono = -1
		for _, c := range Codecs() {
			b, err := e.Append(nil, m, Sending{Codec: c})
			if m.W > maxSide || m.H > maxSide {
				if !errors.Is(err, ErrMask) {
					t.Fatalf("%dx%d: %v", m.W, m.H, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			var got frame.Mask
			if _, err := r.Parse(&got, b); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Class, m.Class) || got.W != m.W || got.Seq != seq || got.Name != string([]rune(name)) ||
				got.Luma != luma && luma == luma && luma-luma == 0 || got.ToSource.A != a && a-a == 0 {
				t.Fatalf("%s: came back as %+v", c, got.Meta)
			}
			if c == PNG {
				checkSamePicture(t, b, m)
			}
		}
	})
}

// FuzzHeader compares the reader of headers with encoding/json.
func FuzzHeader(f *testing.F) {
	f.Add(appendHeader(nil, testHeader()))
	f.Add([]byte(`{"schema":1,"x":[{"y":"\"]"}],"flags":["clock","\u0066rozen"],"name":"\ud83d\ude00\ud83d\/"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Reader
		if r.parseHeader(b) != nil {
			return
		}
		var std struct {
			Schema  int
			Codec   Codec
			Fleet   string
			Seq     uint64
			Mono    int64 `json:"mono_ns"`
			Flags   []string
			Luma    *float32
			Source  [2]int
			Valid   [4]int
			Affine  []*float64 `json:"to_source"`
			Relight string
			Name    string
			Width   int
		}
		members := map[string]json.RawMessage{}
		if err := json.Unmarshal(b, &members); err != nil {
			t.Fatal(err)
		}
		for name := range members { // encoding/json would take "SEQ" for seq
			if _, known := memberOf([]byte(name)); !known {
				delete(members, name)
			}
		}
		exact, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(exact, &std); err != nil {
			t.Fatal(err)
		}
		h := r.head
		if h.Schema != std.Schema || h.Codec != std.Codec || h.Fleet != std.Fleet || h.Seq != std.Seq ||
			int64(h.Mono) != std.Mono || h.Relight.String() != std.Relight || h.Name != std.Name || h.W != std.Width ||
			h.SourceH != std.Source[1] || h.Valid.Y1 != std.Valid[3] || len(std.Affine) != 6 ||
			std.Luma != nil && *std.Luma != h.Luma || std.Affine[5] != nil && *std.Affine[5] != h.ToSource.F {
			t.Fatalf("read %+v, encoding/json %+v", h, std)
		}
		for i, name := range flagNames {
			has := false
			for _, s := range std.Flags {
				has = has || s == name
			}
			if has != (h.Flags&(1<<i) != 0) {
				t.Fatalf("flags %v read as %b", std.Flags, h.Flags)
			}
		}
	})
}

// FuzzRuns reads runs of anything: never a panic, and what is taken is what a
// writer makes of the same mask, or means the same.
func FuzzRuns(f *testing.F) {
	f.Add([]byte("\x01\x06\x05\x01\x00\x02\x05\x03"), uint8(4), uint8(3))
	f.Add([]byte("\x00\xfe\x04\x07\x86\x02"), uint8(66), uint8(5))
	var c runCoder
	m := street(40, 30, 1)
	c.scan(m.Class, m.W, m.H)
	f.Add(c.runs, uint8(40), uint8(30))
	f.Fuzz(func(t *testing.T, runs []byte, w, h uint8) {
		if w == 0 || h == 0 || checkRuns(runs, int(w), int(h)) != nil {
			return
		}
		class := bytes.Repeat([]byte{99}, int(w)*int(h))
		fillRuns(class, runs, int(w))
		var c runCoder
		c.scan(class, int(w), int(h))
		if err := checkRuns(c.runs, int(w), int(h)); err != nil {
			t.Fatal(err)
		}
		again := make([]byte, len(class))
		fillRuns(again, c.runs, int(w))
		if !bytes.Equal(class, again) {
			t.Fatal("came back as other classes")
		}
	})
}
