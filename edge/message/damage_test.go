package message

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"image/png"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"nightseg/edge/frame"
)

// parseErr parses into a mask of its own, and wants an error that says what it
// is about.
func parseErr(t *testing.T, b []byte, what string) error {
	t.Helper()
	var m frame.Mask
	_, err := Parse(&m, b)
	if err == nil {
		t.Fatalf("%s: taken", what)
	}
	if !strings.HasPrefix(err.Error(), "message: ") || !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
		t.Fatalf("%s: %v is neither ErrFormat nor ErrVersion", what, err)
	}
	return err
}

// TestTruncated cuts messages at every byte, with the checksums as they were
// and made right again.
func TestTruncated(t *testing.T) {
	e := testEncoder(t)
	for _, c := range Codecs() {
		b := mustAppend(t, e, street(48, 40, 1), c)
		for n := range b {
			parseErr(t, b[:n], fmt.Sprintf("%s cut at byte %d", c, n))
			parseErr(t, mend(b[:n]), fmt.Sprintf("%s cut at byte %d, mended", c, n))
		}
		parseErr(t, append(b[:len(b):len(b)], 0), string(c)+" with a byte more")
	}
}

// TestFlipped changes every bit: no change goes unseen.
func TestFlipped(t *testing.T) {
	e := testEncoder(t)
	for _, c := range Codecs() {
		b := mustAppend(t, e, street(48, 40, 1), c)
		for i := range 8 * len(b) {
			b[i/8] ^= 1 << (i % 8)
			parseErr(t, b, fmt.Sprintf("%s, bit %d", c, i))
			b[i/8] ^= 1 << (i % 8)
		}
	}
}

// chunk makes a chunk of a PNG file.
func chunk[S ~string | ~[]byte](name string, body S) []byte {
	b, at := openChunk(nil, name)
	return closeChunk(append(b, body...), at)
}

// split returns the chunks of a PNG file by name.
func split(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	parts := map[string][]byte{}
	for at := len(magicPNG); at < len(b); {
		name, body, err := chunkAt(b, at)
		if err != nil {
			t.Fatal(err)
		}
		parts[string(name)] = b[at : at+12+len(body)]
		at += 12 + len(body)
	}
	return parts
}

func ihdr(w, h uint32, rest string) []byte {
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	return chunk("IHDR", append(b, rest...))
}

func deflated(raw []byte) []byte {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, err := w.Write(raw)
	if err := errors.Join(err, w.Close()); err != nil {
		panic(err)
	}
	return z.Bytes()
}

// TestPNGParts puts chunks together in ways that are right and wrong.
func TestPNGParts(t *testing.T) {
	m := street(48, 40, 1)
	p := split(t, mustAppend(t, testEncoder(t), m, PNG))
	head, text, plte, idat, iend := p["IHDR"], p["tEXt"], p["PLTE"], p["IDAT"], p["IEND"]
	data := idat[8 : len(idat)-4]
	half := [][]byte{chunk("IDAT", data[:9]), chunk("IDAT", ""), chunk("IDAT", data[9:])}
	raw := make([]byte, 49*40)
	bad := bytes.Clone(raw)
	bad[49] = 5
	for _, c := range []struct {
		name   string
		chunks [][]byte
		says   string
	}{
		{"as it is", [][]byte{head, text, plte, idat, iend}, ""},
		{"three IDAT", [][]byte{head, text, plte, half[0], half[1], half[2], iend}, ""},
		{"header behind the pixels", [][]byte{head, plte, idat, text, iend}, ""},
		{"other texts", [][]byte{
			head, chunk("tEXt", "Title\x00x"), text, chunk("tIME", make([]byte, 7)), plte, idat,
			chunk("eXIf", ""), iend,
		}, ""},
		{"no header", [][]byte{head, plte, idat, iend}, "not a mask of ours"},
		{"two headers", [][]byte{head, text, text, plte, idat, iend}, "two tEXt"},
		{"no IHDR", [][]byte{text, plte, idat, iend}, "IHDR must come once, first"},
		{"two IHDR", [][]byte{head, head, text, plte, idat, iend}, "IHDR must come once, first"},
		{"no PLTE", [][]byte{head, text, idat, iend}, "no PLTE"},
		{"late PLTE", [][]byte{head, text, idat, plte, iend}, "chunk PLTE"},
		{"two PLTE", [][]byte{head, text, plte, plte, idat, iend}, "chunk PLTE"},
		{"PLTE of 4 bytes", [][]byte{head, text, chunk("PLTE", "1234"), idat, iend}, "chunk PLTE"},
		{"no IDAT", [][]byte{head, text, plte, iend}, "no IDAT"},
		{"IDAT in pieces", [][]byte{head, text, plte, half[0], chunk("tIME", ""), half[2], iend}, "in one piece"},
		{"critical chunk", [][]byte{head, text, plte, chunk("NEWS", ""), idat, iend}, `unknown chunk "NEWS"`},
		{"no chunk", [][]byte{head, text, plte, chunk("ID T", ""), idat, iend}, "no chunk at byte"},
		{"no IEND", [][]byte{head, text, plte, idat}, "cut off"},
		{"IEND with bytes", [][]byte{head, text, plte, idat, chunk("IEND", "1")}, "behind the end"},
		{"short IHDR", [][]byte{chunk("IHDR", "12"), text, plte, idat, iend}, "IHDR of 2 bytes"},
		{"16 bits", [][]byte{ihdr(48, 40, "\x10\x03\x00\x00\x00"), text, plte, idat, iend}, "depth 16"},
		{"grey", [][]byte{ihdr(48, 40, "\x08\x00\x00\x00\x00"), text, plte, idat, iend}, "colour type 0"},
		{"interlaced", [][]byte{ihdr(48, 40, "\x08\x03\x00\x00\x01"), text, plte, idat, iend}, "interlace 1"},
		{"another width", [][]byte{ihdr(47, 40, "\x08\x03\x00\x00\x00"), text, plte, idat, iend}, "has 47x40"},
		{"no zlib", [][]byte{head, text, plte, chunk("IDAT", "no zlib here"), iend}, "IDAT: "},
		{"too few rows", [][]byte{head, text, plte, chunk("IDAT", deflated(raw[:49*39])), iend}, "row 39 of 40"},
		{"a row more", [][]byte{head, text, plte, chunk("IDAT", deflated(append(raw, 0))), iend}, "more than 48x40"},
		{
			"bytes behind zlib",
			[][]byte{head, text, plte, chunk("IDAT", append(data[:len(data):len(data)], 0)), iend},
			"1 bytes behind",
		},
		{"filter 5", [][]byte{head, text, plte, chunk("IDAT", deflated(bad)), iend}, "filter 5"},
		{
			"zlib checksum",
			[][]byte{head, text, plte, chunk("IDAT", append(data[:len(data)-1:len(data)-1], 1)), iend},
			"IDAT: ",
		},
	} {
		b := append([]byte(magicPNG), bytes.Join(c.chunks, nil)...)
		if c.says == "" {
			var got frame.Mask
			if _, err := Parse(&got, b); err != nil || !bytes.Equal(got.Class, m.Class) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err := parseErr(t, b, c.name); !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

// TestFilters reads all filters of PNG as Go's image/png does.
func TestFilters(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	e := testEncoder(t)
	for range 100 {
		m := randomMask(rng)
		p := split(t, mustAppend(t, e, m, PNG))
		raw := make([]byte, (m.W+1)*m.H)
		for i := range raw {
			raw[i] = byte(rng.Uint32())
			if i%(m.W+1) == 0 {
				raw[i] = byte(rng.IntN(5))
			}
		}
		b := append([]byte(magicPNG), bytes.Join([][]byte{
			p["IHDR"], p["tEXt"], p["PLTE"], chunk("IDAT", deflated(raw)), p["IEND"],
		}, nil)...)
		var got frame.Mask
		if _, err := Parse(&got, b); err != nil {
			t.Fatal(err)
		}
		checkSamePicture(t, b, &got)
	}
}

// rle puts a message together, with a right checksum.
func rle(fixed []byte, header, frame []byte) []byte {
	b := bytes.Join([][]byte{fixed, header, frame, make([]byte, 4)}, nil)
	return mend(b)
}

// runsMessage is a message of w x h pixels with the given runs.
func runsMessage(t testing.TB, w, h int, runs []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	head := appendHeader(nil, &Header{
		Meta: testMeta(w, h), Schema: Schema, Codec: RLEZstd, Fleet: "f", Device: "d", W: w, H: h,
	})
	packed := z.EncodeAll(runs, nil)
	return rle(rleHead(w, h, len(head), len(runs), len(packed)), head, packed)
}

func rleHead(w, h, header, runs, packed int) []byte {
	b := append([]byte(magicRLE), rleVersion, 0)
	for _, v := range []int{w, h, header} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(runs))
	return binary.LittleEndian.AppendUint32(b, uint32(packed))
}

// TestRuns reads runs written by hand: the format is what doc.go says.
func TestRuns(t *testing.T) {
	for _, c := range []struct {
		name  string
		runs  string
		class string // of 4 x 3 pixels
		says  string
	}{
		{"all as above", "\x0c", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		{
			"a class, left, above", "\x01" + "\x06\x05" + "\x01" + "\x00" + "\x02" + "\x05" + "\x03",
			"\x00\x05\x05\x00\x00\x05\x05\x05\x05\x05\x05\x05", "",
		},
		{
			"as above goes on over rows", "\x00" + "\x0e\x07" + "\x08",
			"\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07", "",
		},
		{"a run over rows", "\x02" + "\x22\xff" + "\x01", "\x00\x00" + "\xff\xff\xff\xff\xff\xff\xff\xff\xff" + "\xff", ""},
		{"a last count of 0", "\x00" + "\x2e\x09" + "\x00", "\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09", ""},
		{"a long form of a count", "\x8c\x00", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		{"nothing", "", "", "count at byte 0"},
		{"too many", "\x0d", "", "count at byte"},
		{"too few", "\x0b", "", "cut off"},
		{"more", "\x0c\x00", "", "1 bytes too many"},
		{"kind 3", "\x01\x03", "", "kind 3"},
		{"a run that is too long", "\x08\x12\x01", "", "too long a run"},
		{"as above itself", "\x04\x0d", "", "too long a run"},
		{"no class", "\x04\x02", "", "cut off"},
		{"no long length", "\x00\xfe", "", "cut off"},
		{"an endless count", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "", "count at byte 0"},
		{"a huge count", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "", "count at byte 0"},
		{"no last count", "\x00\x2e\x09", "", "count at byte 3"},
	} {
		b := runsMessage(t, 4, 3, []byte(c.runs))
		if c.says == "" {
			var got frame.Mask
			if _, err := Parse(&got, b); err != nil || string(got.Class) != c.class {
				t.Errorf("%s: % x, %v; want % x", c.name, got.Class, err, c.class)
			}
			continue
		}
		if err := parseErr(t, b, c.name); !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

// TestRLEParts changes the fields before the runs.
func TestRLEParts(t *testing.T) {
	good := mustAppend(t, testEncoder(t), street(48, 40, 1), RLEZstd)
	for _, c := range []struct {
		name string
		at   int
		v    byte
		says string
	}{
		{"version", 4, 2, "unknown version 2; this program reads 1"},
		{"byte 5", 5, 1, "byte 5"},
		{"width", 6, 47, "has 47x40"},
		{"no height", 8, 0, "48x0 pixels"},
		{"length of the header", 10, good[10] + 1, "its lengths say"},
		{"length of the runs", 12, good[12] + 1, "does not hold"},
		{"length of the frame", 16, good[16] - 1, "its lengths say"},
		{"zstd", rleFixed + int(binary.LittleEndian.Uint16(good[10:])), 0, "zstd"},
	} {
		b := bytes.Clone(good)
		b[c.at] = c.v
		err := parseErr(t, mend(b), c.name)
		if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if errors.Is(err, ErrVersion) != (c.name == "version") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestForeign(t *testing.T) {
	for _, s := range []string{
		"", "N", "NSR", "NSRZ", "\x89PNG", "{}", "hello, this is no mask", magicPNG, "\xff\xd8\xff",
	} {
		parseErr(t, []byte(s), fmt.Sprintf("%q", s))
	}
	for s, want := range map[string]string{magicPNG: "png", magicRLE + "x": "nsrz", "\x89PNG": "bin", "": "bin"} {
		if got := Sniff([]byte(s)).Extension(); got != want {
			t.Errorf("%q: extension %s, want %s", s, got, want)
		}
	}
}

// TestBombs: small messages that claim much are refused before the memory is taken.
func TestBombs(t *testing.T) {
	p := split(t, mustAppend(t, testEncoder(t), street(48, 40, 1), PNG))
	picture := func(w, h uint32, data []byte) []byte {
		m := testMeta(int(w), int(h))
		head := appendHeader([]byte(textKey), &Header{
			Meta: m, Schema: Schema, Codec: PNG, Fleet: "f", Device: "d", W: int(w), H: int(h),
		})
		return append([]byte(magicPNG), bytes.Join([][]byte{
			ihdr(w, h, "\x08\x03\x00\x00\x00"), chunk("tEXt", head), p["PLTE"], chunk("IDAT", data), p["IEND"],
		}, nil)...)
	}
	long := bytes.Clone(picture(5, 5, nil))
	binary.BigEndian.PutUint32(long[8+25:], 1<<31)
	runs := func(w, h, header, runs, packed int) []byte {
		m := testMeta(w, h)
		head := appendHeader(nil, &Header{Meta: m, Schema: Schema, Codec: RLEZstd, Fleet: "f", Device: "d", W: w, H: h})
		if header == 0 {
			header = len(head)
		}
		return rle(rleHead(w, h, header, runs, packed), head, make([]byte, packed&0xff))
	}
	for name, b := range map[string][]byte{
		"png of 4 Gpx":           picture(65535, 65535, nil),
		"png of 2^62 px":         picture(1<<31-1, 1<<31-1, nil),
		"png wider than allowed": picture(1<<16, 1, nil),
		"png of 64 Mpx, empty":   picture(8192, 8192, deflated(nil)),
		"png of 64 Mpx, small":   picture(8192, 8192, deflated(make([]byte, 1<<20))),
		"a chunk of 2 GB":        long,
		"a header of 10 MB": append([]byte(magicPNG), bytes.Join([][]byte{
			p["IHDR"], chunk("tEXt", append([]byte(textKey), bytes.Repeat([]byte("["), 10<<20)...)), p["PLTE"], p["IDAT"],
			p["IEND"],
		}, nil)...),
		"rle of 4 Gpx":                  runs(65535, 65535, 0, 3, 0),
		"rle of 64 Mpx, empty":          runs(8192, 8192, 0, 1, 8),
		"rle of 64 Mpx, 200 MB of runs": runs(8192, 8192, 0, 3*MaxPixels, 100),
		"rle, 4 GB of runs":             runs(8192, 8192, 0, 1<<32-1, 100),
		"rle, a frame of 4 GB":          runs(8, 8, 0, 1, 1<<32-1),
		"rle, a header of 64 kB":        runs(8, 8, MaxHeader, 1, 0),
		"rle, runs for less":            runsMessage(t, 8192, 8192, []byte("\x05")),
	} {
		var before, after runtime.MemStats
		var m frame.Mask
		runtime.ReadMemStats(&before)
		_, err := Parse(&m, b)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%s: took %d bytes", name, n)
		}
	}
}

// checkSamePicture compares a parsed mask with what Go's image/png reads.
func checkSamePicture(t *testing.T, b []byte, m *frame.Mask) {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("image/png: %v", err)
	}
	if !bytes.Equal(paletted(img), m.Class) {
		t.Fatal("image/png reads other indices")
	}
}
