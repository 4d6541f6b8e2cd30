package message

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"testing"
	"time"

	"nightseg/edge/frame"
)

// shapes are masks that meet the ends of the codecs.
var shapes = []struct {
	name  string
	class func(x, y, w, h int, rng *rand.Rand) int
}{
	{"zero", func(_, _, _, _ int, _ *rand.Rand) int { return 0 }},
	{"unknown", func(_, _, _, _ int, _ *rand.Rand) int { return frame.Unknown }},
	{"noise", func(_, _, _, _ int, rng *rand.Rand) int { return rng.IntN(256) }},
	{"sparse noise", func(_, _, _, _ int, rng *rand.Rand) int { return max(0, rng.IntN(400)-300) }},
	{"checks", func(x, y, _, _ int, _ *rand.Rand) int { return 255 * ((x + y) & 1) }},
	{"columns", func(x, _, _, _ int, _ *rand.Rand) int { return x % 11 }},
	{"rows", func(_, y, _, _ int, _ *rand.Rand) int { return y % 256 }},
	{"diagonal", func(x, y, w, _ int, _ *rand.Rand) int { return (x + y) % w * 11 / w }},
	{"ramp", func(x, y, _, _ int, _ *rand.Rand) int { return (x + 3*y) & 255 }},
	{"last pixel", func(x, y, w, h int, _ *rand.Rand) int { return (x + 1) / w * ((y + 1) / h) * 200 }},
	{"first pixel", func(x, y, _, _ int, _ *rand.Rand) int { return max(0, 9-9*(x+y)) }},
	{"all classes once", func(x, y, w, _ int, _ *rand.Rand) int { return min(255, y*w+x) }},
}

var sizes = [][2]int{
	{1, 1},
	{2, 1},
	{1, 2},
	{3, 2},
	{7, 1},
	{8, 8},
	{9, 3},
	{1, 300},
	{300, 1},
	{64, 65},
	{65, 64},
	{66, 5},
	{130, 3},
	{259, 2},
	{262, 7},
	{521, 4},
	{640, 48},
	{1, 5000},
	{5000, 1},
	{maxSide, 1},
	{1, maxSide},
	{40000, 3},
}

func TestRoundTrip(t *testing.T) {
	e, r := testEncoder(t), new(Reader)
	rng := rand.New(rand.NewPCG(3, 4))
	var m frame.Mask
	for _, shape := range shapes {
		for _, size := range sizes {
			w, h := size[0], size[1]
			m.Reset(w, h)
			m.Meta = testMeta(w, h)
			for i := range m.Class {
				m.Class[i] = uint8(shape.class(i%w, i/w, w, h, rng))
			}
			checkTrip(t, e, r, &m, fmt.Sprintf("%s %dx%d", shape.name, w, h))
		}
	}
	for seed := range uint64(4) {
		checkTrip(t, e, r, street(640, 480, seed), "street")
	}
}

// TestRoundTripRandom goes over masks between noise and flat.
func TestRoundTripRandom(t *testing.T) {
	e, r := testEncoder(t), new(Reader)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 1200 {
		checkTrip(t, e, r, randomMask(rng), fmt.Sprint("mask ", i))
	}
}

func randomMask(rng *rand.Rand) *frame.Mask {
	m := &frame.Mask{}
	w, h := 1+rng.IntN(80), 1+rng.IntN(40)
	m.Reset(w, h)
	m.Meta = testMeta(w, h)
	classes, above, left := 1+rng.IntN(256), rng.Float64(), rng.Float64()
	for i := range m.Class {
		switch {
		case i >= w && rng.Float64() < above:
			m.Class[i] = m.Class[i-w]
		case i > 0 && rng.Float64() < left:
			m.Class[i] = m.Class[i-1]
		default:
			m.Class[i] = uint8(255 - rng.IntN(classes))
		}
	}
	return m
}

// checkTrip encodes and parses with both codecs, into a mask that holds
// something else, and reads the PNG file with Go's image/png.
func checkTrip(t *testing.T, e *Encoder, r *Reader, m *frame.Mask, what string) {
	t.Helper()
	for _, c := range Codecs() {
		b := mustAppend(t, e, m, c)
		if got := Sniff(b); got != c {
			t.Fatalf("%s, %s: looks like %q", what, c, got)
		}
		got := frame.Mask{W: 3, H: 1, Class: bytes.Repeat([]byte{77}, len(m.Class)/2)}
		h, err := r.Parse(&got, b)
		if err != nil {
			t.Fatalf("%s, %s: %v", what, c, err)
		}
		want := Header{
			Meta: m.Meta, Schema: 1, Codec: c, Fleet: "fleet-1", Device: "car_7", Bundle: testOrigin.Bundle,
			Published: m.Mono + 20*time.Millisecond, Settings: 3, W: m.W, H: m.H,
		}
		if h != want || got.Meta != m.Meta {
			t.Fatalf("%s, %s: header %+v, want %+v", what, c, h, want)
		}
		if got.W != m.W || got.H != m.H || !bytes.Equal(got.Class, m.Class) {
			t.Fatalf("%s, %s: other classes", what, c)
		}
		if c == PNG {
			checkPicture(t, b, m, what)
		}
	}
}

// checkPicture reads a message as a picture.
func checkPicture(t *testing.T, b []byte, m *frame.Mask, what string) {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%s: image/png: %v", what, err)
	}
	p, ok := img.(*image.Paletted)
	if !ok || p.Rect != image.Rect(0, 0, m.W, m.H) || !bytes.Equal(p.Pix, m.Class) {
		t.Fatalf("%s: image/png sees %T of %v, or other indices", what, img, img.Bounds())
	}
	if len(p.Palette) < testOrigin.Classes {
		t.Fatalf("%s: %d colours", what, len(p.Palette))
	}
	for i, c := range p.Palette {
		want := testOrigin.Palette[i]
		if c != (color.RGBA{want[0], want[1], want[2], 255}) {
			t.Fatalf("%s: colour %d is %v, want %v", what, i, c, want)
		}
	}
}

// TestPalette: 256 colours are sent only where a pixel needs them.
func TestPalette(t *testing.T) {
	e := testEncoder(t)
	for _, c := range []struct{ class, colours int }{{0, 11}, {10, 11}, {11, 12}, {frame.Unknown, 256}} {
		m := street(40, 30, 1)
		for i, k := range m.Class {
			m.Class[i] = min(k, 10)
		}
		m.Class[777] = uint8(c.class)
		img, err := png.Decode(bytes.NewReader(mustAppend(t, e, m, PNG)))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(img.(*image.Paletted).Palette); n != c.colours {
			t.Errorf("class %d: %d colours, want %d", c.class, n, c.colours)
		}
	}
}

// TestAppend: what is in dst stays, and an error changes nothing.
func TestAppend(t *testing.T) {
	e := testEncoder(t)
	m := street(64, 48, 1)
	for _, c := range Codecs() {
		b, err := e.Append([]byte("before"), m, Sending{Codec: c})
		if err != nil || !bytes.HasPrefix(b, []byte("before")) {
			t.Fatalf("%s: %v, or dst is gone", c, err)
		}
		var got frame.Mask
		if _, err := Parse(&got, b[6:]); err != nil || !bytes.Equal(got.Class, m.Class) {
			t.Fatalf("%s behind other bytes: %v", c, err)
		}
		if !bytes.Equal(mustAppend(t, e, m, c), mustAppend(t, testEncoder(t), m, c)) {
			t.Errorf("%s: the same mask gives other bytes", c)
		}
	}
	if b, err := e.Append([]byte("before"), m, Sending{Codec: "gif"}); err == nil || string(b) != "before" {
		t.Errorf("codec gif: %q, %v", b, err)
	}
}

// TestSmall holds the codecs to their purpose: few bytes for a street.
func TestSmall(t *testing.T) {
	e := testEncoder(t)
	for seed := range uint64(3) {
		m := street(640, 480, seed)
		for c, most := range map[Codec]int{PNG: 7200, RLEZstd: 5200} {
			if b := mustAppend(t, e, m, c); len(b) > most {
				t.Errorf("street %d, %s: %d bytes, want at most %d", seed, c, len(b), most)
			}
		}
	}
}
