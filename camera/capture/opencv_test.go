package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nightseg/camera/capture/ring"
	"nightseg/edge/frame"
)

// realProgram returns the path of nightseg-capture.
func realProgram(t *testing.T) string {
	t.Helper()
	path := os.Getenv(programEnv)
	if path == "" {
		path = filepath.Join("..", "..", "bin", programName)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not built: `make build` with libopencv-dev does: %v", programName, err)
	}
	out, err := exec.Command(path).CombinedOutput() // without a parent it says so
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 127 {
		t.Skipf("%s does not start here, is libopencv installed? %s", programName, out)
	}
	return path
}

func openReal(t *testing.T, kind, address string, lim limits) (*Source, error) {
	t.Helper()
	s, err := open(t.Context(), Options{Kind: kind, Address: address, Live: true}, []string{realProgram(t)}, nil, lim)
	if err == nil {
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return s, err
}

func ffmpeg(t *testing.T, in []byte, args ...string) {
	t.Helper()
	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed")
	}
	cmd := exec.Command(path, append([]string{"-v", "error", "-nostdin", "-y"}, args...)...)
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
}

// A size that is no multiple of anything shows a mistaken row length.
const drawnW, drawnH = 61, 37

// draw makes a picture with its number in the first bytes, one colour each in its
// thirds, and a gradient below.
func draw(n int) []byte {
	colours := [3][3]byte{{255, 0, 0}, {0, 255, 0}, {0, 0, 255}}
	pix := make([]byte, 0, 3*drawnW*drawnH)
	for y := range drawnH {
		for x := range drawnW {
			if y < drawnH/2 {
				pix = append(pix, colours[3*x/drawnW][:]...)
			} else {
				pix = append(pix, byte(4*x), byte(6*y), byte(n))
			}
		}
	}
	binary.LittleEndian.PutUint32(pix, uint32(n))
	return pix
}

// drawn writes a lossless video of n pictures at 25 frames per second.
func drawn(t *testing.T, n int) string {
	t.Helper()
	var raw []byte
	for i := range n {
		raw = append(raw, draw(i)...)
	}
	path := filepath.Join(t.TempDir(), "drawn.mkv")
	ffmpeg(t, raw, "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", fmt.Sprintf("%dx%d", drawnW, drawnH), "-r", "25",
		"-i", "-", "-c:v", "ffv1", "-pix_fmt", "bgr0", path)
	return path
}

func TestVideoIsExact(t *testing.T) {
	const frames = 120
	path := drawn(t, frames)
	for name, kill := range map[string]bool{"undisturbed": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			s, err := openReal(t, ring.KindFile, path, quick())
			if err != nil {
				t.Fatal(err)
			}
			if s.FPS() != 25 || s.Len() != frames {
				t.Errorf("%v frames per second, %d frames", s.FPS(), s.Len())
			}
			var f frame.Frame
			for n := range frames {
				if kill && n == 50 {
					signalTo(t, s.pid(), syscall.SIGKILL)
				}
				if err := s.Next(t.Context(), &f); err != nil {
					t.Fatalf("frame %d: %v", n, err)
				}
				if f.W != drawnW || f.H != drawnH || f.SourceW != drawnW || f.SourceH != drawnH {
					t.Fatalf("frame %d has %dx%d", n, f.W, f.H)
				}
				if want := draw(n); !bytes.Equal(f.Pix, want) {
					t.Fatalf("frame %d differs: begins with %v, want %v", n, f.Pix[:12], want[:12])
				}
				if ms := f.Sensor.Milliseconds(); ms != int64(40*n) {
					t.Errorf("frame %d is at %d ms", n, ms)
				}
			}
			if err := s.Next(t.Context(), &f); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
			if died := s.Counters()[CountDied]; (died == 1) != kill {
				t.Errorf("%d restarts", died)
			}
		})
	}
}

// colour returns the mean of the picture.
func colour(f *frame.Frame) (mean [3]int) {
	for i, b := range f.Pix {
		mean[i%3] += int(b)
	}
	for c := range mean {
		mean[c] /= f.W * f.H
	}
	return mean
}

func TestColoursOfACodec(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rgb.mp4")
	args := []string{}
	for _, c := range []string{"0xff0000", "0x00ff00", "0x0000ff"} {
		args = append(args, "-f", "lavfi", "-i", "color="+c+":s=64x48:r=10:d=1")
	}
	ffmpeg(t, nil, append(args, "-filter_complex", "concat=n=3", "-c:v", "mpeg4", "-q:v", "1", path)...)
	s, err := openReal(t, ring.KindFile, path, quick())
	if err != nil {
		t.Fatal(err)
	}
	var f frame.Frame
	n := 0
	for ; ; n++ {
		if err = s.Next(t.Context(), &f); err != nil {
			break
		}
		for c, v := range colour(&f) {
			if on := c == n/10; on && v < 225 || !on && v > 30 {
				t.Errorf("frame %d has the mean colour %v", n, colour(&f))
			}
		}
	}
	if n != 30 || !errors.Is(err, io.EOF) {
		t.Errorf("%d frames, then %v", n, err)
	}
}

// readAll reads to the end.
func readAll(t *testing.T, s *Source) (int, error) {
	t.Helper()
	var f frame.Frame
	for n := 0; ; n++ {
		if err := s.Next(t.Context(), &f); err != nil {
			return n, err
		}
	}
}

func TestDamagedVideo(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.mp4")
	ffmpeg(t, nil, "-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=20", "-c:v", "mpeg4", "-q:v", "3", "-g", "12",
		"-movflags", "+faststart", whole)
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	noise := bytes.Clone(data)
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a seeded test
	for i := len(noise) / 3; i < len(noise); i += 1 + rng.IntN(40) {
		noise[i] = byte(rng.Uint32())
	}
	for _, c := range []struct {
		name, path string
		want       string // of the error at opening; empty: it opens
		end        string // of the error behind the frames; empty: any or the end
	}{
		{"missing", filepath.Join(dir, "no.mp4"), "no such file", ""},
		{"folder", dir, "not a regular file", ""},
		{"empty", write("empty.mp4", nil), "empty", ""},
		{"text", write("text.mp4", []byte(strings.Repeat("this is no video\n", 500))), "no video", ""},
		{"only the start", write("start.mp4", data[:200]), "no video", ""},
		{"index lost", write("index.mp4", append(bytes.Clone(data[:40]), data[len(data)/2:]...)), "no video", ""},
		{"cut", write("cut.mp4", data[:len(data)/2]), "", "breaks off"},
		{"noise", write("noise.mp4", noise), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := openReal(t, ring.KindFile, c.path, quick())
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
					t.Errorf("%v does not say %q and the path", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			n, err := readAll(t, s)
			t.Logf("%d of 500 frames, then %v", n, err)
			if n < 100 || n > 500 || c.end != "" && !strings.Contains(err.Error(), c.end) {
				t.Errorf("%d frames, then %v", n, err)
			}
			wantCounts(t, s, nil)
		})
	}
}

func TestNightClips(t *testing.T) {
	for name, want := range map[string]int{"diptamath_small_nightRoad.mp4": 1283, "tmo324_night.mp4": 1079} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("..", "..", "..", "shared", "data", "night_sequence", "clips", name)
			if _, err := os.Stat(path); err != nil {
				t.Skipf("the clip is not here: %v", err)
			}
			s, err := openReal(t, ring.KindFile, path, quick())
			if err != nil {
				t.Fatal(err)
			}
			if n, err := readAll(t, s); n != want || !errors.Is(err, io.EOF) {
				t.Errorf("%d frames, want %d; then %v", n, want, err)
			}
			wantCounts(t, s, nil)
		})
	}
}

func TestCamerasThatAreNotHere(t *testing.T) {
	notVideo := filepath.Join(t.TempDir(), "video")
	if err := os.WriteFile(notVideo, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ kind, address, want string }{
		{ring.KindV4L2, "/dev/video99", "no such file"},
		{ring.KindV4L2, notVideo, "not a V4L2 camera"},
		{ring.KindCSI, "0", "nvarguscamerasrc"},
		{ring.KindRTSP, "rtsp://user:secret@127.0.0.1:1/camera", "no video from the RTSP server"},
	} {
		s, err := openReal(t, c.kind, c.address, quick())
		if err == nil {
			t.Errorf("%s %s opened: %d", c.kind, c.address, s.Len())
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s %s: %v", c.kind, c.address, err)
		}
	}
}
