package light

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"nightseg/firmware/bus"
)

// labs are the sensors, each on a bus of its own, in the same light.
func labs(noise float64) map[string]struct {
	*lab
	*world
} {
	made := map[string]struct {
		*lab
		*world
	}{}
	for _, name := range Chips {
		w := &world{noise: noise, rng: rand.New(rand.NewPCG(1, 2))}
		l := &lab{}
		switch name {
		case "bh1750":
			l.addr, l.chip = 0x23, &simBH1750{world: w}
		case "tsl2561":
			l.addr, l.chip = 0x39, &simTSL2561{world: w, id: 0x50}
		case "veml7700":
			l.addr, l.chip = 0x10, &simVEML7700{world: w}
		}
		made[name] = struct {
			*lab
			*world
		}{l, w}
	}
	return made
}

// From the dark to the sun and back, each sensor tells the light within a tenth, or one
// step of its gain, up to what it can measure; above that it says so.
func TestSensorsFromDarkToSun(t *testing.T) {
	levels := []float64{0, 0.05, 0.4, 3, 40, 400, 5000, 20000, 24000, 39000, 60000, 100000, 300, 2, 30000, 0.2}
	for name, l := range labs(0) {
		synctest.Test(t, func(t *testing.T) {
			s, err := Open(t.Context(), bus.New(l.lab, bus.Deadline), name, l.addr)
			if err != nil {
				t.Fatal(err)
			}
			for _, lux := range levels {
				l.set(func() { l.lux = lux })
				got, err := s.Read(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				near := math.Abs(got.Lux-lux) <= max(0.1*lux, got.Low)
				switch {
				case lux < got.High && (!near || got.Saturated), lux > got.High && !got.Saturated:
					t.Errorf("%s: %v lux: %+v", name, lux, got)
				case lux <= 30000 && got.High < lux:
					t.Errorf("%s: %v lux are too much: %+v", name, lux, got)
				case lux < 1 && got.Low > 1, lux == 0 && got.Lux != 0:
					t.Errorf("%s: %v lux are too little: %+v", name, lux, got)
				}
			}
		})
	}
}

func TestOnlyTheSensorThatWasNamedIsTaken(t *testing.T) {
	all := labs(0)
	for name, c := range map[string]struct {
		chip string
		addr uint16
		want string
	}{
		"wrong address": {"bh1750", 0x5c, "address 0x5c: remote I/O error"},
		"no veml7700":   {"veml7700", 0x11, "veml7700: address 0x11"},
		"no tsl2561":    {"tsl2561", 0x29, "tsl2561: address 0x29"},
	} {
		if _, err := Open(t.Context(), bus.New(all[c.chip].lab, bus.Deadline), c.chip, c.addr); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := &lab{addr: 0x39, chip: &simTSL2561{world: &world{}, id: 0xa0}} // a TSL2591 has no such number
	if _, err := Open(t.Context(), other, "tsl2561", 0x39); err == nil || !strings.Contains(err.Error(), "no TSL2561") {
		t.Errorf("another chip: %v", err)
	}
}

// The traffic as the data sheets have it, byte by byte.
func TestTraffic(t *testing.T) {
	for name, c := range map[string]struct {
		ops  []i2ctest.IO
		addr uint16
		want float64
	}{
		"bh1750": {
			[]i2ctest.IO{
				{Addr: 0x23, W: []byte{0x01}},
				{Addr: 0x23, W: []byte{0x07}},
				{Addr: 0x23, W: []byte{0x10}},
				{Addr: 0x23, W: []byte{0x07}},
				{Addr: 0x23, W: []byte{0x11}},
				{Addr: 0x23, W: []byte{0x11}},
				{Addr: 0x23, W: []byte{0x11}, R: []byte{0x83, 0x90}}, // the data sheet's 28067 lx, halved
			}, 0x23, 28066.5 / 2,
		},
		"tsl2561": {
			[]i2ctest.IO{
				{Addr: 0x39, W: []byte{0x80, 0x03}},
				{Addr: 0x39, W: []byte{0x8a}, R: []byte{0x50}},
				{Addr: 0x39, W: []byte{0x81, 0x12}},
				{Addr: 0x39, W: []byte{0xac}, R: []byte{0xe8, 0x03}},
				{Addr: 0x39, W: []byte{0xae}, R: []byte{0x58, 0x02}},
			}, 0x39, 0.0224*1000 - 0.031*600,
		},
		"veml7700": {
			[]i2ctest.IO{
				{Addr: 0x10, W: []byte{0x00, 0x80, 0x08}}, {Addr: 0x10, W: []byte{0x04}, R: []byte{0x10, 0x27}},
			}, 0x10, 84,
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &i2ctest.Playback{Ops: c.ops, DontPanic: true}
			s, err := Open(t.Context(), bus.New(p, bus.Deadline), name, c.addr)
			if err != nil {
				t.Fatal(name, err)
			}
			got, err := s.Read(t.Context())
			if err != nil || math.Abs(got.Lux-c.want) > 0.51 {
				t.Errorf("%s: %v lux, %v, want %v", name, got.Lux, err, c.want)
			}
			if err := p.Close(); err != nil { // nothing is left over
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// A sensor that is pulled out while it runs is told, and found again; so is a bus that is
// held low. Nobody waits for either.
func TestUnpluggedAndStuck(t *testing.T) {
	for name, l := range labs(0) {
		synctest.Test(t, func(t *testing.T) {
			l.set(func() { l.lux = 100 })
			b := bus.New(l.lab, bus.Deadline)
			m := NewMeter(time.Second, func(ctx context.Context) (Sensor, error) { return Open(ctx, b, name, l.addr) })
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { m.Run(ctx); close(ended) }()
			newest := func(after time.Duration) Reading {
				time.Sleep(after) //nolint:forbidigo // fake time
				synctest.Wait()
				r, _ := m.Newest()
				return r
			}
			good := newest(5 * time.Second)
			if !good.Valid || math.Abs(good.Lux-100) > 1 || good.Problem != "" {
				t.Errorf("%s: %+v", name, good)
			}
			l.set(func() { l.unplugged = true })
			if r := newest(3 * time.Second); r.Valid || !strings.Contains(r.Problem, "remote I/O error") || r.Lux != good.Lux {
				t.Errorf("%s unplugged: %+v", name, r)
			}
			l.set(func() { l.unplugged = false })
			if r := newest(40 * time.Second); !r.Valid || r.Problem != "" {
				t.Errorf("%s plugged in again: %+v", name, r)
			}
			stuck := make(chan struct{})
			l.set(func() { l.stuck = stuck })
			start := time.Now()
			if r := newest(3 * time.Second); r.Valid || !strings.Contains(r.Problem, "stuck") {
				t.Errorf("%s stuck: %+v", name, r)
			}
			if time.Since(start) != 3*time.Second {
				t.Error("somebody waited for the bus")
			}
			l.set(func() { l.stuck = nil })
			close(stuck)
			if r := newest(60 * time.Second); !r.Valid {
				t.Errorf("%s after it was stuck: %+v", name, r)
			}
			cancel()
			<-ended
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// With a tenth of noise the filtered light stays within 15 %; two flashes of a car's
// lamps do not count, and dusk is followed within seconds.
func TestNoiseFlashAndDusk(t *testing.T) {
	var f Filter
	rng := rand.New(rand.NewPCG(3, 4))
	now := time.Unix(0, 0)
	add := func(lux float64) float64 {
		now = now.Add(500 * time.Millisecond)
		return f.Add(now, lux*(1+0.1*rng.NormFloat64()))
	}
	for i := range 400 {
		lux := 20.0
		if i%50 < 2 {
			lux = 5000
		}
		if got := add(lux); i > 20 && math.Abs(got-20) > 3 {
			t.Fatalf("sample %d: %v lux, not 20", i, got)
		}
	}
	steps := 0
	for got := 20.0; got > 0.6; steps++ {
		got = add(0.5)
	}
	if took := time.Duration(steps) * 500 * time.Millisecond; took > 15*time.Second {
		t.Errorf("dark after %v", took)
	}
	if got := f.Add(now.Add(time.Hour), 300); math.Abs(got-300) > 0.1 {
		t.Errorf("an hour later %v, not 300", got)
	}
	if got := new(Filter).Add(now, 0); got != 0 {
		t.Errorf("the dark is %v", got)
	}
}

func TestSensorEndsWithItsContext(t *testing.T) {
	l := labs(0)["veml7700"]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, l.lab, "veml7700", l.addr); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	good := Config{I2C: "header", Chip: "bh1750", Address: 0x23, Interval: time.Second}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"chip:":     func(c *Config) { c.Chip = "bh1751" },
		"i2c:":      func(c *Config) { c.I2C = "" },
		"address:":  func(c *Config) { c.Address = 0x29 },
		"interval:": func(c *Config) { c.Interval = 0 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
