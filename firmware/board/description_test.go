package board

import (
	"strings"
	"testing"
	"time"

	"nightseg/firmware/boards"
	"nightseg/firmware/lamp"
	"nightseg/firmware/output"
)

const small = `name: x
i2c: {header: 7}
lines: {pin29: PQ.05}
pwm: {pin33: {node: pwm@32c0000, channel: 0}}
zones: {tj: tj-thermal}
`

const dimmer = "outputs: {dimmer: {pwm: pin33, hertz: 1000, most: 80}}\n"

func TestLampConfig(t *testing.T) {
	d, err := Parse([]byte(small + dimmer + "lamp: {output: dimmer, steady: 0.6, tau: 3m, zone: tj, hot: 70}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := lamp.Config{
		Output: output.Config{PWM: "pwm@32c0000", Hertz: 1000, Most: 80},
		Limits: lamp.Limits{Steady: 0.6, Tau: 3 * time.Minute, Zone: "tj-thermal", Hot: 70},
	}
	if c, ok := d.LampConfig(); !ok || c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
	if _, ok := new(Description).LampConfig(); ok {
		t.Error("a lamp where there is none")
	}
}

func TestDescriptionsThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  `name: "" is none`,
		"name: x\nbuses: {}\n":              `unknown field "buses"`,
		"name: x\nname: y\n":                "already defined",
		"name: x\ni2c: {header: seven}":     "cannot unmarshal",
		"name: x\ni2c: {header: 700}":       "i2c.header: 700 is no number of a bus",
		"name: x\ni2c: {Header: 7}":         `the name "Header" is not`,
		"name: [x":                          "no description of a board",
		"name: x\nlines: &a {b: c}":         "an anchor (&)",
		"name: " + strings.Repeat("[", 100): "nested too deeply",
		"name: x\n" + strings.Repeat("#", maxDescription):                               "above the limit",
		small + "light: {a: {i2c: rear, chip: bh1750, address: 0x23, interval: 1s}}":    `light.a: i2c: "rear" is not`,
		small + "light: {a: {i2c: header, chip: bh1750, address: 0x24, interval: 1s}}":  "address: 0x24 is none that",
		small + "light: {a: {i2c: header, chip: bh1750, adress: 0x23, interval: 1s}}":   `unknown field "adress"`,
		small + "rails: {in: {hwmon: ina3221, chip: ina219}}":                           "keep one",
		small + "outputs: {led: {line: pin30}}":                                         `line: "pin30" is not`,
		small + "outputs: {led: {line: pin29, led: ACT}}":                               "give one of line, led and pwm",
		small + "outputs: {led: {led: ../x}}":                                           "no name in /sys/class/leds",
		small + "outputs: {lamp: {pwm: pin33, hertz: 1000}}":                            "most: 0 is not above",
		small + "outputs: {lamp: {pwm: pin33, most: 80}}":                               "hertz: 0 is not",
		small + "outputs: {lamp: {line: pin29, longest: 2h}}":                           "longest: 2h0m0s is not",
		small + "status: led\n":                                                         `status: "led" is no output`,
		small + "outputs: {lamp: {pwm: pin33, hertz: 1000, most: 80}}\nstatus: lamp":    "is no output with a line",
		small + "buttons: {stop: {line: pin29, pull: left, debounce: 20ms}}":            `pull: "left" is none`,
		small + "buttons: {stop: {line: pin29, debounce: 20}}":                          "debounce:",
		small + "governor: {zones: [gpu]}":                                              `zones: "gpu" is not`,
		small + "battery: {rail: battery, below: 11.8, for: 1m}":                        "battery.rail:",
		small + "battery: {rail: battery, below: -1, for: 1m}":                          "battery.below: -1",
		small + "clocks: {gpu: {devfreq: a, cpu: b}}":                                   "clocks.gpu: give devfreq or cpu",
		small + "counters: {oc: {hwmon: a}}":                                            "counters.oc: give hwmon",
		"name: x\nzones: {a: tj, b: tj}":                                                "a type is given twice",
		small + dimmer + "lamp: {output: other, steady: 1, tau: 1m}":                    `lamp.output: "other" is no output`,
		small + "outputs: {a: {led: ACT}}\nlamp: {output: a, steady: 1, tau: 1m}":       `lamp.output: "a" is no output`,
		small + dimmer + "lamp: {output: dimmer, steady: 0, tau: 1m}":                   "lamp: steady: 0 is not",
		small + dimmer + "lamp: {output: dimmer, steady: 1, tau: 1m, zone: a, hot: 70}": `lamp.zone: "a" is not`,
		small + dimmer + "lamp: {output: dimmer, heat: 3}":                              `unknown field "heat"`,
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
	if _, err := Parse([]byte(small)); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range boards.All() {
		f.Add(b.Text)
	}
	f.Add([]byte(small))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse(text)
		if err == nil && (!isName(d.Name) || d.Validate() != nil) {
			t.Errorf("%+v was let pass", d)
		}
	})
}
