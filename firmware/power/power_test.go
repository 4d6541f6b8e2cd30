package power

import (
	"math"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"nightseg/firmware/bus"
)

const orin = "../board/testdata/trees/orin-nano"

func near(t *testing.T, what string, got Reading, volts, amps float64) {
	t.Helper()
	if math.Abs(got.Volts-volts) > 1e-3 || math.Abs(got.Amps-amps) > 1e-3 || math.Abs(got.Watts-volts*amps) > 0.02 {
		t.Errorf("%s: %+v, want %v V and %v A", what, got, volts, amps)
	}
}

func TestHwmon(t *testing.T) {
	h, err := NewHwmon(orin, "ina3221", "VDD_CPU_GPU_CV")
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Sense()
	if err != nil {
		t.Fatal(err)
	}
	near(t, "rail", got, 4.976, 0.64)
	_, err = NewHwmon(orin, "ina3221", "VDD_GPU")
	if err == nil || !strings.Contains(err.Error(), "(there are: VDD_IN, VDD_CPU_GPU_CV, VDD_SOC, sum of") {
		t.Error(err)
	}
}

// The traffic of a battery: periph's driver against a recording packed from the data
// sheet.
func TestINA219(t *testing.T) {
	b, err := bus.Open(orin, 7)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewINA219(b, 0x40, 0.1, 3.2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Sense()
	if err != nil {
		t.Fatal(err)
	}
	near(t, "battery", got, 12.4, 1.11)
	if _, err := NewINA219(b, 0x41, 0.1, 3.2); err == nil || !strings.Contains(err.Error(), "ina219 at 0x41") {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestINA3221(t *testing.T) {
	id := i2ctest.IO{Addr: 0x40, W: []byte{0xfe}, R: []byte{0x54, 0x49}}
	p := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{
		id,
		{Addr: 0x40, W: []byte{0x03}, R: []byte{0x09, 0xc0}},
		{Addr: 0x40, W: []byte{0x04}, R: []byte{0x5d, 0xc0}},
		id,
		{Addr: 0x40, W: []byte{0x05}, R: []byte{0xff, 0x38}},
		{Addr: 0x40, W: []byte{0x06}, R: []byte{0x27, 0x10}},
		{Addr: 0x40, W: []byte{0xfe}, R: []byte{0, 0}},
	}}
	for _, c := range []struct {
		channel     int
		volts, amps float64
	}{{2, 24, 2.496}, {3, 10, -0.2}} { // 12.48 mV over 5 mΩ; -1 mV: it flows back
		s, err := NewINA3221(p, 0x40, c.channel, 0.005)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Sense()
		if err != nil {
			t.Fatal(err)
		}
		near(t, "channel", got, c.volts, c.amps)
	}
	_, err := NewINA3221(p, 0x40, 1, 0.005)
	if err == nil || !strings.Contains(err.Error(), "another one has the address") {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// An engine that is started, a battery that is empty, a sensor that is pulled out.
func TestGuard(t *testing.T) {
	c := GuardConfig{Rail: "battery", Below: 11.8, For: time.Minute}
	type part struct {
		volts   float64 // 0: not known
		seconds int
	}
	for name, s := range map[string]struct {
		drive []part
		stops int // after so many seconds, 0 never
	}{
		"drives":                   {[]part{{13.8, 600}}, 0},
		"starts its engine":        {[]part{{12.5, 60}, {8.9, 5}, {10.5, 40}, {13.9, 60}}, 0},
		"is empty":                 {[]part{{12.1, 60}, {11.7, 120}}, 121},
		"is empty, with noise":     {[]part{{11.7, 30}, {11.9, 1}, {11.7, 60}}, 61},
		"is charged in between":    {[]part{{11.7, 50}, {12.1, 5}, {11.7, 50}}, 0},
		"sensor away for a moment": {[]part{{11.7, 40}, {0, 5}, {11.7, 60}}, 61},
		"sensor away":              {[]part{{11.7, 50}, {0, 600}, {11.7, 50}}, 0},
	} {
		g := NewGuard(c)
		now, stopped := 0, 0
		for _, p := range s.drive {
			for range p.seconds {
				now++
				if p.volts == 0 {
					continue
				}
				if why := g.Observe(time.Duration(now)*time.Second, p.volts); why != "" && stopped == 0 {
					stopped = now
					if !strings.Contains(why, "below 11.8 V for 1m0s (now 11.70 V)") {
						t.Error(why)
					}
				}
			}
		}
		if stopped != s.stops {
			t.Errorf("a vehicle that %s: stopped after %d s, not %d", name, stopped, s.stops)
		}
	}
}

func TestConfigs(t *testing.T) {
	good := Config{I2C: "header", Chip: "ina219", Address: 0x40, Shunt: 0.1, MaxAmps: 3.2}
	for want, change := range map[string]func(*Config){
		"":                    func(*Config) {},
		"keep one":            func(c *Config) { c.Hwmon = "ina3221" },
		"say how":             func(c *Config) { c.I2C = "" },
		`chip: "ina"`:         func(c *Config) { c.Chip = "ina" },
		"address: 0x23":       func(c *Config) { c.Address = 0x23 },
		"shunt: 0":            func(c *Config) { c.Shunt = 0 },
		"max_amps: NaN":       func(c *Config) { c.MaxAmps = math.NaN() },
		"channel: 0 is not 1": func(c *Config) { c.Chip = "ina3221" },
	} {
		c := good
		change(&c)
		if err := c.Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	guard := GuardConfig{Rail: "battery", Below: 11.8, For: time.Minute}
	for want, change := range map[string]func(*GuardConfig){
		"":        func(*GuardConfig) {},
		"rail:":   func(c *GuardConfig) { c.Rail = "" },
		"below:":  func(c *GuardConfig) { c.Below = -1 },
		"for: 0s": func(c *GuardConfig) { c.For = 0 },
	} {
		c := guard
		change(&c)
		if err := c.Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
