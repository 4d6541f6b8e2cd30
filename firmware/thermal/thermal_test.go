package thermal

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightseg/firmware/tree"
)

const trees = "../board/testdata/trees/"

func TestOrinNano(t *testing.T) {
	r := New(trees+"orin-nano", Config{
		Zones:  map[string]string{"tj": "tj-thermal", "gpu": "gpu-thermal", "cv": "cv0-thermal", "board": "Tboard_tegra"},
		Clocks: map[string]Clock{"gpu": {Devfreq: "17000000.gpu"}, "cpu": {CPU: "cpu0"}, "dla": {Devfreq: "none"}},
		Counters: map[string]Counter{
			"under_voltage": {Hwmon: "soctherm_oc", File: "oc1_event_cnt"},
			"instant":       {Hwmon: "soctherm_oc", File: "oc3_event_cnt"},
			"other":         {Hwmon: "other", File: "x"},
		},
	})
	s := r.Read()
	if want := map[string]float64{"tj": 51.093, "gpu": 48.937}; !maps.Equal(s.Celsius, want) {
		t.Errorf("temperatures %v", s.Celsius)
	}
	if want := map[string]uint64{"under_voltage": 0, "instant": 37}; !maps.Equal(s.Counters, want) {
		t.Errorf("counters %v", s.Counters)
	}
	gpu := s.Clocks["gpu"]
	if gpu.MHz != 612 || gpu.MaxMHz != 1020 || gpu.Percent == nil || *gpu.Percent != 43.7 {
		t.Errorf("gpu %+v", gpu)
	}
	if cpu := s.Clocks["cpu"]; cpu.MHz != 1344 || cpu.MaxMHz != 1728 || cpu.Percent != nil {
		t.Errorf("cpu %+v", cpu)
	}
	if len(s.Cooling) > 0 { // the fan does not slow the board down
		t.Errorf("cooling %v", s.Cooling)
	}
	bad := slices.Sorted(maps.Keys(s.Problems))
	if want := []string{"clock dla", "counter other", "zone board", "zone cv"}; !slices.Equal(bad, want) {
		t.Errorf("problems %v", s.Problems)
	}
	if _, err := r.Zone("cv0-thermal"); !errors.Is(err, ErrOff) {
		t.Error(err)
	}
	if text := s.Problems["zone board"]; !strings.Contains(text, `"Tboard_tegra": see /sys/class/thermal`) {
		t.Error(text)
	}
}

func TestPC(t *testing.T) {
	const count = "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
	s := New(trees+"pc", Config{
		Zones: map[string]string{"cpu": "x86_pkg_temp"}, Counters: map[string]Counter{"throttled": {Path: count}},
	}).Read()
	if s.Celsius["cpu"] != 58 || len(s.Cooling) > 0 || len(s.Problems) > 0 || s.Counters["throttled"] != 0 {
		t.Errorf("%+v", s)
	}
}

// What sysfs says when something is wrong.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	r := New(tree.Root(dir), Config{})
	if _, err := r.Zone("good"); err == nil {
		t.Error("a zone of an empty folder")
	}
	for kind, temp := range map[string]string{
		"off": "-256000\n", "pmic": "200000\n", "text": "hot\n", "frost": "-21000\n", "good": "40000\n",
	} {
		write("sys/class/thermal/thermal_zone_"+kind+"/type", kind+"\n")
		write("sys/class/thermal/thermal_zone_"+kind+"/temp", temp)
	}
	write("sys/class/thermal/cooling_device0/type", "cpu-throttle-alert\n")
	write("sys/class/thermal/cooling_device0/cur_state", "1\n")
	if _, err := r.Zone("good"); err != nil { // its driver came after the first look
		t.Error(err)
	}
	for kind, want := range map[string]float64{"good": 40, "frost": -21} {
		if c, err := r.Zone(kind); c != want || err != nil {
			t.Errorf("%s: %v, %v", kind, c, err)
		}
	}
	for kind, off := range map[string]bool{"off": true, "pmic": true, "text": false} {
		if _, err := r.Zone(kind); err == nil || errors.Is(err, ErrOff) != off {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if c := r.Read().Cooling; c["cpu-throttle-alert"] != 1 {
		t.Errorf("cooling %v", c)
	}
}
