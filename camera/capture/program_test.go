package capture

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nightseg/camera/capture/ring"
)

func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	return path
}

func TestWhereTheProgramIs(t *testing.T) {
	onPath := script(t, programName, "exit 1")
	other := script(t, "other", "exit 1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	t.Setenv(programEnv, "")
	_, err = find("")
	for _, want := range []string{programName, filepath.Dir(exe), "PATH", "make build", "package"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nowhere: %v does not say %q", err, want)
		}
	}
	t.Setenv("PATH", filepath.Dir(onPath))
	if got, err := find(""); got != onPath || err != nil {
		t.Errorf("on PATH: %q, %v", got, err)
	}
	beside := filepath.Join(filepath.Dir(exe), programName)
	if err := os.Symlink(onPath, beside); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(beside) })
	if got, err := find(""); got != beside || err != nil {
		t.Errorf("beside the program: %q, %v", got, err)
	}
	t.Setenv(programEnv, other)
	if got, err := find(""); got != other || err != nil {
		t.Errorf("by the environment: %q, %v", got, err)
	}
	if got, err := find(onPath); got != onPath || err != nil {
		t.Errorf("by the settings: %q, %v", got, err)
	}
	for _, set := range []string{"", "/nowhere/" + programName} {
		t.Setenv(programEnv, "/nowhere/env")
		want := set
		if set == "" {
			want = "/nowhere/env"
		}
		_, err := Open(t.Context(), Options{Kind: ring.KindFile, Address: "a.mp4", Program: set})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "make build") {
			t.Errorf("%q: %v", set, err)
		}
	}
}

func TestProgramThatDoesNotStart(t *testing.T) {
	missing := "error while loading shared libraries: libopencv_core.so.406: cannot open shared object file"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"no library": {"echo 'x: " + missing + "' >&2; exit 127", []string{missing, "libopencv-dev", "make build"}},
		"crash":      {"kill -SEGV $$", []string{"segmentation fault"}},
		"silent end": {"exit 0", []string{"ended", "exit status 0"}},
		"foreign":    {"echo hello >&4; exit 2", []string{"ended: exit status 2"}},
		"chatter":    {"yes >&4", []string{"protocol", "same version"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Options{Kind: ring.KindFile, Address: "a.mp4", Program: script(t, "p", c.text)})
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"rate":    {Kind: ring.KindV4L2, Address: "/dev/video0", FPS: -1},
		"size":    {Kind: ring.KindV4L2, Address: "/dev/video0", Width: 1 << 20},
		"address": {Kind: ring.KindFile},
		"kind":    {Kind: "webcam", Address: "0"},
		"letters": {Kind: ring.KindV4L2, Address: "0", FourCC: "H264x"},
		"flip":    {Kind: ring.KindCSI, Address: "0", Flip: 8},
		"sensor":  {Kind: ring.KindCSI, Address: "0 ! filesink location=x"},
	} {
		if s, err := tryFake(t, o, quick()); err == nil {
			t.Errorf("%s: %+v was taken: %v", name, o, s)
		}
	}
}

func TestPasswordsAreNotTold(t *testing.T) {
	for in, want := range map[string]string{
		"rtsp://user:secret@10.0.0.2:554/a": "rtsp://***@10.0.0.2:554/a",
		"rtsp://10.0.0.2/a":                 "rtsp://10.0.0.2/a",
		"/videos/a b%.mp4":                  "/videos/a b%.mp4",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%s is told as %s, want %s", in, got, want)
		}
	}
}

func TestPipeline(t *testing.T) {
	got, err := Pipeline(&ring.Config{Address: "1", Width: 1280, Height: 720, FPS: 29.97, Flip: 2})
	want := "nvarguscamerasrc sensor-id=1" +
		" ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30000/1001,format=NV12" +
		" ! nvvidconv flip-method=2 ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR" +
		" ! appsink drop=true max-buffers=1 sync=false"
	if got != want || err != nil {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	parts := strings.Split(got, " ! ")
	for _, e := range Elements() {
		if !slices.ContainsFunc(parts, func(p string) bool { return strings.HasPrefix(p, e) }) {
			t.Errorf("element %s is not in it", e)
		}
	}
	got, err = Pipeline(&ring.Config{Address: "0"})
	if err != nil || !strings.Contains(got, "width=1920,height=1080,framerate=30/1,") ||
		!strings.Contains(got, "flip-method=0") {
		t.Errorf("without a mode: %s, %v", got, err)
	}
	for _, c := range []ring.Config{{Address: ""}, {Address: "-1"}, {Address: "64"}, {Address: "0", Width: 640}} {
		if got, err := Pipeline(&c); err == nil {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestFraction(t *testing.T) {
	for fps, want := range map[float64][2]int{
		30: {30, 1}, 29.97: {30000, 1001}, 59.94: {60000, 1001}, 23.976: {24000, 1001}, 12.5: {12500, 1000}, 0.5: {500, 1000},
	} {
		if n, d := fraction(fps); [2]int{n, d} != want {
			t.Errorf("%v = %d/%d, want %v", fps, n, d, want)
		}
	}
}

func TestBudget(t *testing.T) {
	lim := defaultLimits
	spend := func(b *budget, at uint64, lived time.Duration) string {
		d, err := b.spend(at, lived, os.ErrClosed)
		if err != nil {
			return "over"
		}
		return d.String()
	}
	b := budget{lim: &lim, live: true}
	for i, want := range []string{"100ms", "200ms", "400ms", "800ms", "1.6s", "3.2s", "5s", "5s", "over"} {
		if got := spend(&b, 0, time.Second); got != want {
			t.Errorf("restart %d of a camera: %s, want %s", i, got, want)
		}
	}
	b = budget{lim: &lim, live: true}
	for range 50 { // falls out once a minute
		if got := spend(&b, 0, time.Minute); got != "100ms" {
			t.Errorf("a camera that ran for a minute: %s", got)
		}
	}
	b = budget{lim: &lim}
	for i, want := range []string{"100ms", "200ms", "over"} {
		if got := spend(&b, 7, time.Minute); got != want {
			t.Errorf("death %d at frame 7: %s, want %s", i, got, want)
		}
	}
	b = budget{lim: &lim}
	for i := range lim.file {
		if got := spend(&b, uint64(10+i), 0); (got == "over") != (i == lim.file-1) {
			t.Errorf("death %d, each at a new frame: %s", i, got)
		}
	}
}

func TestCauseOfDeath(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "",
		"a\nb\n\n":                              "b",
		"a\nSIGSEGV: x\nPC=1\n":                 "SIGSEGV: x",
		"panic: y\n\ngoroutine 1":               "panic: y",
		"terminate called after 'cv'":           "terminate called after 'cv'",
		strings.Repeat("noise\n", 1e5) + "last": "last",
	} {
		var s tail
		if _, err := s.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := s.cause(); got != want {
			t.Errorf("%.30q: %q, want %q", text, got, want)
		}
		if len(s.last) > tailSize {
			t.Errorf("%d bytes kept", len(s.last))
		}
	}
}
