package camera_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/camera"
	"nightseg/camera/capture/ring"
	"nightseg/edge/frame"
)

// fakeEnv makes this test's program a capture process without OpenCV.
const fakeEnv = "NIGHTSEG_TEST_CAPTURE"

func TestMain(m *testing.M) {
	if os.Getenv(fakeEnv) != "" {
		err := ring.Serve(func(c *ring.Config) (ring.Device, ring.Info, error) {
			return &fake{c: c}, ring.Info{FPS: 25, Total: fakeFrames}, nil
		})
		if err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fakeFrames is the length of the recording that a fake plays.
const fakeFrames = 5

// fake is a device whose pictures say their number, and what was asked of it.
type fake struct {
	c *ring.Config
	n int
}

func (d *fake) Read(dst []byte) (ring.Shot, error) {
	if d.c.Kind == ring.KindFile && d.n == fakeFrames {
		return ring.Shot{}, io.EOF
	}
	const w, h = 8, 4
	dst = dst[:min(len(dst), 3*w*h)] // the slot is far larger
	for i := range dst {
		dst[i] = byte(10 * d.n)
	}
	if len(dst) > 3 {
		dst[0], dst[1], dst[2] = byte(d.c.Width/10), byte(d.c.FPS), byte(len(d.c.FourCC))
	}
	d.n++
	return ring.Shot{W: w, H: h, Sensor: ring.AliveEvery * 1000}, nil
}

func (d *fake) Close() error { return nil }

// useFake makes a program that starts the fake, as the capture process.
func useFake(t *testing.T) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "nightseg-capture")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s'\n", fakeEnv, exe)
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NIGHTSEG_CAPTURE", program)
}

func TestVideoFile(t *testing.T) {
	useFake(t)
	path := filepath.Join(t.TempDir(), "night.mp4")
	if err := os.WriteFile(path, []byte("a recording"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path, camera.Options{ID: "rear", Width: 4, Height: 4})
	if s.Len() != fakeFrames {
		t.Errorf("length %d, want %d", s.Len(), fakeFrames)
	}
	var f frame.Frame
	for i := range fakeFrames {
		next(t, s, &f)
		if f.Seq != uint64(i) || f.Name != "night.mp4" || f.Camera != "rear" || f.SourceW != 8 || f.W != 4 || f.H != 4 {
			t.Errorf("frame %d: %+v", i, f.Meta)
		}
		if v := f.Pix[len(f.Pix)-1]; v != byte(10*i) {
			t.Errorf("frame %d shows picture %d", i, v/10)
		}
	}
	if err := s.Next(t.Context(), &f); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestVideoFileStartsAgain(t *testing.T) {
	useFake(t)
	path := filepath.Join(t.TempDir(), "night.mp4")
	if err := os.WriteFile(path, []byte("a recording"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path, camera.Options{Loop: true})
	if s.Len() != -1 {
		t.Errorf("length %d, want -1", s.Len())
	}
	var f frame.Frame
	for i := range 2*fakeFrames + 1 {
		next(t, s, &f)
		if v := f.Pix[len(f.Pix)-1]; f.Seq != uint64(i) || v != byte(10*(i%fakeFrames)) {
			t.Errorf("frame %d: seq %d, picture %d", i, f.Seq, v/10)
		}
	}
	for why, n := range s.Counters() {
		if n != 0 {
			t.Errorf("counter %s is %d", why, n)
		}
	}
}

func TestCameraIsAskedForItsMode(t *testing.T) {
	useFake(t)
	var f frame.Frame
	for source, want := range map[string][3]byte{
		"v4l2:///dev/video9?size=1280x720&fps=15&fourcc=MJPG": {128, 15, 4},
		"v4l2:///dev/video9": {},
		"csi://2?fps=60":     {0, 60, 0},
		"rtsp://u:p@cam/1":   {},
	} {
		s := open(t, source, camera.Options{})
		next(t, s, &f)
		if [3]byte(f.Pix[:3]) != want {
			t.Errorf("%s: asked for %v, want %v", source, f.Pix[:3], want)
		}
		if f.Name != "" || f.Sensor != ring.AliveEvery*1000 || s.Len() != -1 {
			t.Errorf("%s: length %d, meta %+v", source, s.Len(), f.Meta)
		}
	}
	s := open(t, "v4l2:///dev/video9?fps=15", camera.Options{Rate: 20})
	next(t, s, &f)
	if f.Pix[1] != 20 {
		t.Errorf("asked for %d frames per second, want those of the options: 20", f.Pix[1])
	}
}

// A program that breaks off before it has opened the device is an error that
// says so.
func TestCaptureProgramThatFails(t *testing.T) {
	program := filepath.Join(t.TempDir(), "nightseg-capture")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no camera here >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NIGHTSEG_CAPTURE", program)
	_, err := camera.Open(t.Context(), "v4l2:///dev/video9", camera.Options{})
	if err == nil || !strings.Contains(err.Error(), "no camera here") {
		t.Errorf("error %v, want what the program said", err)
	}
}
