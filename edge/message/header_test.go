package message

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"nightseg/edge/frame"
)

func testHeader() *Header {
	return &Header{
		Meta: testMeta(640, 480), Schema: Schema, Codec: PNG, Fleet: "f", Device: "d", Published: time.Second,
		Bundle: "ab", Settings: 7, W: 640, H: 480,
	}
}

// TestHeaderJSON compares what is written by hand with what encoding/json reads.
func TestHeaderJSON(t *testing.T) {
	h := testHeader()
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"schema": 1.0, "codec": "png", "fleet": "f", "device": "d", "camera": "front", "run": "5F0C9A",
		"seq": float64(1<<53 + 1), "mono_ns": float64(123*time.Hour + 1), "wall_offset_ns": 1767225600e9,
		"published_ns": 1e9, "flags": []any{"degraded", "clock"}, "luma": 31.7, "relight": "network",
		"gain": float64(0.6666667), "source": []any{1920.0, 1080.0},
		"to_source": []any{3.0, -0.1, 1e-7, 1.0 / 3, 2.25, -1e300}, "valid": []any{160.0, 0.0, 640.0, 320.0},
		"bundle": "ab", "settings": 7.0, "dropped_before": float64(math.MaxUint32),
		"name": "night/GOPR0356 \"ä\\\t😀.png", "width": 640.0, "height": 480.0,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	var back Header
	if err := json.Unmarshal(b, &back); err != nil || back != *h {
		t.Errorf("read back %+v, %v", back, err)
	}
	if at := h.Wall(); !at.Equal(time.Unix(1767225600, int64(123*time.Hour+1))) {
		t.Errorf("captured at %v", at)
	}
}

// TestHeaderStrings: every rune comes back, bytes that are none as U+FFFD, and
// all is ASCII.
func TestHeaderStrings(t *testing.T) {
	var all strings.Builder
	for r := rune(0); r <= 0x10FFFF; r += 1 + r/97 {
		all.WriteRune(r)
	}
	for _, name := range []string{all.String(), "\x00\x1f\x7f", "a\xffb\xc3", "\ufffd\ufffe", "</script>", "\u2028"} {
		h := testHeader()
		h.Name = name
		b := appendHeader(nil, h)
		for _, c := range b {
			if c < ' ' || c > '~' {
				t.Fatalf("byte %#x in the header", c)
			}
		}
		var std struct{ Name string }
		if err := json.Unmarshal(b, &std); err != nil {
			t.Fatal(err)
		}
		var got Header
		if err := got.UnmarshalJSON(b); err != nil {
			t.Fatal(err)
		}
		want := strings.Join(strings.Split(string([]rune(name)), ""), "")
		if got.Name != want || std.Name != want {
			t.Errorf("name %q: read %q, encoding/json %q", name, got.Name, std.Name)
		}
	}
}

// TestHeaderNumbers: numbers that JSON has no word for, and all others exactly.
func TestHeaderNumbers(t *testing.T) {
	h := testHeader()
	h.Luma, h.ToSource.A = float32(math.NaN()), math.Inf(1)
	h.Gain, h.ToSource.B = math.SmallestNonzeroFloat32, math.MaxFloat64
	h.Seq, h.Mono, h.WallOffset = math.MaxUint64, math.MaxInt64, math.MinInt64
	var got Header
	if err := got.UnmarshalJSON(appendHeader(nil, h)); err != nil {
		t.Fatal(err)
	}
	if got.Luma == got.Luma || got.ToSource.A == got.ToSource.A {
		t.Errorf("luma %v, a %v: want NaN", got.Luma, got.ToSource.A)
	}
	got.Luma, got.ToSource.A, h.Luma, h.ToSource.A = 0, 0, 0, 0
	if got != *h {
		t.Errorf("got %+v\nwant %+v", got, *h)
	}
}

// TestHeaderParse goes over headers of other programs.
func TestHeaderParse(t *testing.T) {
	good := string(appendHeader(nil, testHeader()))
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, c := range []struct{ name, header, says string }{
		{"as it is", good, ""},
		{"white space", " \n" + strings.NewReplacer(",", " ,\t", ":", " :\r\n", "[", "[ ").Replace(good) + "\n ", ""},
		{"a new member", replace(`"seq"`, `"new":{"a":[1,{"b":"}\""}],"seq":null},"seq"`), ""},
		{"a new flag", replace(`"degraded"`, `"degraded","late"`), ""},
		{"no flags", replace(`["degraded","clock"]`, `[]`), ""},
		{"escaped name of a member", replace(`"seq"`, `"\u0073eq"`), ""},
		{"slash", replace(`\ud83d\ude00`, `\/\b\f\n\r\t`), ""},
		{"half a surrogate pair", replace(`\ud83d\ude00`, `\ud83dx\ude00\ud83d\u0041\ud83d`), ""},
		{"another schema", replace(`"schema":1`, `"schema":2`), "unknown version 2"},
		{"another schema and nothing else", `{"schema":9}`, "unknown version 9"},
		{"no schema", `{}`, "no schema"},
		{"missing", replace(`"settings":7,`, ``), "no settings"},
		{"twice", replace(`"seq":`, `"seq":1,"seq":`), "seq is given twice"},
		{"fraction", replace(`"seq":`, `"seq":1.5,"x":`), "seq is 1.5"},
		{"too big", replace(`"dropped_before":4294967295`, `"dropped_before":4294967296`), "dropped_before is"},
		{"negative", replace(`"seq":`, `"seq":-1,"x":`), "seq is -1"},
		{"a number for a word", replace(`"run":"5F0C9A"`, `"run":5`), "run is 5"},
		{"a word for a number", replace(`"width":640`, `"width":"640"`), `width is "640"`},
		{"null", replace(`"camera":"front"`, `"camera":null`), "camera is null"},
		{"short list", replace(`"source":[1920,1080]`, `"source":[1920]`), "source is [1920]"},
		{"long list", replace(`"source":[1920,1080]`, `"source":[1920,1080,3]`), "source is [1920,1080,3]"},
		{"no list", replace(`"source":[1920,1080]`, `"source":{"w":1}`), "source is"},
		{"empty list", replace(`"source":[1920,1080]`, `"source":[]`), "source is []"},
		{"flags", replace(`["degraded","clock"]`, `[1]`), "flags is [1]"},
		{"flags no list", replace(`["degraded","clock"]`, `"clock"`), "flags is"},
		{"relight", replace(`"network"`, `"flash"`), `relight is "flash"`},
		{"relight no word", replace(`"network"`, `3`), "relight is 3"},
		{"a way out of a folder", replace(`"camera":"front"`, `"camera":"../../etc"`), "camera is not 1 to 64"},
		{"no run", replace(`"run":"5F0C9A"`, `"run":""`), "run is not 1 to 64"},
		{"UTF-8", replace(`\u00e4`, `ä`), "not ASCII"},
		{"cut off", good[:len(good)-1], "not JSON"},
		{"a list", "[" + good + "]", "not a JSON object"},
		{"nothing", "", "not JSON"},
		{"too long", strings.Repeat(" ", MaxHeader) + good, "at most 65535"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Reader
			err := r.parseHeader([]byte(c.header))
			switch {
			case c.says == "" && err != nil:
				t.Error(err)
			case c.says == "" && r.head.Seq != 1<<53+1:
				t.Errorf("seq %d", r.head.Seq)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("got %v, want %q", err, c.says)
			case c.says != "" && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion):
				t.Errorf("%v is neither ErrFormat nor ErrVersion", err)
			}
		})
	}
}

func TestBadMasks(t *testing.T) {
	e := testEncoder(t)
	for name, spoil := range map[string]func(m *frame.Mask){
		"no pixels":       func(m *frame.Mask) { m.Reset(0, 5) },
		"too wide":        func(m *frame.Mask) { m.Reset(maxSide+1, 1) },
		"too many":        func(m *frame.Mask) { m.W, m.H = 20000, 20000 },
		"too few classes": func(m *frame.Mask) { m.Class = m.Class[1:] },
		"camera":          func(m *frame.Mask) { m.Camera = "a/b" },
		"no camera":       func(m *frame.Mask) { m.Camera = "" },
		"run":             func(m *frame.Mask) { m.Run = strings.Repeat("r", 65) },
		"relight":         func(m *frame.Mask) { m.Relight = 9 },
		"valid":           func(m *frame.Mask) { m.Valid.X1 = m.W + 1 },
		"valid backwards": func(m *frame.Mask) { m.Valid = frame.Rect{X0: 5, X1: 4, Y1: 1} },
		"name":            func(m *frame.Mask) { m.Name = strings.Repeat("ä", 11000) },
	} {
		m := street(20, 10, 1)
		spoil(m)
		for _, c := range Codecs() {
			if b, err := e.Append([]byte{1}, m, Sending{Codec: c}); !errors.Is(err, ErrMask) || len(b) != 1 {
				t.Errorf("%s, %s: %d bytes, %v", name, c, len(b), err)
			}
		}
	}
	for _, o := range []Origin{
		{Fleet: "", Device: "d"},
		{Fleet: "f", Device: "a b"},
		{Fleet: "f", Device: "d", Classes: 256},
		{Fleet: "f", Device: "d", Classes: -1},
	} {
		if _, err := NewEncoder(o); !errors.Is(err, ErrMask) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
