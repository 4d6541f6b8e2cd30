package main

import (
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightseg/edge/frame"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
)

const testBase = "nightseg/v1/test/car1"

func TestRunThroughALostBroker(t *testing.T) {
	needEngine(t)
	for name, begin := range map[string]func(t *testing.T) (url string, kill, restart func()){
		"embedded": func(t *testing.T) (string, func(), func()) {
			listen := "127.0.0.1:" + mqtttest.FreePort(t)
			b := startBroker(t, listen)
			return b.URL(), func() { _ = b.Close() }, func() { startBroker(t, listen) }
		},
		"mosquitto": func(t *testing.T) (string, func(), func()) {
			m := startMosquitto(t)
			return m.URL(), m.Kill, m.Start
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, kill, restart := begin(t)
			ob := observe(t, url)
			p := start(t, "run", "--config", settingsFile(t, url, synthCamera))
			first := ob.status(mqtt.Online, "")
			before := ob.anyMask()
			kill()
			<-time.After(time.Second) // the outage: thirty frames that find no broker
			restart()
			again := observe(t, url)
			again.mask("of the outage", func(s *seen) bool { return s.past && s.Seq > before.Seq })
			after := again.mask("live", func(s *seen) bool { return !s.past })
			for s := first; s.Connection <= first.Connection; { // what was retained may come first
				if s = again.status(mqtt.Online, ""); s.Run != first.Run {
					t.Errorf("status %+v after %+v", s, first)
				}
			}
			if after.Run != before.Run || after.Seq <= before.Seq {
				t.Errorf("mask %d of run %s after %d of %s", after.Seq, after.Run, before.Seq, before.Run)
			}
			document(again, "/cam/front/stats", func(st *statsDocument) bool {
				return st.Broker.Kept > 0 && st.Broker.Drops["offline"] == 0 && st.Broker.Connects == 2
			})
			if code := p.stop(t); code != exitDone {
				t.Errorf("exit code %d", code)
			}
			again.status(mqtt.Stopped, "")
		})
	}
}

func TestRunWithoutABroker(t *testing.T) {
	needEngine(t)
	port := mqtttest.FreePort(t)
	url := "mqtt://127.0.0.1:" + port
	p := start(t, "run", "--config", settingsFile(t, url, synthCamera, "stats: {interval: 100ms}"))
	eventually(t, "run starts without a broker", func() bool { return strings.Contains(p.err.String(), "msg=running") })
	startBroker(t, "127.0.0.1:"+port)
	ob := observe(t, url)
	ob.status(mqtt.Online, "")
	ob.anyMask()
	st := document[statsDocument](ob, "/cam/front/stats", nil)
	if st.Drops["publish"] != 0 {
		t.Errorf("drops of the loop %v", st.Drops)
	}
}

// pictureFolder writes pictures into a folder, as a recorder would.
func pictureFolder(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		savePNG(t, filepath.Join(dir, fmt.Sprintf("%d.png", i)), scene(tinyW, tinyH, i))
	}
}

func TestRunThroughAnEmptiedFolder(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	dir := filepath.Join(t.TempDir(), "pictures")
	pictureFolder(t, dir, 5)
	ob := observe(t, b.URL())
	start(t, "run", "--config", settingsFile(t, b.URL(), "stats: {interval: 100ms}",
		`cameras: [{id: front, source: "`+dir+`", rate: 100, loop: true}]`))
	ob.status(mqtt.Online, "")
	before := ob.anyMask()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if s := ob.status(mqtt.Degraded, "front"); s.Run != before.Run {
		t.Errorf("status %+v", s)
	}
	pictureFolder(t, dir, 5)
	ob.status(mqtt.Online, "")
	after := ob.mask("after the gap", func(s *seen) bool { return s.Seq > before.Seq })
	if after.Run != before.Run {
		t.Errorf("another run: %s, %s", before.Run, after.Run)
	}
	st := document[statsDocument](ob, "/cam/front/stats", nil)
	if len(st.Source) == 0 {
		t.Error("stats without the source's own counts")
	}
}

func TestRunWithABadBundle(t *testing.T) {
	needEngine(t)
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.CopyFS(bad, os.DirFS(tinyBundle(t))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, "segment.int8.onnx"), []byte("not a network"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := startBroker(t, "")
	file := settingsFile(t, b.URL(), `cameras: [{id: front, source: "synth://?seed=7&fps=10&loop=4"}]`)
	args := []string{"run", "--config", file, "--bundle", bad}
	t.Run("strict", func(t *testing.T) {
		ob := observe(t, b.URL())
		code, _, errOut := command(t, append(args, "--strict")...)
		if code != exitFailed || !strings.Contains(errOut, "segment.int8.onnx") {
			t.Errorf("exit code %d, %s", code, errOut)
		}
		ob.status(mqtt.Stopped, "segment.int8.onnx")
	})
	t.Run("degraded", func(t *testing.T) {
		needBundle(t)
		ob := observe(t, b.URL())
		start(t, args...)
		ob.status(mqtt.Degraded, "segment.int8.onnx")
		m := ob.anyMask()
		if m.Flags&frame.FlagDegraded == 0 {
			t.Errorf("flags %v", m.Flags)
		}
		meta := document[metaDocument](ob, "/meta", nil)
		if meta.Bundle.Name == "tiny-3" || meta.Bundle.SHA256 != m.Bundle {
			t.Errorf("meta %+v, mask of %s", meta.Bundle, m.Bundle)
		}
	})
}

func TestRunEndsCleanly(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	t.Setenv(asProgram, "1")
	args := append(selfInTest(), "run", "--config", settingsFile(t, b.URL(), synthCamera))
	c := exec.Command(args[0], args[1:]...)
	var said mqtttest.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() { _ = c.Process.Kill() }) // where the test fails
	first := ob.anyMask()
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, ended, "end of run"); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, said.String())
	}
	ob.status(mqtt.Stopped, "")
	masks := uint64(1)
	for last := first; len(ob.masks) > 0; masks++ {
		m := <-ob.masks
		if m.Seq <= last.Seq {
			t.Errorf("mask %d after %d", m.Seq, last.Seq)
		}
		last = m
	}
	if st := ob.lastStats(); st.Masks != masks || st.Broker.Drops["queue"] != 0 {
		t.Errorf("%d masks came, of %d handed over; drops %v", masks, st.Masks, st.Broker.Drops)
	}
	late := observe(t, b.URL()) // retained
	if s := late.status(mqtt.Stopped, ""); s.Run != first.Run {
		t.Errorf("retained %+v", s)
	}
}

func TestRunTwoCameras(t *testing.T) {
	needEngine(t)
	dir := filepath.Join(t.TempDir(), "pictures")
	pictureFolder(t, dir, 4)
	b := startBroker(t, "")
	ob := observe(t, b.URL())

	// What each picture's mask is where nothing else uses the engine.
	start(t, "replay", dir, "--bundle", tinyBundle(t), "--rate", "max", "--broker", b.URL(), "--fleet", "test",
		"--device", "alone", "--gate", "always").wait(t)
	want := map[string][]uint8{}
	for len(want) < 4 {
		m := ob.anyMask()
		want[m.Name] = m.mask.Class
	}

	start(t, "run", "--config", settingsFile(t, b.URL(), "relight: {gate: always}",
		`cameras: [{id: drawn, source: "synth://?seed=7&size=48x32&fps=100&loop=8"},`+
			` {id: folder, source: "`+dir+`", rate: 100, loop: true}]`))
	ob.status(mqtt.Online, "")
	got := map[string]int{}
	last := map[string]uint64{}
	for got["drawn"] < 50 || got["folder"] < 50 {
		rarer := "drawn"
		if got["folder"] < got["drawn"] {
			rarer = "folder"
		}
		m := ob.mask("of camera "+rarer, func(s *seen) bool { return s.Device == "car1" && s.Camera == rarer })
		if n, ok := last[m.Camera]; ok && m.Seq <= n {
			t.Fatalf("camera %s: mask %d after %d", m.Camera, m.Seq, n)
		}
		last[m.Camera] = m.Seq
		got[m.Camera]++
		if m.Camera == "folder" && string(want[m.Name]) != string(m.mask.Class) {
			t.Fatalf("camera folder, picture %s: another mask than where it has the engine alone", m.Name)
		}
	}
	meta := document(ob, "/meta", func(m *metaDocument) bool { return len(m.Cameras) == 2 })
	if meta.Cameras[0].ID != "drawn" || meta.Cameras[1].ID != "folder" {
		t.Errorf("meta %+v", meta.Cameras)
	}
}

func readPicture(t *testing.T, name string) image.Image {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return img
}

// samePixels reports whether two pictures are alike.
func samePixels(a, b image.Image) bool {
	if a.Bounds() != b.Bounds() {
		return false
	}
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			ar, ag, ab, _ := a.At(x, y).RGBA()
			br, bg, bb, _ := b.At(x, y).RGBA()
			if ar != br || ag != bg || ab != bb {
				return false
			}
		}
	}
	return true
}
