package message

import (
	"encoding/binary"
	"hash/crc32"
	"image"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"nightseg/edge/frame"
)

var testOrigin = Origin{
	Fleet: "fleet-1", Device: "car_7", Classes: 11,
	Bundle:  "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	Palette: [256][3]uint8{0: {128, 64, 128}, 1: {244, 35, 232}, 10: {0, 60, 100}, frame.Unknown: {17, 18, 19}},
}

func testEncoder(t testing.TB) *Encoder {
	t.Helper()
	e, err := NewEncoder(testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// testMeta is a meta without a zero in it.
func testMeta(w, h int) frame.Meta {
	return frame.Meta{
		Camera: "front", Run: "5F0C9A", Seq: 1<<53 + 1,
		Mono: 123*time.Hour + 1, WallOffset: 1767225600 * time.Second,
		Flags: frame.FlagDegraded | frame.FlagClock, SourceW: 1920, SourceH: 1080,
		ToSource: frame.Affine{A: 3, B: -0.1, C: 1e-7, D: 1.0 / 3, E: 2.25, F: -1e300},
		Valid:    frame.Rect{X0: w / 4, Y0: 0, X1: w, Y1: h - h/3},
		Name:     "night/GOPR0356 \"ä\\\t😀.png", Luma: 31.7, Relight: frame.RelightNetwork, Gain: 2.0 / 3,
		DroppedBefore: math.MaxUint32,
	}
}

// mustAppend encodes a mask.
func mustAppend(t testing.TB, e *Encoder, m *frame.Mask, c Codec) []byte {
	t.Helper()
	b, err := e.Append(nil, m, Sending{Codec: c, Published: m.Mono + 20*time.Millisecond, Settings: 3})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// street is a made-up mask with the shapes of a street: straight and wavy
// borders, thin poles, small things, letterbox bars, and cells without a class.
func street(w, h int, seed uint64) *frame.Mask {
	m := &frame.Mask{}
	m.Reset(w, h)
	m.Meta = testMeta(w, h)
	m.Name, m.Valid = "", frame.Rect{}
	s := &streetPainter{m: m, rng: rand.New(rand.NewPCG(seed, 1))}
	fw, fh := float64(w), float64(h)
	s.below(0, 7)                          // sky
	for x := 0.0; x < fw; x += fw * 0.07 { // houses and trees
		top := fh * (0.1 + 0.35*s.rng.Float64())
		s.blob(x, top+fh*0.3, fw*(0.03+0.05*s.rng.Float64()), fh*0.3, uint8(8+s.rng.IntN(2)))
	}
	s.below(fh*0.55, 3)
	s.below(fh*0.6, 1)
	for y := int(fh * 0.58); y < h; y++ { // road
		half := (float64(y) - fh*0.5) * 1.3 * fw / fh
		s.span(y, fw*0.47-half, fw*0.47+half, 0)
	}
	for range 14 { // cars, people, signs
		x, y, r := s.rng.Float64()*fw, fh*(0.5+0.3*s.rng.Float64()), fh*(0.01+0.06*s.rng.Float64())
		s.blob(x, y, r*(0.4+s.rng.Float64()), r, uint8(2+s.rng.IntN(7)))
	}
	for range 6 { // poles
		x := s.rng.Float64() * fw
		for y := int(fh * 0.2); y < h*2/3; y++ {
			s.span(y, x, x+fw*0.006, 5)
		}
	}
	for range 3 {
		s.blob(s.rng.Float64()*fw, s.rng.Float64()*fh, fw*0.02, fh*0.02, frame.Unknown)
	}
	return m
}

type streetPainter struct {
	m   *frame.Mask
	rng *rand.Rand
}

func (s *streetPainter) span(y int, x0, x1 float64, k uint8) {
	for x := max(0, int(x0)); x < min(s.m.W, int(x1)); x++ {
		s.m.Class[y*s.m.W+x] = k
	}
}

// below paints all below a wavy line.
func (s *streetPainter) below(y float64, k uint8) {
	a, f := s.rng.Float64()*6, 0.01+0.03*s.rng.Float64()
	for x := range s.m.W {
		from := y
		if y > 0 {
			from += 3 * (math.Sin(float64(x)*f+a) + math.Sin(float64(x)*f*4.3))
		}
		for y := max(0, int(from)); y < s.m.H; y++ {
			s.m.Class[y*s.m.W+x] = k
		}
	}
}

// blob paints a dented ellipse.
func (s *streetPainter) blob(cx, cy, rx, ry float64, k uint8) {
	a, b := s.rng.Float64()*6, s.rng.Float64()*6
	for y := max(0, int(cy-ry)); y < min(s.m.H, int(cy+ry)); y++ {
		v := (float64(y) + 0.5 - cy) / ry
		half := rx * math.Sqrt(max(0, 1-v*v))
		s.span(y, cx-half*(1+0.1*math.Sin(v*5+a)), cx+half*(1+0.1*math.Sin(v*7+b)), k)
	}
}

// mend makes the checksums of a message right, so that a change of its bytes
// reaches what lies behind them.
func mend(b []byte) []byte {
	b = append([]byte(nil), b...)
	switch Sniff(b) {
	case RLEZstd:
		if len(b) >= 4 {
			binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-4]))
		}
	case PNG:
		for at := len(magicPNG); len(b)-at >= 12; {
			n := int64(binary.BigEndian.Uint32(b[at:]))
			if n > int64(len(b)-at-12) {
				break
			}
			end := at + 8 + int(n)
			binary.BigEndian.PutUint32(b[end:], crc32.ChecksumIEEE(b[at+4:end]))
			at = end + 4
		}
	}
	return b
}

// paletted returns the indices of a palette picture.
func paletted(img image.Image) []uint8 {
	p, ok := img.(*image.Paletted)
	if !ok {
		return nil
	}
	return p.Pix
}
