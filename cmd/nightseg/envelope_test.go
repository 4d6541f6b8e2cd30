package main

import (
	"bytes"
	"image/color"
	"image/png"
	"strings"
	"testing"

	"nightseg/edge"
	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/model"
)

var _ edge.Encoder = (*envelope)(nil)

// TestEnvelope: what a message says of the bundle, the sender and the settings,
// and that a change of the codec holds from the next mask on.
func TestEnvelope(t *testing.T) {
	b := &model.Bundle{SHA256: strings.Repeat("ab", 32)}
	b.Classes = []model.Class{
		{ID: 0, Name: "road", Colour: [3]uint8{1, 2, 3}}, {ID: 1, Name: "car", Colour: [3]uint8{4, 5, 6}},
	}
	b.Unknown = model.Unknown{Index: frame.Unknown, Colour: [3]uint8{7, 8, 9}}
	who := sender{fleet: "yard", device: "car7", run: "r1"}
	if _, err := newEnvelope(b, who, "gif"); err == nil || !strings.Contains(err.Error(), "png rle-zstd") {
		t.Errorf("codec gif: %v", err)
	}
	if _, err := newEnvelope(b, sender{fleet: "a/b", device: "c"}, message.PNG); err == nil {
		t.Error("fleet a/b is taken")
	}
	env, err := newEnvelope(b, who, message.PNG)
	if err != nil {
		t.Fatal(err)
	}
	m := &frame.Mask{Meta: frame.Meta{Camera: "front", Run: "r1", Seq: 5}, W: 3, H: 1, Class: []uint8{0, 1, frame.Unknown}}
	m.Stamp()
	env.version.Store(42)
	for _, c := range []struct{ apply, want message.Codec }{
		{message.PNG, message.PNG}, {message.RLEZstd, message.RLEZstd}, {"gif", message.RLEZstd},
	} {
		env.apply(c.apply)
		out, err := env.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		var got frame.Mask
		h, err := message.Parse(&got, out)
		if err != nil || !bytes.Equal(got.Class, m.Class) || got.Meta != m.Meta {
			t.Fatalf("%s: %+v, %v", c.apply, got, err)
		}
		if h.Codec != c.want || h.Settings != 42 || h.Bundle != b.SHA256 || h.Fleet != "yard" || h.Device != "car7" ||
			h.Published < m.Mono {
			t.Errorf("%s: %+v", c.apply, h)
		}
		if c.want == message.PNG {
			checkColours(t, out)
		}
	}
}

func checkColours(t *testing.T, b []byte) {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for x, want := range []color.RGBA{{1, 2, 3, 255}, {4, 5, 6, 255}, {7, 8, 9, 255}} {
		if got := img.At(x, 0); got != want {
			t.Errorf("pixel %d is %v, want %v", x, got, want)
		}
	}
}
