package main

import (
	"fmt"
	"image"
	"image/png"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
)

const testBase = "nightseg/v1/test/car1"

// answers reports whether something listens on a port.
func answers(port string) bool {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func TestRunThroughALostBroker(t *testing.T) {
	needEngine(t)
	for name, begin := range map[string]func(t *testing.T) (url string, kill, restart func()){
		"embedded": func(t *testing.T) (string, func(), func()) {
			listen := "127.0.0.1:" + freePort(t)
			b := startBroker(t, listen)
			return b.URL(), func() { _ = b.Close() }, func() { startBroker(t, listen) }
		},
		"mosquitto": func(t *testing.T) (string, func(), func()) {
			m := startMosquitto(t)
			return m.url(), m.kill, m.start
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
	port := freePort(t)
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

func TestRunWithBadSettings(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	file := settingsFile(t, b.URL(), synthCamera, shortTrial)
	good := start(t, "run", "--config", file)
	ob.status(mqtt.Online, "")
	eventually(t, "the file has proven itself", func() bool {
		return exists(filepath.Join(os.Getenv("STATE_DIRECTORY"), "last-good.yaml"))
	})
	if code := good.stop(t); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	ob.status(mqtt.Stopped, "")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	saveText(t, file, string(text)+"codek: png\n")

	t.Run("strict", func(t *testing.T) {
		code, _, errOut := command(t, "run", "--config", file, "--strict")
		if code != exitUsage || !strings.Contains(errOut, "line 7") || !strings.Contains(errOut, `did you mean "codec"?`) {
			t.Errorf("exit code %d, %s", code, errOut)
		}
	})
	t.Run("last good", func(t *testing.T) {
		p := start(t, "run", "--config", file)
		ob.status(mqtt.Degraded, `did you mean "codec"?`)
		m := ob.mask("degraded", func(s *seen) bool { return s.Flags&frame.FlagDegraded != 0 })
		if m.Camera != "front" || m.Device != "car1" {
			t.Errorf("mask of %s, camera %s", m.Device, m.Camera)
		}
		r := document(ob, "/config/reported", func(r *settings.Reported) bool { return r.FileError != "" })
		if r.Source != settings.FromLastGood {
			t.Errorf("reported %+v", r)
		}
		if code := p.stop(t); code != exitDone {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestRunTakesDesiredSettings(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	start(t, "run", "--config", settingsFile(t, b.URL(), synthCamera, shortTrial))
	if m := ob.anyMask(); m.Header.Codec != message.PNG || m.Settings != 0 {
		t.Fatalf("before: %s, settings %d", m.Header.Codec, m.Settings)
	}
	send := func(text string) settings.Ack {
		t.Helper()
		publish(t, b.URL(), testBase+"/config/desired", text)
		return ob.answer()
	}
	doc := `{"version": 3, "codec": "rle-zstd", "threshold": 0.99, "reweight": {"std": 0},
		"relight": {"mode": "gamma", "gate": "always"}}`
	if a := send(doc); a.Result != "trial" || a.InForce != 3 {
		t.Fatalf("answer %+v", a)
	}
	if a := ob.answer(); a.Result != "applied" || a.InForce != 3 {
		t.Fatalf("answer %+v", a)
	}
	m := ob.mask("with the settings", func(s *seen) bool {
		if changed := s.codec == message.RLEZstd; changed != (s.Settings == 3) {
			t.Errorf("mask %d: codec %s with settings %d", s.Seq, s.codec, s.Settings)
		}
		return s.Settings == 3
	})
	if m.Relight != frame.RelightGamma {
		t.Errorf("relight %s", m.Relight)
	}
	unknown := 0
	for _, k := range m.mask.Class {
		if k == frame.Unknown {
			unknown++
		}
	}
	if unknown == 0 {
		t.Error("a threshold of 0.99 leaves no pixel unknown")
	}
	if a := send(doc); a.Result != "unchanged" {
		t.Errorf("the same again: %+v", a)
	}
	var last int64
	for text, path := range map[string]string{
		`{"version": 4, "codek": "png"}`:             "/codek",
		`{"version": 2, "codec": "png"}`:             "/version",
		`{"version": 5, "reweight": {"std": 0.999}}`: "/reweight/std",
		`{"version": 6, "relight": {"mode": "sun"}}`: "/relight/mode",
	} {
		a := send(text)
		last = a.Version
		if a.Result != "rejected" || a.InForce != 3 || len(a.Errors) == 0 || a.Errors[0].Pointer != path {
			t.Errorf("%s: %+v", text, a)
		}
	}
	for len(ob.masks) > 0 {
		<-ob.masks
	}
	if m := ob.anyMask(); m.Settings != 3 || m.codec != message.RLEZstd {
		t.Errorf("settings %d, codec %s in force after refused ones", m.Settings, m.codec)
	}
	r := document(ob, "/config/reported", func(r *settings.Reported) bool {
		return r.Rejected != nil && r.Rejected.Version == last
	})
	if r.Version != 3 || r.Source != "desired" || r.Settings.Codec != "rle-zstd" {
		t.Errorf("reported %+v", r)
	}
}

// shortTrial is a line of a settings file.
const shortTrial = "probation: {seconds: 1, frames: 5, most: 5s}"

// TestRunChangesAllOfItself changes bundle and cameras over MQTT, comes back with
// them after a restart without the broker's word, and goes back from what is no good.
func TestRunChangesAllOfItself(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	other := filepath.Join(t.TempDir(), "other")
	copyBundle(t, other, "tiny-3", "tiny-4")
	file := settingsFile(t, b.URL(), synthCamera, shortTrial)
	p := start(t, "run", "--config", file)
	first := ob.anyMask()
	answers := func(text string, want ...settings.Result) (last settings.Ack) {
		t.Helper()
		publish(t, b.URL(), testBase+"/config/desired", text)
		for _, w := range want {
			if last = ob.answer(); last.Result != w {
				t.Fatalf("%s: %+v, want %s", text, last, w)
			}
		}
		return last
	}
	rear := `{"id": "rear", "source": "synth://?seed=8&fps=30&loop=4"}`
	answers(`{"version": 1, "bundle": "`+other+`", "cameras": [{"id": "front"}, `+rear+`],
		"stats": {"interval": "100ms"}}`, "trial", "applied")
	changed := ob.mask("of the other bundle and camera", func(s *seen) bool {
		return s.Bundle != first.Bundle && s.Camera == "rear" && s.Settings == 1
	})
	meta := document(ob, "/meta", func(m *metaDocument) bool { return len(m.Cameras) == 2 })
	if meta.Bundle.Name != "tiny-4" || meta.Bundle.SHA256 != changed.Bundle {
		t.Errorf("meta %+v", meta.Bundle)
	}
	a := answers(`{"version": 2, "bundle": "/nowhere"}`, "rejected")
	if a.Errors[0].Pointer != "/bundle" || a.InForce != 1 {
		t.Errorf("%+v", a)
	}
	bad := `{"version": 3, "cameras": [{"id": "front"}, {"id": "rear", "source": "/nowhere"}]}`
	a = answers(bad, "trial", "rolled_back")
	if !strings.Contains(a.Reason, "camera rear: 0 of 5 masks") || a.InForce != 1 {
		t.Errorf("%+v", a)
	}
	answers(bad, "rejected") // the broker has it still
	ob.mask("as before", func(s *seen) bool { return s.Camera == "rear" && s.Settings == 1 })
	if code := p.stop(t); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	ob.status(mqtt.Stopped, "")
	p = start(t, "run", "--config", file)
	again := ob.mask("after a restart", func(s *seen) bool {
		return s.Run != first.Run && s.Bundle == changed.Bundle && s.Camera == "rear" && s.Settings == 1
	})
	ob.status(mqtt.Online, "")
	if code := p.stop(t); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	// The bundle is gone: the service starts with what is left.
	if err := os.RemoveAll(other); err != nil {
		t.Fatal(err)
	}
	start(t, "run", "--config", file)
	ob.mask("without that bundle", func(s *seen) bool {
		return s.Run != first.Run && s.Run != again.Run && s.Bundle == first.Bundle && s.Settings == 0
	})
	ob.status(mqtt.Degraded, "version 1")
}

// TestRunMovesToAnotherBroker changes the broker over MQTT: a good one is kept, and
// from one that does not answer the service comes back by itself.
func TestRunMovesToAnotherBroker(t *testing.T) {
	needEngine(t)
	first, second := startBroker(t, ""), startBroker(t, "")
	here, there := observe(t, first.URL()), observe(t, second.URL())
	p := start(t, "run", "--config", settingsFile(t, first.URL(), synthCamera, shortTrial))
	was := here.anyMask()
	desired := func(url string, version int, broker string) {
		publish(t, url, testBase+"/config/desired",
			fmt.Sprintf(`{"version": %d, "broker": {"url": %q, "trial": "2s"}}`, version, broker))
	}
	desired(first.URL(), 1, "mqtt://127.0.0.1:"+freePort(t))
	here.status(mqtt.Stopped, "another broker")
	for a := here.answer(); ; a = here.answer() {
		if a.Result == "rolled_back" {
			if a.InForce != 0 || !strings.Contains(a.Reason, "refused") {
				t.Errorf("%+v", a)
			}
			break
		}
	}
	again := here.mask("after the way back", func(s *seen) bool { return s.Seq > was.Seq && !s.past })
	if again.Run != was.Run || again.Settings != 0 {
		t.Errorf("run %s, settings %d after %+v", again.Run, again.Settings, was)
	}
	desired(first.URL(), 2, second.URL())
	m := there.mask("at the other broker", func(s *seen) bool { return s.Settings == 2 })
	if m.Run != was.Run {
		t.Errorf("another run: %s", m.Run)
	}
	there.status(mqtt.Online, "")
	for a := there.answer(); a.Result != "applied"; a = there.answer() {
	}
	desired(second.URL(), 3, "embedded")
	if a := there.answer(); a.Result != "rejected" || a.Errors[0].Pointer != "/broker/url" {
		t.Errorf("%+v", a)
	}
	if code := p.stop(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	there.status(mqtt.Stopped, "")
}

func TestRunEndsCleanly(t *testing.T) {
	needEngine(t)
	b := startBroker(t, "")
	ob := observe(t, b.URL())
	t.Setenv(asProgram, "1")
	args := append(selfInTest(), "run", "--config", settingsFile(t, b.URL(), synthCamera))
	c := exec.Command(args[0], args[1:]...)
	var said lockedBuffer
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
