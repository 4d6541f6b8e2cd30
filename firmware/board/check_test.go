package board

import (
	"os"
	"strings"
	"testing"
	"time"

	"nightseg/firmware/light"
	"nightseg/firmware/output"
	"nightseg/firmware/tree"
)

func missing(list []Finding) (names []string) {
	for _, f := range list {
		if !f.OK {
			names = append(names, f.Name)
		}
	}
	return names
}

func TestCheckOfAFittedBoard(t *testing.T) {
	d := fitted(t)
	d.Outputs["sys"] = OutputConfig{LED: "mmc0::"}
	list := Check(t.Context(), machine(t, "orin-nano"), d)
	if bad := missing(list); len(bad) != 1 || bad[0] != "output sys" { // that LED tells no brightness
		t.Errorf("missing %q", bad)
	}
	text := map[string]string{}
	for _, f := range list {
		text[f.Name] = f.Text
	}
	for name, want := range map[string]string{
		"bus header": "/dev/i2c-7", "lines": "all 22 names are there", "rail battery": "12.40 V, 1.11 A, 13.8 W",
		"light front": "bh1750 at 0x23: 37.5 lx (0.50 to 27306)", "button stop": "pin31, down",
		"output dimmer": "pin33, now off",
	} {
		if !strings.Contains(text[name], want) {
			t.Errorf("%s: %q, want %q", name, text[name], want)
		}
	}
}

// Each thing that is missing is named, with a remedy, and nothing else is.
func TestCheckNamesWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, root tree.Root, d *Description)
		want   string // name of the finding
		text   string
		remedy string
	}{
		"another address": {
			func(_ *testing.T, _ tree.Root, d *Description) {
				d.Light["front"] = light.Config{I2C: "header", Chip: "bh1750", Address: 0x5c, Interval: time.Second}
			},
			"light front", "address 0x5c: remote I/O error", "i2cdetect -y 7",
		},
		"line that is used": {
			func(_ *testing.T, _ tree.Root, d *Description) { d.Outputs["lamp"] = OutputConfig{Line: "pin24"} },
			"output lamp", `"spi0 CS0" uses it`, "gpioinfo",
		},
		"line of another board": {
			func(_ *testing.T, _ tree.Root, d *Description) { d.Lines["pin8"] = "GPIO14" },
			"lines", "1 of 23 are not there: pin8 (GPIO14: no line has this name", "right board",
		},
		"zone": {
			func(_ *testing.T, _ tree.Root, d *Description) { d.Zones["gpu"] = "GPU-therm" },
			"zone gpu", `the type "GPU-therm"`, "change zones",
		},
		"zone that is off": {
			func(_ *testing.T, _ tree.Root, d *Description) { d.Zones["cv"] = "cv0-thermal" },
			"zone cv", "the sensor is off", "leave the zone out",
		},
		"rail": {
			func(t *testing.T, root tree.Root, _ *Description) {
				put(t, root, "/sys/class/hwmon/hwmon1/in1_label", "VDD_IN_5V\n")
			},
			"rail input", "there are: VDD_IN_5V, VDD_CPU_GPU_CV", "in*_label",
		},
		"PWM": {
			func(_ *testing.T, _ tree.Root, d *Description) { d.PWM["pin33"] = PWM{Node: "pwm@32e0000"} },
			"output dimmer", "jetson-io", "ls -l /sys/class/pwm",
		},
		"too hot": {
			func(t *testing.T, root tree.Root, _ *Description) {
				put(t, root, "/sys/class/thermal/thermal_zone8/temp", "91000\n")
			},
			"governor", "zone tj has 91.0 °C; it starts below 85.0 °C", "cool down",
		},
	} {
		root, d := machine(t, "orin-nano"), fitted(t)
		c.change(t, root, &d)
		list := Check(t.Context(), root, d)
		if bad := missing(list); len(bad) != 1 || bad[0] != c.want {
			t.Errorf("%s: missing %q, want %s", name, bad, c.want)
		}
		for _, f := range list {
			if !f.OK && (!strings.Contains(f.Text, c.text) || !strings.Contains(f.Remedy, c.remedy)) {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

// A bus that is missing takes with it what is on it.
func TestCheckWithoutABus(t *testing.T) {
	root := machine(t, "orin-nano")
	if err := os.Remove(root.Path("/dev/i2c-7")); err != nil {
		t.Fatal(err)
	}
	bad := strings.Join(missing(Check(t.Context(), root, fitted(t))), ", ")
	if bad != "bus header, rail battery, light front" {
		t.Errorf("missing %s", bad)
	}
}

func TestOutputs(t *testing.T) {
	root := machine(t, "pi5")
	led := func(name string) string {
		w, err := root.Word("/sys/class/leds/ACT/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	d := Description{
		Name:    "x",
		Outputs: map[string]OutputConfig{"led": {LED: "ACT"}, "dimmer": {PWM: "p", Hertz: 1000, Most: 80}},
		PWM:     map[string]PWM{"p": {Node: "pwm@32c0000"}},
	}
	o, err := OpenOutput(root, &d, "led")
	if err != nil {
		t.Fatal(err)
	}
	for _, on := range []bool{true, false} {
		if err := o.Set(on); err != nil {
			t.Error(err)
		}
		if want := map[bool]string{true: "255", false: "0"}[on]; led("brightness") != want || led("trigger") != "none" {
			t.Errorf("on %t: %s, trigger %s", on, led("brightness"), led("trigger"))
		}
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenOutput(root, &d, "lamp"); err == nil {
		t.Error("an output that is not described")
	}

	root = machine(t, "orin-nano")
	p, err := OpenOutput(root, &d, "dimmer")
	if err != nil {
		t.Fatal(err)
	}
	dim := p.(*output.Dimmer)
	is := func(when, period, duty, enable string) {
		t.Helper()
		for file, want := range map[string]string{"period": period, "duty_cycle": duty, "enable": enable} {
			if w, err := root.Word("/sys/class/pwm/pwmchip1/pwm0/" + file); w != want || err != nil {
				t.Errorf("%s: %s is %s, not %s (%v)", when, file, w, want, err)
			}
		}
	}
	is("opened", "1000000", "0", "1")
	if err := dim.Dim(25); err != nil {
		t.Error(err)
	}
	is("a quarter", "1000000", "250000", "1")
	for _, bad := range []float64{81, -1} {
		if err := dim.Dim(bad); err == nil || !strings.Contains(err.Error(), "0 to 80 %") {
			t.Errorf("%v %%: %v", bad, err)
		}
	}
	is("refused", "1000000", "250000", "1")
	if err := dim.Set(true); err != nil {
		t.Error(err)
	}
	is("on", "1000000", "800000", "1")
	if err := dim.Close(); err != nil {
		t.Error(err)
	}
	is("closed", "1000000", "0", "0")
}
