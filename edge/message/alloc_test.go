package message

import (
	"math/rand/v2"
	"testing"
	"time"

	"nightseg/edge/frame"
)

// TestAllocs: nothing is allocated per mask, neither to write nor to read it.
// What Parse has to allocate for is a word that the mask before did not have.
func TestAllocs(t *testing.T) {
	if underRace {
		t.Skip("allocations are counted without the race detector")
	}
	e, r := testEncoder(t), new(Reader)
	masks := []*frame.Mask{street(640, 480, 1), street(640, 480, 2), noise(640, 480), street(640, 480, 3)}
	var dst []byte
	var got frame.Mask
	for _, c := range Codecs() {
		i := 0
		write := func() {
			m := masks[i%len(masks)]
			i++
			m.Seq, m.Mono = uint64(i), time.Duration(i)*time.Second
			var err error
			if dst, err = e.Append(dst[:0], m, Sending{Codec: c, Published: m.Mono}); err != nil {
				t.Fatal(err)
			}
		}
		both := func() {
			write()
			if _, err := r.Parse(&got, dst); err != nil {
				t.Fatal(err)
			}
		}
		for range masks {
			both()
		}
		if n := testing.AllocsPerRun(40, write); n != 0 {
			t.Errorf("%s: %v allocations to write", c, n)
		}
		if n := testing.AllocsPerRun(40, both); n != 0 {
			t.Errorf("%s: %v allocations to write and read", c, n)
		}
	}
}

// TestAllocsName states what a recorded frame costs a reader: its name.
func TestAllocsName(t *testing.T) {
	if underRace {
		t.Skip("allocations are counted without the race detector")
	}
	e, r := testEncoder(t), new(Reader)
	m := street(64, 48, 1)
	var dst []byte
	var got frame.Mask
	names := [2]string{"night/000001.png", "night/000002.png"}
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		m.Name = names[i&1]
		i++
		dst, _ = e.Append(dst[:0], m, Sending{Codec: RLEZstd})
		if h, err := r.Parse(&got, dst); err != nil || h.Name != m.Name {
			t.Fatal(h.Name, err)
		}
	}); n > 1 {
		t.Errorf("%v allocations, want the name", n)
	}
}

func noise(w, h int) *frame.Mask {
	rng := rand.New(rand.NewPCG(9, 9))
	m := street(w, h, 9)
	for i := range m.Class {
		m.Class[i] = uint8(rng.Uint32())
	}
	return m
}

func BenchmarkAppendPNG(b *testing.B) { benchAppend(b, PNG) }
func BenchmarkAppendRLE(b *testing.B) { benchAppend(b, RLEZstd) }
func BenchmarkParsePNG(b *testing.B)  { benchParse(b, PNG) }
func BenchmarkParseRLE(b *testing.B)  { benchParse(b, RLEZstd) }

// benchMasks are 640x480 pixels, as of a few frames of a drive.
func benchMasks() (masks [8]*frame.Mask) {
	for i := range masks {
		masks[i] = street(640, 480, uint64(i))
	}
	return masks
}

func benchAppend(b *testing.B, c Codec) {
	e, masks := testEncoder(b), benchMasks()
	var dst []byte
	bytes := 0
	for i := range masks { // grows the buffers
		dst = append(dst[:0], mustAppend(b, e, masks[i], c)...)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		dst, _ = e.Append(dst[:0], masks[i%len(masks)], Sending{Codec: c})
		bytes += len(dst)
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "bytes/mask")
}

func benchParse(b *testing.B, c Codec) {
	e, r := testEncoder(b), new(Reader)
	var messages [][]byte
	for _, m := range benchMasks() {
		messages = append(messages, mustAppend(b, e, m, c))
	}
	var m frame.Mask
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := r.Parse(&m, messages[i%len(messages)]); err != nil {
			b.Fatal(err)
		}
	}
}
