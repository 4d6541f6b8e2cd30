package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"nightseg/edge/mqtt"
	"nightseg/edge/settings"
	"nightseg/model"
)

// onMachine runs one check on a made-up machine.
func onMachine(files fstest.MapFS, check func(*doctor)) []finding {
	d := &doctor{root: files, f: &doctorFlags{timeout: 5 * time.Second}, settings: settings.Default()}
	check(d)
	return d.findings
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func TestDoctorLooksAtTheMachine(t *testing.T) {
	processor := func(d *doctor) { d.processor(nil) } //nolint:staticcheck // the check takes no context
	for name, c := range map[string]struct {
		files fstest.MapFS
		check func(*doctor)
		state string
		text  string
	}{
		"fast 8-bit products": {
			fstest.MapFS{"proc/cpuinfo": file("model name : X\nflags : sse2 avx2 avx512_vnni\n")},
			processor, stateOK, "avx512_vnni",
		},
		"slow 8-bit products": {
			fstest.MapFS{"proc/cpuinfo": file("flags : sse2 avx2\n")}, processor, stateWarn, "avx2 only",
		},
		"saves power": {
			fstest.MapFS{"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": file("powersave\n")},
			processor, stateWarn, "saves power",
		},
		"hot": {
			fstest.MapFS{
				"sys/class/thermal/thermal_zone0/temp": file("91000\n"),
				"sys/class/thermal/thermal_zone0/type": file("CPU-therm\n"),
			},
			func(d *doctor) { d.heat(t.Context()) }, stateWarn, "CPU-therm 91 °C",
		},
		"throttled": {
			fstest.MapFS{
				"sys/class/thermal/cooling_device0/cur_state": file("2\n"),
				"sys/class/thermal/cooling_device0/type":      file("Processor\n"),
			},
			func(d *doctor) { d.heat(t.Context()) }, stateWarn, "slows the machine",
		},
		"on battery": {
			fstest.MapFS{
				"sys/class/power_supply/AC/type": file("Mains\n"), "sys/class/power_supply/AC/online": file("0\n"),
			},
			func(d *doctor) { d.heat(t.Context()) }, stateWarn, "battery",
		},
		"little memory": {
			fstest.MapFS{"proc/meminfo": file("MemTotal: 900000 kB\nMemAvailable: 204800 kB\n")},
			func(d *doctor) { d.memory(t.Context()) }, stateWarn, "200 MB free",
		},
	} {
		found := onMachine(c.files, c.check)
		ok := false
		for _, f := range found {
			ok = ok || f.State == c.state && strings.Contains(f.Text, c.text) && (f.State == stateOK || f.Remedy != "")
		}
		if !ok {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestDoctorLooksForTheCamerasOfTheSettings(t *testing.T) {
	for source, there := range map[string]bool{
		"v4l2:///dev/video0":                        true,
		"v4l2:///dev/video0?size=320x180&fps=5":     true,
		"v4l2:///dev/v4l/by-id/usb-cam?fourcc=MJPG": true,
		"v4l2:///dev/video1?size=320x180":           false,
		"synth://?seed=1":                           true,
	} {
		found := onMachine(fstest.MapFS{"dev/video0": {}, "dev/v4l/by-id/usb-cam": {}}, func(d *doctor) {
			d.f.config = "nightseg.yaml"
			d.settings.Cameras = []settings.Camera{{ID: "front", Source: source}}
			d.cameras(t.Context())
		})
		failed := slices.ContainsFunc(found, func(f finding) bool { return f.State == stateFail })
		if failed == there {
			t.Errorf("%s: %+v", source, found)
		}
	}
}

func TestDoctorTakesTheEngineOfTheSettings(t *testing.T) {
	name := filepath.Join(t.TempDir(), "nightseg.yaml")
	const text = "engine: {provider: cpu, precision: fp32, threads: 3}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ flags, want modelFlags }{
		{
			modelFlags{engine: engineORT, Options: model.Options{Provider: model.Auto, Precision: model.Auto}},
			modelFlags{engine: engineORT, Options: model.Options{Provider: "cpu", Precision: "fp32", Threads: 3}},
		},
		{
			modelFlags{engine: "tensorflow", Options: model.Options{Provider: "openvino", Precision: "int8", Threads: 1}},
			modelFlags{engine: "tensorflow", Options: model.Options{Provider: "openvino", Precision: "int8", Threads: 1}},
		},
	} {
		d := &doctor{f: &doctorFlags{modelFlags: c.flags, config: name}}
		d.config(t.Context())
		if d.f.modelFlags != c.want {
			t.Errorf("%+v, want %+v; %+v", d.f.modelFlags, c.want, d.findings)
		}
	}
}

func TestDoctorReachesTheBroker(t *testing.T) {
	b, err := mqtt.StartBroker(mqtt.BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	reach := func(url string) finding {
		return onMachine(fstest.MapFS{}, func(d *doctor) {
			d.f.broker.URL = url
			d.reachBroker(t.Context())
		})[0]
	}
	if f := reach(b.URL()); f.State != stateOK {
		t.Errorf("a broker that is there: %+v", f)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "mqtt://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if f := reach(closed); f.State != stateFail || !strings.Contains(f.Text, closed) &&
		!strings.Contains(f.Text, "refused") {
		t.Errorf("nobody listens: %+v", f)
	}
}

func TestDoctorOnThisMachine(t *testing.T) {
	needEngine(t)
	var r doctorReport
	commandJSON(t, exitDone, &r, "doctor", "--bundle", tinyBundle(t))
	names := map[string]string{}
	for _, f := range r.Checks {
		names[f.Name] = f.State
		if f.State != stateOK && f.Remedy == "" {
			t.Errorf("%s has no remedy: %+v", f.Name, f)
		}
	}
	for _, want := range []string{
		"program", "processor", "onnxruntime", "bundle", "engine", "jpeg", "capture", "clock", "cache",
	} {
		if names[want] == "" {
			t.Errorf("no check of %s in %v", want, names)
		}
	}
	code, out, errOut := command(t, "doctor", "--bundle", tinyBundle(t), "--lib-dir", t.TempDir())
	if code != exitFailed || !strings.Contains(out, "FAIL  onnxruntime") {
		t.Errorf("no library: exit code %d, %q %q", code, out, errOut)
	}
	bad := saveText(t, filepath.Join(t.TempDir(), "bad.yaml"), "nonsense: 1\n")
	if code, out, _ := command(t, "doctor", "--bundle", tinyBundle(t), "--config", bad); code != exitFailed ||
		!strings.Contains(out, "FAIL  settings") {
		t.Errorf("bad settings: exit code %d, %q", code, out)
	}
}
