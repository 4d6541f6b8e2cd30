// Package light holds sensors of ambient light: lux, filtered, with the range that the
// sensor has at the moment and whether it is blinded.
package light

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"periph.io/x/conn/v3/i2c"

	"nightseg/firmware/poll"
)

// Sample is one measurement.
type Sample struct {
	Lux       float64
	Low, High float64 // what can be told from 0, and what can be measured, at this gain
	Saturated bool    // there is more light than High
}

// Sensor measures; a measurement takes up to half a second.
type Sensor interface {
	Read(ctx context.Context) (Sample, error)
}

// Chips are the names of the sensors that Open knows.
var Chips = []string{"bh1750", "tsl2561", "veml7700"}

// Config is a sensor in a board's description.
type Config struct {
	I2C      string        `yaml:"i2c"` // name of a bus
	Chip     string        `yaml:"chip"`
	Address  uint16        `yaml:"address"`
	Interval time.Duration `yaml:"interval"`
}

// addresses are those that the chips can have.
var addresses = map[string][]uint16{
	"bh1750": {0x23, 0x5c}, "tsl2561": {0x29, 0x39, 0x49}, "veml7700": {0x10},
}

// Validate says what is wrong with the description of a sensor.
func (c Config) Validate() error {
	known, ok := addresses[c.Chip]
	switch {
	case !ok:
		return fmt.Errorf("chip: %q is none of %v", c.Chip, Chips)
	case c.I2C == "":
		return fmt.Errorf("i2c: no bus is named")
	case !slices.Contains(known, c.Address):
		return fmt.Errorf("address: %#02x is none that a %s has (%#02x)", c.Address, c.Chip, known)
	case c.Interval < 100*time.Millisecond || c.Interval > time.Minute:
		return fmt.Errorf("interval: %v is not 100ms to 1m", c.Interval)
	}
	return nil
}

// Open finds the sensor at an address.
func Open(ctx context.Context, b i2c.Bus, chip string, addr uint16) (Sensor, error) {
	var s Sensor
	var err error
	switch chip {
	case "bh1750":
		s, err = NewBH1750(b, addr)
	case "tsl2561":
		s, err = NewTSL2561(ctx, b, addr)
	default:
		s, err = NewVEML7700(ctx, b, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", chip, err)
	}
	return s, nil
}

// Reading is the newest that is known of the light.
type Reading struct {
	Lux       float64       `json:"lux"`     // filtered
	RawLux    float64       `json:"raw_lux"` // the last sample
	Low       float64       `json:"low"`
	High      float64       `json:"high"`
	Saturated bool          `json:"saturated"`
	At        time.Time     `json:"at"` // of the last sample; with Problem, of the last good one
	Valid     bool          `json:"valid"`
	Problem   string        `json:"problem,omitempty"`
	retry     time.Duration // after a fault
}

// Times between tries while a sensor does not answer.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// Meter reads one sensor in a goroutine of its own.
type Meter struct {
	open   func(context.Context) (Sensor, error)
	sensor Sensor
	filter Filter
	last   Reading
	*poll.Value[Reading]
}

// NewMeter makes a meter of a sensor that open finds; it is opened again after faults.
func NewMeter(every time.Duration, open func(context.Context) (Sensor, error)) *Meter {
	m := &Meter{open: open}
	m.Value = poll.New(every, m.read)
	return m
}

func (m *Meter) read(ctx context.Context) Reading {
	s, err := m.sample(ctx)
	if err != nil {
		m.sensor = nil
		m.last.Problem, m.last.Valid = err.Error(), false
		if m.last.retry > 0 {
			poll.Wait(ctx, m.last.retry)
		}
		m.last.retry = min(max(2*m.last.retry, firstRetry), lastRetry)
		return m.last
	}
	now := time.Now()
	m.last = Reading{
		Lux: m.filter.Add(now, s.Lux), RawLux: s.Lux, Low: s.Low, High: s.High,
		Saturated: s.Saturated, At: now, Valid: true,
	}
	return m.last
}

func (m *Meter) sample(ctx context.Context) (Sample, error) {
	if m.sensor == nil {
		s, err := m.open(ctx)
		if err != nil {
			return Sample{}, err
		}
		m.sensor = s
	}
	s, err := m.sensor.Read(ctx)
	if err == nil && (math.IsNaN(s.Lux) || s.Lux < 0) {
		err = fmt.Errorf("the sensor says %v lux", s.Lux)
	}
	return s, err
}

const (
	window   = 5               // samples of which the median is taken: two flashes in a row do not count
	tau      = 2 * time.Second // of the low-pass behind it
	forget   = time.Minute     // without samples: the next counts alone
	darkness = 0.01            // lux: the filter works on the logarithm, as eyes do
)

// Filter smooths light: the median of the last five samples, then a low-pass on its
// logarithm.
type Filter struct {
	last  []float64
	value float64
	at    time.Time
}

// Add takes a sample and returns the filtered light.
func (f *Filter) Add(now time.Time, lux float64) float64 {
	if len(f.last) > 0 && now.Sub(f.at) > forget {
		f.last = f.last[:0]
	}
	first := len(f.last) == 0
	if len(f.last) == window {
		f.last = append(f.last[:0], f.last[1:]...)
	}
	f.last = append(f.last, lux)
	sorted := slices.Sorted(slices.Values(f.last))
	target := math.Log(sorted[(len(sorted)-1)/2] + darkness)
	if first {
		f.value = target
	} else {
		f.value += (target - f.value) * (1 - math.Exp(-now.Sub(f.at).Seconds()/tau.Seconds()))
	}
	f.at = now
	return max(0, math.Exp(f.value)-darkness)
}
