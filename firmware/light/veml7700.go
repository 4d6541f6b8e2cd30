package light

import (
	"context"
	"time"

	"periph.io/x/conn/v3/i2c"
)

// Registers of the VEML7700 (Vishay, document 84286), little-endian words.
const (
	vemlConfig = 0x00
	vemlALS    = 0x04
	vemlMost   = 120000 // lux: the data sheet's range
)

// vemlLux is the light of one count at gain 2 and 800 ms (Vishay's application note
// 84323 of 2022; that of 2015 had 0.0036).
const vemlLux = 0.0042

// vemlGains: bits 12:11 are the gain, 9:6 the integration time.
var vemlGains = []gain{
	{0x0880, vemlLux * 2, 65535, 400 * time.Millisecond},      // gain 2
	{0x0000, vemlLux * 16, 65535, 100 * time.Millisecond},     // gain 1
	{0x1000, vemlLux * 8 * 16, 65535, 100 * time.Millisecond}, // gain 1/8
}

// VEML7700 is that sensor.
type VEML7700 struct {
	dev i2c.Dev
	ladder
}

// NewVEML7700 turns the sensor at addr on.
func NewVEML7700(ctx context.Context, b i2c.Bus, addr uint16) (*VEML7700, error) {
	s := &VEML7700{i2c.Dev{Bus: b, Addr: addr}, ladder{gains: vemlGains}}
	return s, s.set(ctx)
}

func (s *VEML7700) set(ctx context.Context) error {
	bits := s.gain().bits
	if _, err := s.dev.Write([]byte{vemlConfig, byte(bits), byte(bits >> 8)}); err != nil {
		return err
	}
	return s.settle(ctx)
}

// Read implements Sensor.
func (s *VEML7700) Read(ctx context.Context) (Sample, error) {
	for try := 0; ; try++ {
		var b [2]byte
		if err := s.dev.Tx([]byte{vemlALS}, b[:]); err != nil {
			return Sample{}, err
		}
		counts := int(b[0]) | int(b[1])<<8
		g := s.gain()
		if try < len(s.gains) && s.move(counts) {
			if err := s.set(ctx); err != nil {
				return Sample{}, err
			}
			continue
		}
		lux := vemlLinear(float64(counts) * g.factor)
		high := min(vemlMost, vemlLinear(float64(g.full)*g.factor))
		return Sample{
			Lux: min(lux, vemlMost), Low: g.factor, High: high, Saturated: counts >= g.full || lux > vemlMost,
		}, nil
	}
}

// vemlLinear corrects bright light, which the sensor tells as too little (application
// note 84323).
func vemlLinear(lux float64) float64 {
	const bright = 1000
	if lux <= bright {
		return lux
	}
	return (((6.0135e-13*lux-9.3924e-9)*lux+8.1488e-5)*lux + 1.0023) * lux
}
