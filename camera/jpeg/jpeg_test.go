package jpeg_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	stdjpeg "image/jpeg"
	"testing"

	"nightseg/camera/jpeg"
	"nightseg/edge/frame"
)

// gradient is a picture whose every area has its own colour.
func gradient(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetRGBA(x, y, color.RGBA{uint8(255 * x / w), uint8(255 * y / h), uint8(128 + 127*(x+y)/(w+h)), 255})
		}
	}
	return m
}

func encode(tb testing.TB, m image.Image) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := stdjpeg.Encode(&b, m, &stdjpeg.Options{Quality: 98}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func decoder(tb testing.TB) *jpeg.Decoder {
	tb.Helper()
	d, err := jpeg.New()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = d.Close() })
	return d
}

func TestDecodeIsCloseToTheSource(t *testing.T) {
	for _, size := range [][2]int{{64, 48}, {17, 9}, {1, 1}} {
		src := gradient(size[0], size[1])
		var f frame.Frame
		f.Name = "kept"
		if err := decoder(t).Decode(&f, encode(t, src)); err != nil {
			t.Fatal(err)
		}
		if f.W != size[0] || f.H != size[1] || len(f.Pix) != 3*f.W*f.H || f.Name != "kept" {
			t.Fatalf("frame of %dx%d, %d bytes, name %q", f.W, f.H, len(f.Pix), f.Name)
		}
		for i := range f.W * f.H {
			for c := range 3 {
				want, got := int(src.Pix[4*i+c]), int(f.Pix[3*i+c])
				if got-want > 24 || want-got > 24 {
					t.Fatalf("%v: pixel %d channel %d = %d, want about %d", size, i, c, got, want)
				}
			}
		}
	}
}

func TestRedStaysRed(t *testing.T) {
	m := image.NewRGBA(image.Rect(0, 0, 32, 32))
	for i := 0; i < len(m.Pix); i += 4 {
		m.Pix[i], m.Pix[i+3] = 255, 255
	}
	var f frame.Frame
	if err := decoder(t).Decode(&f, encode(t, m)); err != nil {
		t.Fatal(err)
	}
	if f.Pix[0] < 240 || f.Pix[1] > 16 || f.Pix[2] > 16 {
		t.Errorf("first pixel of a red picture = %v", f.Pix[:3])
	}
}

func TestGreyBecomesRGB(t *testing.T) {
	m := image.NewGray(image.Rect(0, 0, 16, 16))
	for i := range m.Pix {
		m.Pix[i] = 77
	}
	var f frame.Frame
	if err := decoder(t).Decode(&f, encode(t, m)); err != nil {
		t.Fatal(err)
	}
	for i, v := range f.Pix {
		if v < 76 || v > 78 {
			t.Fatalf("byte %d = %d, want 77", i, v)
		}
	}
}

func TestBrokenFiles(t *testing.T) {
	good := encode(t, gradient(64, 48))
	huge := bytes.Clone(good)
	at := bytes.Index(huge, []byte{0xff, 0xc0}) // start of frame: length, precision, height, width
	binary.BigEndian.PutUint16(huge[at+5:], 60000)
	binary.BigEndian.PutUint16(huge[at+7:], 60000)
	corrupt := bytes.Clone(good)
	for i := len(corrupt) / 2; i < len(corrupt)/2+200; i++ {
		corrupt[i] ^= 0x5a
	}
	for name, b := range map[string][]byte{
		"empty":        {},
		"no JPEG":      []byte("GIF89a, not a JPEG"),
		"header only":  good[:200],
		"half":         good[:len(good)/2],
		"no end":       good[:len(good)-20],
		"huge":         huge,
		"corrupt half": corrupt,
	} {
		if name == "corrupt half" && jpeg.Library == "image/jpeg" {
			continue // that decoder takes any bits that happen to be codes
		}
		var f frame.Frame
		err := decoder(t).Decode(&f, b)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if name == "huge" && !errors.Is(err, jpeg.ErrTooLarge) {
			t.Errorf("huge: %v", err)
		}
	}
}

func TestDecoderGoesOnAfterAnError(t *testing.T) {
	d, good := decoder(t), encode(t, gradient(64, 48))
	var f frame.Frame
	if err := d.Decode(&f, good[:len(good)/2]); err == nil {
		t.Fatal("half a file was taken")
	}
	if err := d.Decode(&f, good); err != nil {
		t.Errorf("a good file after a broken one: %v", err)
	}
}

func TestClose(t *testing.T) {
	d := decoder(t)
	for range 2 {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	if jpeg.Library != "libjpeg-turbo" {
		t.Skipf("%s allocates", jpeg.Library)
	}
	d, b := decoder(t), encode(t, gradient(64, 48))
	var f frame.Frame
	n := testing.AllocsPerRun(50, func() {
		if err := d.Decode(&f, b); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per frame, want 0", n)
	}
}

func FuzzDecode(f *testing.F) {
	good := encode(f, gradient(24, 16))
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{0xff, 0xd8, 0xff})
	f.Add([]byte{})
	d := decoder(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		var out frame.Frame
		if err := d.Decode(&out, b); err == nil && len(out.Pix) != 3*out.W*out.H {
			t.Errorf("%d bytes for %dx%d", len(out.Pix), out.W, out.H)
		}
	})
}

func BenchmarkDecode640x480(b *testing.B) {
	d, data := decoder(b), encode(b, gradient(640, 480))
	var f frame.Frame
	for b.Loop() {
		if err := d.Decode(&f, data); err != nil {
			b.Fatal(err)
		}
	}
}
