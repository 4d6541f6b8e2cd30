package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nightseg/edge/frame"
	"nightseg/edge/message"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
	"nightseg/edge/settings"
)

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
	desired(first.URL(), 1, "mqtt://127.0.0.1:"+mqtttest.FreePort(t))
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
