package board

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"nightseg/firmware/bus"
	"nightseg/firmware/button"
	"nightseg/firmware/light"
	"nightseg/firmware/line"
	"nightseg/firmware/power"
	"nightseg/firmware/thermal"
	"nightseg/firmware/tree"
)

// Finding is what was found of one thing that a description names.
type Finding struct {
	Name   string `json:"name"` // group and name, such as "light front"
	OK     bool   `json:"ok"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// checker looks at all that a description names.
type checker struct {
	b    *Board
	list []Finding
}

// Check opens every bus, line, zone and sensor that is in use, and closes them again.
// Lines of the map that nothing uses are looked for, and not opened.
func Check(ctx context.Context, root tree.Root, d Description) []Finding {
	c := &checker{b: New(root, d, Options{})}
	c.buses()
	c.lines()
	c.heat()
	c.rails()
	sorted(d.Light, func(name string, l light.Config) { c.light(ctx, name, l) })
	sorted(d.Outputs, c.output)
	sorted(d.Buttons, c.button)
	if why := c.b.MayStart(); why != "" {
		c.add("governor", errors.New(why), "", "let it cool down")
	}
	if err := c.b.close(); err != nil {
		c.add("buses", err, "", "")
	}
	return c.list
}

func sorted[V any](m map[string]V, f func(name string, v V)) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		f(name, m[name])
	}
}

func (c *checker) add(name string, err error, good, remedy string) {
	if err == nil {
		c.list = append(c.list, Finding{Name: name, OK: true, Text: good})
		return
	}
	switch {
	case errors.Is(err, fs.ErrPermission), strings.Contains(err.Error(), "permission denied"): // periph gives text
		remedy = "this user may not open it: sudo usermod -aG i2c,gpio USER (LEDs and PWM: root, or a udev rule)"
	case errors.Is(err, bus.ErrStuck):
		remedy = "turn the sensors' power off and on; look for a wire or a sensor that holds SDA or SCL at 0 V"
	case errors.Is(err, bus.ErrSMBus):
		remedy = "another bus: i2cdetect -l has those that are of the kind i2c"
	case errors.Is(err, bus.ErrDriver):
		remedy = "see ls -l /sys/bus/i2c/devices/*/driver"
	}
	c.list = append(c.list, Finding{Name: name, Text: strings.ReplaceAll(err.Error(), "\n", "; "), Remedy: remedy})
}

func (c *checker) buses() {
	used := map[string]bool{}
	for _, l := range c.b.d.Light {
		used[l.I2C] = true
	}
	for _, r := range c.b.d.Rails {
		if r.I2C != "" {
			used[r.I2C] = true
		}
	}
	sorted(used, func(name string, _ bool) {
		_, err := c.b.bus(name)
		c.add("bus "+name, err, bus.Name(c.b.d.I2C[name]),
			"turn the bus on (Raspberry Pi: dtparam=i2c_arm=on), load the module i2c-dev, see ls /dev/i2c-*")
	})
}

func (c *checker) lines() {
	var missing []string
	all := line.List(c.b.root)
	sorted(c.b.d.Lines, func(name, l string) {
		if _, err := all.Find(l); err != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", name, err))
		}
	})
	if n := len(c.b.d.Lines); n > 0 {
		var err error
		if len(missing) > 0 {
			err = fmt.Errorf("%d of %d are not there: %s", len(missing), n, strings.Join(missing, ", "))
		}
		c.add("lines", err, fmt.Sprintf("all %d names are there", n),
			"is this the right board? See the names with gpioinfo, and change lines")
	}
}

func (c *checker) heat() {
	r := thermal.New(c.b.root, thermal.Config{})
	sorted(c.b.d.Zones, func(name, kind string) {
		v, err := r.Zone(kind)
		c.add("zone "+name, err, fmt.Sprintf("%.1f °C", v), "change zones, or leave the zone out")
	})
	sorted(c.b.d.Clocks, func(name string, k thermal.Clock) {
		p, err := r.Clock(k)
		text := fmt.Sprintf("%.0f of %.0f MHz", p.MHz, p.MaxMHz)
		if p.Percent != nil {
			text += fmt.Sprintf(", load %.0f %%", *p.Percent)
		}
		c.add("clock "+name, err, text, "see ls /sys/class/devfreq, and change clocks")
	})
	sorted(c.b.d.Counters, func(name string, k thermal.Counter) {
		n, err := r.Counter(k)
		c.add("counter "+name, err, fmt.Sprint(n), "see cat /sys/class/hwmon/hwmon*/name, and change counters")
	})
}

func (c *checker) rails() {
	sorted(c.b.d.Rails, func(name string, cfg power.Config) {
		var got power.Reading
		r, err := c.b.openRail(cfg)
		if err == nil {
			got, err = r.Sense()
		}
		remedy := "see cat /sys/class/hwmon/hwmon*/name and in*_label, and change rails"
		if cfg.I2C != "" {
			remedy = "wiring and address: i2cdetect -y " + fmt.Sprint(c.b.d.I2C[cfg.I2C])
		}
		c.add("rail "+name, err, fmt.Sprintf("%.2f V, %.2f A, %.1f W", got.Volts, got.Amps, got.Watts), remedy)
	})
}

func (c *checker) light(ctx context.Context, name string, l light.Config) {
	var got light.Sample
	i2c, err := c.b.bus(l.I2C)
	if err == nil {
		var s light.Sensor
		if s, err = light.Open(ctx, i2c, l.Chip, l.Address); err == nil {
			got, err = s.Read(ctx)
		}
	}
	good := fmt.Sprintf("%s at %#02x: %.1f lx (%.2f to %.0f)", l.Chip, l.Address, got.Lux, got.Low, got.High)
	c.add("light "+name, err, good, fmt.Sprintf("wiring, 3.3 V, and the address pin: i2cdetect -y %d", c.b.d.I2C[l.I2C]))
}

func (c *checker) output(name string, cfg OutputConfig) {
	o, err := OpenOutput(c.b.root, &c.b.d, name)
	if err == nil {
		err = o.Close()
	}
	remedy := "see the names with gpioinfo, and who uses the line"
	switch {
	case cfg.LED != "":
		remedy = "see ls /sys/class/leds"
	case cfg.PWM != "":
		remedy = "see ls -l /sys/class/pwm"
	}
	c.add("output "+name, err, cfg.Line+cfg.LED+cfg.PWM+", now off", remedy)
}

func (c *checker) button(name string, cfg button.Config) {
	in, err := line.OpenInput(c.b.root, c.b.d.Lines[cfg.Line],
		line.InputOptions{ActiveLow: cfg.ActiveLow, Pull: cfg.Pull, Debounce: cfg.Debounce})
	state := "up"
	if err == nil {
		var down bool
		down, err = in.Active()
		if down {
			state = "down"
		}
		err = errors.Join(err, in.Close())
	}
	c.add("button "+name, err, cfg.Line+", "+state, "see the names with gpioinfo, and who uses the line")
}
