// Package board holds the board around the camera: what a description in YAML names of
// it, whether that is there, and the goroutines that read sensors, show the state and
// watch over heat and power.
package board

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"nightseg/firmware/button"
	"nightseg/firmware/governor"
	"nightseg/firmware/lamp"
	"nightseg/firmware/light"
	"nightseg/firmware/line"
	"nightseg/firmware/power"
	"nightseg/firmware/thermal"
)

// Description says what a board has, by names of our own. The first group is a map of
// the board; the second is what is in use: nothing else is opened.
type Description struct {
	Name   string   `yaml:"name"`
	Title  string   `yaml:"title"`
	Models []string `yaml:"models"` // of /proc/device-tree or /sys/class/dmi; * at the end stands for anything

	I2C   map[string]int    `yaml:"i2c"`   // numbers of buses
	Lines map[string]string `yaml:"lines"` // the kernel's names of GPIO lines
	PWM   map[string]PWM    `yaml:"pwm"`

	Zones    map[string]string          `yaml:"zones"` // types of thermal zones
	Rails    map[string]power.Config    `yaml:"rails"`
	Clocks   map[string]thermal.Clock   `yaml:"clocks"`
	Counters map[string]thermal.Counter `yaml:"counters"`
	Light    map[string]light.Config    `yaml:"light"`
	Outputs  map[string]OutputConfig    `yaml:"outputs"`
	Buttons  map[string]button.Config   `yaml:"buttons"`
	Status   string                     `yaml:"status"` // the output that shows the state
	Governor *governor.Config           `yaml:"governor"`
	Battery  *power.GuardConfig         `yaml:"battery"`
	Lamp     *LampConfig                `yaml:"lamp"`
}

// LampConfig is an output that is a lamp, with its limits.
type LampConfig struct {
	Output      string `yaml:"output"`
	lamp.Limits `yaml:",inline"`
}

// PWM is a channel of a controller.
type PWM struct {
	Node    string `yaml:"node"` // of the device tree, such as pwm@32c0000
	Channel int    `yaml:"channel"`
}

// OutputConfig is something that is turned on and off: one of the first three.
type OutputConfig struct {
	Line string `yaml:"line"` // a name of lines
	LED  string `yaml:"led"`  // a name in /sys/class/leds
	PWM  string `yaml:"pwm"`  // a name of pwm

	ActiveLow bool          `yaml:"active_low"` // of a line: on at 0 V
	Hertz     float64       `yaml:"hertz"`      // of a PWM
	Most      float64       `yaml:"most"`       // of a PWM: percent that are never exceeded
	Longest   time.Duration `yaml:"longest"`    // nightseg board set leaves it on no longer
}

const (
	maxDescription = 64 << 10 // bytes
	maxDepth       = 64       // of brackets, or of dashes and keys in a line: a parser's stack is not used up
)

// Parse reads a description and checks it. Unknown keys, and keys given twice, are errors.
func Parse(text []byte) (d Description, err error) {
	if err := plain(text); err != nil {
		return d, err
	}
	defer func() {
		if r := recover(); r != nil { // the YAML library is known to panic on some malformed texts
			err = fmt.Errorf("no YAML: %.200v", r)
		}
	}()
	if err := yaml.UnmarshalWithOptions(text, &d, yaml.Strict()); err != nil {
		return d, fmt.Errorf("no description of a board: %w", err)
	}
	return d, d.Validate()
}

// plain refuses texts that a description never is: too long, too deep, or with anchors,
// which can make a short text large.
func plain(text []byte) error {
	if len(text) > maxDescription {
		return fmt.Errorf("%d bytes are above the limit of %d", len(text), maxDescription)
	}
	depth, dashes := 0, 0
	for i, c := range text {
		next := byte(' ')
		if i+1 < len(text) {
			next = text[i+1]
		}
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			dashes = 0
		case '-', '?', ':':
			if next == ' ' {
				dashes++
			}
		case '&':
			if next != ' ' {
				return errors.New("an anchor (&): write what it stands for")
			}
		}
		if depth > maxDepth || dashes > maxDepth {
			return errors.New("nested too deeply")
		}
	}
	return nil
}

// Validate says all that is wrong with a description.
func (d *Description) Validate() error {
	v := &validator{d: d}
	if !isName(d.Name) {
		v.bad("name: %q is none: 1 to 64 of a-z 0-9 - _", d.Name)
	}
	v.names()
	v.maps()
	each(v, "rails", d.Rails, func(c power.Config) error { return errors.Join(c.Validate(), v.bus(c.I2C)) })
	each(v, "light", d.Light, func(c light.Config) error { return errors.Join(c.Validate(), v.bus(c.I2C)) })
	each(v, "outputs", d.Outputs, v.output)
	each(v, "buttons", d.Buttons, v.button)
	if d.Status != "" {
		if o, ok := d.Outputs[d.Status]; !ok || o.PWM != "" {
			v.bad("status: %q is no output with a line or an led", d.Status)
		}
	}
	if d.Lamp != nil {
		v.lamp(d.Lamp)
	}
	if g := d.Governor; g != nil {
		if err := g.Validate(); err != nil {
			v.bad("governor.%w", err)
		}
		for _, z := range g.Zones {
			if _, ok := d.Zones[z]; !ok {
				v.bad("governor.zones: %q is not under zones", z)
			}
		}
	}
	if b := d.Battery; b != nil {
		if err := b.Validate(); err != nil {
			v.bad("battery.%w", err)
		} else if _, ok := d.Rails[b.Rail]; !ok {
			v.bad("battery.rail: %q is not under rails", b.Rail)
		}
	}
	return errors.Join(v.errs...)
}

// validator collects what is wrong.
type validator struct {
	d    *Description
	errs []error
}

func (v *validator) bad(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}

// each checks the entries of a group, in the order of their names.
func each[C any](v *validator, group string, m map[string]C, check func(C) error) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !isName(name) {
			v.bad("%s: the name %q is not 1 to 64 of a-z 0-9 - _", group, name)
		}
		if err := check(m[name]); err != nil {
			v.bad("%s.%s: %w", group, name, err)
		}
	}
}

func isName(s string) bool {
	const set = "abcdefghijklmnopqrstuvwxyz0123456789-_"
	return len(s) >= 1 && len(s) <= 64 && strings.Trim(s, set) == ""
}

// names checks the map of the board.
func (v *validator) names() {
	each(v, "i2c", v.d.I2C, func(n int) error { return within(n >= 0 && n < 256, "%d is no number of a bus", n) })
	each(v, "lines", v.d.Lines, func(l string) error { return within(l != "", "no name of a line") })
	each(v, "pwm", v.d.PWM, func(p PWM) error {
		return within(p.Node != "" && p.Channel >= 0 && p.Channel < 64, "node and channel: %+v is none", p)
	})
}

func (v *validator) maps() {
	each(v, "zones", v.d.Zones, func(z string) error { return within(z != "", "no type of a thermal zone") })
	each(v, "clocks", v.d.Clocks, func(c thermal.Clock) error {
		return within((c.Devfreq == "") != (c.CPU == ""), "give devfreq or cpu")
	})
	each(v, "counters", v.d.Counters, func(c thermal.Counter) error {
		return within((c.Path == "") == (c.Hwmon != "" && c.File != ""), "give hwmon and file, or path")
	})
	types := slices.Sorted(maps.Values(v.d.Zones))
	if len(slices.Compact(slices.Clone(types))) < len(types) {
		v.bad("zones: a type is given twice")
	}
}

func (v *validator) lamp(c *LampConfig) {
	if o, ok := v.d.Outputs[c.Output]; !ok || o.LED != "" || c.Output == v.d.Status {
		v.bad("lamp.output: %q is no output of its own with a line or a pwm", c.Output)
	}
	if _, ok := v.d.Zones[c.Zone]; !ok && c.Zone != "" {
		v.bad("lamp.zone: %q is not under zones", c.Zone)
	}
	if err := c.Validate(); err != nil {
		v.bad("lamp: %w", err)
	}
}

func within(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func (v *validator) bus(name string) error {
	if _, ok := v.d.I2C[name]; !ok && name != "" {
		return fmt.Errorf("i2c: %q is not under i2c", name)
	}
	return nil
}

func (v *validator) output(o OutputConfig) error {
	kinds := 0
	for _, s := range []string{o.Line, o.LED, o.PWM} {
		if s != "" {
			kinds++
		}
	}
	_, line := v.d.Lines[o.Line]
	_, pwm := v.d.PWM[o.PWM]
	return errors.Join(
		within(kinds == 1, "give one of line, led and pwm"),
		within(o.Line == "" || line, "line: %q is not under lines", o.Line),
		within(o.PWM == "" || pwm, "pwm: %q is not under pwm", o.PWM),
		within(o.PWM == "" || o.Hertz >= 1 && o.Hertz <= 100e3, "hertz: %v is not 1 to 100000", o.Hertz),
		within(o.PWM == "" || o.Most > 0 && o.Most <= 100, "most: %v is not above 0 to 100 percent", o.Most),
		within(o.PWM != "" || o.Most == 0 && o.Hertz == 0, "most and hertz are for a pwm"),
		within(o.Line != "" || !o.ActiveLow, "active_low is for a line"),
		within(o.Longest >= 0 && o.Longest <= time.Hour, "longest: %v is not 0s to 1h", o.Longest),
		within(!strings.Contains(o.LED, "/"), "led: %q is no name in /sys/class/leds", o.LED),
	)
}

func (v *validator) button(b button.Config) error {
	_, known := v.d.Lines[b.Line]
	return errors.Join(
		within(known, "line: %q is not under lines", b.Line),
		within(b.Pull == line.PullNone || b.Pull == line.PullUp || b.Pull == line.PullDown,
			"pull: %q is none of up, down", b.Pull),
		within(b.Debounce >= time.Millisecond && b.Debounce <= time.Second, "debounce: %v is not 1ms to 1s", b.Debounce),
		within(b.Long == 0 || b.Long > b.Debounce && b.Long <= time.Minute, "long: %v is not 0s, or up to 1m", b.Long),
	)
}
