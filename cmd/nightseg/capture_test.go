package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"nightseg/camera"
	"nightseg/edge/mqtt"
)

// needCapture skips a test where nightseg-capture cannot run, and otherwise lets
// this program find it.
func needCapture(t *testing.T) {
	t.Helper()
	const variable = "NIGHTSEG_CAPTURE"
	path := os.Getenv(variable)
	if path == "" {
		var err error
		if path, err = filepath.Abs(filepath.Join("..", "..", "bin", "nightseg-capture")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("nightseg-capture is not built: `make build` with libopencv-dev does: %v", err)
	}
	err := exec.Command(path).Run() // without a parent it says so
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 127 {
		t.Skip("nightseg-capture does not start here: is libopencv installed?")
	}
	t.Setenv(variable, path)
}

// video writes a video of so many frames.
func video(t *testing.T, frames int) (name string) {
	t.Helper()
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed")
	}
	name = filepath.Join(t.TempDir(), "drive.mkv")
	c := exec.Command(ffmpeg, "-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc=size=96x64:rate=25",
		"-frames:v", strconv.Itoa(frames), "-c:v", "ffv1", name)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	return name
}

// captureProcesses lists the capture processes that this program has started.
func captureProcesses(t *testing.T) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		head, tail, ok := strings.Cut(string(b), ") ")
		fields := strings.Fields(tail)
		if !ok || !strings.Contains(head, "(nightseg-captur") || len(fields) < 2 || fields[0] == "Z" ||
			fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		pid, err := strconv.Atoi(head[:strings.IndexByte(head, ' ')])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func TestReplayVideo(t *testing.T) {
	needEngine(t)
	needCapture(t)
	file := video(t, 30)
	var first, second replayReport
	for _, r := range []*replayReport{&first, &second} {
		commandJSON(t, exitDone, r, "replay", file, "--bundle", tinyBundle(t), "--rate", "max")
	}
	if first.Frames != 30 || first.Dropped != 0 || first.Masks != second.Masks {
		t.Errorf("%d frames, %d dropped, %s and %s", first.Frames, first.Dropped, first.Masks, second.Masks)
	}
	if left := captureProcesses(t); len(left) > 0 {
		t.Errorf("capture processes are left: %v", left)
	}
}

func TestRunThroughAKilledCaptureProcess(t *testing.T) {
	needEngine(t)
	needCapture(t)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	p := start(t, "run", "--config", settingsFile(t, b.URL(), "stats: {interval: 100ms}",
		`cameras: [{id: front, source: "`+video(t, 100)+`", rate: 50, loop: true}]`))
	before := ob.anyMask()
	pids := captureProcesses(t)
	if len(pids) != 1 {
		t.Fatalf("capture processes %v", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	st := document(ob, "/cam/front/stats", func(s *statsDocument) bool {
		for why, n := range s.Source {
			if strings.HasPrefix(why, camera.RestartPrefix) && n > 0 {
				return true
			}
		}
		return false
	})
	after := ob.mask("after the kill", func(s *seen) bool { return s.Seq > st.Captured })
	if after.Run != before.Run || after.Seq <= before.Seq {
		t.Errorf("mask %d of run %s after %d of %s", after.Seq, after.Run, before.Seq, before.Run)
	}
	if code := p.stop(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	ob.status(mqtt.Stopped, "")
	if left := captureProcesses(t); len(left) > 0 {
		t.Errorf("capture processes are left: %v", left)
	}
}
