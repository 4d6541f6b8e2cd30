package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"nightseg/edge/control"
	"nightseg/edge/mqtt"
	"nightseg/edge/mqtt/mqtttest"
	"nightseg/edge/settings"
)

// tried is a service of which only the settings are there. What it thinks of
// settings is told by their bundle.
type tried struct{}

func (tried) Prepare(_ context.Context, d settings.Desired) (control.Step, []settings.FieldError) {
	if d.Settings.Bundle == "missing" {
		return nil, []settings.FieldError{{Pointer: "/bundle", Problem: "no such folder", Remedy: "copy it there"}}
	}
	return triedStep{bundle: d.Settings.Bundle}, nil
}

type triedStep struct{ bundle string }

func (triedStep) Apply(context.Context) error { return nil }

func (s triedStep) Probation(ctx context.Context) (any, error) {
	switch s.bundle {
	case "blind":
		return nil, errors.New("front: no pixel of any class in 30 frames")
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return map[string]int{"frames": 30}, nil
}

func (triedStep) Undo(context.Context) error { return nil }
func (triedStep) Close() error               { return nil }

// startDevice runs a device that takes settings, and returns when a broker has
// heard of it.
func startDevice(t *testing.T, url, device string, change func(*settings.Settings)) {
	t.Helper()
	file := settings.Default()
	file.Fleet, file.Device, file.Broker.URL = "test", device, url
	file.Cameras[0].Source = "rtsp://me:word@10.0.0.2/"
	if change != nil {
		change(&file)
	}
	var ctl *control.Controller
	client, err := mqtt.New(mqtt.Options{
		URL: url, Topics: mqtt.Topics{Fleet: "test", Device: device}, Run: "r1",
		OnDesired: func(b []byte) { ctl.Offer(b) },
	})
	if err != nil {
		t.Fatal(err)
	}
	client.SetSchema(settings.DesiredSchema())
	ctl = control.New(control.Options{
		Bases: []settings.Base{{Settings: file, Source: settings.FromFile}}, Dir: filepath.Join(t.TempDir(), "settings"),
		Run:    "r1",
		Answer: func(a settings.Ack) { client.Ack(a.JSON()) },
		Report: func(r settings.Reported) { client.SetReported(r.JSON()) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = client.Run(ctx) })
	wg.Go(func() { ctl.Run(ctx, tried{}) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := ctl.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := client.WaitConnected(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// eachBroker runs a test with the embedded broker and with mosquitto.
func eachBroker(t *testing.T, f func(t *testing.T, url string)) {
	t.Run("embedded", func(t *testing.T) { f(t, startBroker(t, "").URL()) })
	t.Run("mosquitto", func(t *testing.T) { f(t, startMosquitto(t).URL()) })
}

func TestConfigPush(t *testing.T) {
	eachBroker(t, func(t *testing.T, url string) {
		startDevice(t, url, "car1", nil)
		push := func(code int, text string, more ...string) (out, errOut string) {
			t.Helper()
			file := saveText(t, filepath.Join(t.TempDir(), "new.yaml"), text)
			got, out, errOut := command(t, append([]string{"config", "push", file, "--broker", url}, more...)...)
			if got != code {
				t.Errorf("%s: exit code %d, want %d\n%s%s", text, got, code, out, errOut)
			}
			return out, errOut
		}
		has := func(text string, words ...string) {
			t.Helper()
			for _, w := range words {
				if !strings.Contains(text, w) {
					t.Errorf("no %q in\n%s", w, text)
				}
			}
		}
		out, _ := push(exitDone, "threshold: 0.25\n")
		has(out, "sent version 1 to test/car1", "trial: version 1 is in force, on trial until",
			"applied: version 1 is in force")
		out, _ = push(exitDone, `{"threshold": 0.3, "cameras": [{"id": "front", "rate": 5}]}`, "--json")
		var results []settings.Result
		for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
			var a settings.Ack
			if err := d.Decode(&a); err != nil {
				t.Fatal(err)
			}
			results = append(results, a.Result)
		}
		if len(results) != 2 || results[0] != settings.ResultTrial || results[1] != settings.ResultApplied {
			t.Errorf("answers %v", results)
		}
		out, errOut := push(exitRefused, "bundle: blind\n", "--fleet", "test", "--device", "car1")
		has(out, "rolled_back: version 2 is in force; front: no pixel of any class")
		has(errOut, "version 3 was rolled_back by test/car1; version 2 is in force")
		out, _ = push(exitRefused, "bundle: missing\n") // 3 is used up
		has(out, "sent version 4", "rejected: version 2 is in force", "/bundle: no such folder; copy it there")
		out, _ = push(exitRefused, "version: 1\n")
		has(out, "/version: stale: version 2 is in force")
		_, errOut = push(exitUsage, "treshold: 0.2\ndevice: car2\n")
		has(errOut, "not sent", `did you mean "threshold"?`, "in the settings file only, then restart")
		_, errOut = push(exitUsage, "a: [1\n")
		has(errOut, "no YAML")

		_, out, _ = command(t, "config", "show", "--broker", url)
		has(out, "# test/car1: version 2 from desired, steady", "# version 1 was rejected", "threshold: 0.3")
		if strings.Contains(out, "me:word") {
			t.Error("a password is shown")
		}
		shown := saveText(t, filepath.Join(t.TempDir(), "shown.yaml"), out)
		if code, _, errOut := command(t, "config", "check", shown); code != exitDone {
			t.Errorf("what is shown is no settings file: %s", errOut)
		}
		var r settings.Reported
		commandJSON(t, exitDone, &r, "config", "show", "--broker", url, "--device", "car1")
		if r.Version != 2 || r.File == nil || r.File.Threshold != 0 || r.Settings.Cameras[0].Rate != 5 {
			t.Errorf("reported %+v", r)
		}
	})
}

func TestConfigDiff(t *testing.T) {
	url := startBroker(t, "").URL()
	startDevice(t, url, "car1", func(s *settings.Settings) { s.Codec = "rle-zstd" })
	text := "codec: png\nthreshold: 0.1\n"
	file := saveText(t, filepath.Join(t.TempDir(), "new.yaml"), text)
	if code, out, errOut := command(t, "config", "push", file, "--broker", url); code != exitDone {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	// What the new file does not name goes back to the device's own file.
	saveText(t, file, "bundle: /data/night\ncameras: [{id: front, rotate: 90}]\nthreshold: 0.1\n")
	var d diffReport
	commandJSON(t, exitDone, &d, "config", "diff", file, "--broker", url)
	got, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"device":"test/car1","from":1,"to":2,"changes":[` +
		`{"path":"bundle","from":"\"\"","to":"\"/data/night\"","class":"networks"},` +
		`{"path":"codec","from":"png","to":"rle-zstd","class":"stage"},` +
		`{"path":"cameras[front].rotate","from":"0","to":"90","class":"camera"}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	_, out, _ := command(t, "config", "diff", file, "--broker", url)
	if !strings.Contains(out, "test/car1: version 1 -> 2, 3 changes\n") ||
		!strings.Contains(out, "  codec: png -> rle-zstd (stage)\n") {
		t.Errorf("got %s", out)
	}
	if code, _, errOut := command(t, "config", "diff", file+"x", "--broker", url); code != exitUsage {
		t.Errorf("a file that is not there: exit code %d, %s", code, errOut)
	}
}

func TestConfigPushWithoutAnAnswer(t *testing.T) {
	b := startBroker(t, "")
	file := saveText(t, filepath.Join(t.TempDir(), "new.yaml"), "bundle: slow\n")
	push := func(more ...string) (int, string) {
		code, _, errOut := command(t, append([]string{"config", "push", file, "--timeout", "1s"}, more...)...)
		return code, errOut
	}
	if code, errOut := push("--broker", b.URL()); code != exitFailed || !strings.Contains(errOut, "no device +/+ at") {
		t.Errorf("no device: exit code %d, %s", code, errOut)
	}
	port := mqtttest.FreePort(t)
	code, errOut := push("--broker", "mqtt://127.0.0.1:"+port)
	if code != exitFailed || !strings.Contains(errOut, "refused") {
		t.Errorf("no broker: exit code %d, %s", code, errOut)
	}
	if code, errOut := push("--broker", "http://x"); code == exitDone || errOut == "" {
		t.Errorf("no URL: exit code %d", code)
	}
	startDevice(t, b.URL(), "car1", nil)
	if code, errOut := push("--broker", b.URL(), "--timeout", "2s"); code != exitFailed ||
		!strings.Contains(errOut, "version 1: no answer within 2s") {
		t.Errorf("a trial that takes longer: exit code %d, %s", code, errOut)
	}
	startDevice(t, b.URL(), "car2", nil)
	if code, errOut := push("--broker", b.URL()); code != exitUsage || !strings.Contains(errOut, "test/car1, test/car2") {
		t.Errorf("two devices: exit code %d, %s", code, errOut)
	}
	if code, errOut := push("--broker", b.URL(), "--device", "car3"); code != exitFailed ||
		!strings.Contains(errOut, "+/car3") {
		t.Errorf("another device: exit code %d, %s", code, errOut)
	}
}

func TestConfigPushChecksTheSchema(t *testing.T) {
	b := startBroker(t, "")
	startDevice(t, b.URL(), "car1", nil)
	other := bytes.Replace(settings.DesiredSchema(), []byte(`"const":1`), []byte(`"const":2`), 1)
	publish(t, b.URL(), testBase+"/config/schema", string(other))
	file := saveText(t, filepath.Join(t.TempDir(), "new.yaml"), "threshold: 0.2\n")
	code, out, errOut := command(t, "config", "push", file, "--broker", b.URL())
	if code != exitUsage || !strings.Contains(errOut, "reads documents of schema 2, this program writes 1") || out != "" {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
}
