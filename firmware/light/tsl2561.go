package light

import (
	"context"
	"fmt"
	"math"
	"time"

	"periph.io/x/conn/v3/i2c"
)

// Registers of the TSL2561 (ams, TAOS059N), little-endian words.
const (
	tslCommand = 0x80
	tslWord    = 0x20
	tslControl = 0x00
	tslTiming  = 0x01
	tslID      = 0x0a
	tslData0   = 0x0c
	tslData1   = 0x0e
	tslOn      = 0x03
)

// tslGains give counts of the data sheet's formula: gain 16 and 402 ms.
var tslGains = []gain{
	{0x12, 1, 65535, 402 * time.Millisecond},                // x16
	{0x02, 16, 65535, 402 * time.Millisecond},               // x1
	{0x01, 16 * 322.0 / 81, 37177, 101 * time.Millisecond},  // x1
	{0x00, 16 * 322.0 / 11, 5047, 13700 * time.Microsecond}, // x1
}

// TSL2561 is that sensor, in the packages T, FN and CL.
type TSL2561 struct {
	dev i2c.Dev
	ladder
}

// NewTSL2561 turns the sensor at addr on.
func NewTSL2561(ctx context.Context, b i2c.Bus, addr uint16) (*TSL2561, error) {
	s := &TSL2561{i2c.Dev{Bus: b, Addr: addr}, ladder{gains: tslGains}}
	if _, err := s.dev.Write([]byte{tslCommand | tslControl, tslOn}); err != nil {
		return nil, err
	}
	var id [1]byte
	if err := s.dev.Tx([]byte{tslCommand | tslID}, id[:]); err != nil {
		return nil, err
	}
	if part := id[0] >> 4; part != 1 && part != 5 { // 0001 TSL2561; 0101 in the package T, FN or CL
		return nil, fmt.Errorf("the chip at %#02x has the part number %#x: it is no TSL2561", addr, part)
	}
	return s, s.set(ctx)
}

func (s *TSL2561) set(ctx context.Context) error {
	if _, err := s.dev.Write([]byte{tslCommand | tslTiming, byte(s.gain().bits)}); err != nil {
		return err
	}
	return s.settle(ctx)
}

func (s *TSL2561) word(reg byte) (int, error) {
	var b [2]byte
	err := s.dev.Tx([]byte{tslCommand | tslWord | reg}, b[:])
	return int(b[0]) | int(b[1])<<8, err
}

// Read implements Sensor.
func (s *TSL2561) Read(ctx context.Context) (Sample, error) {
	for try := 0; ; try++ {
		all, err := s.word(tslData0)
		if err != nil {
			return Sample{}, err
		}
		infrared, err := s.word(tslData1)
		if err != nil {
			return Sample{}, err
		}
		g := s.gain()
		if try < len(s.gains) && s.move(max(all, infrared)) {
			if err := s.set(ctx); err != nil {
				return Sample{}, err
			}
			continue
		}
		return Sample{
			Lux: tslLux(float64(all)*g.factor, float64(infrared)*g.factor),
			Low: tslLux(g.factor, 0), High: tslLux(float64(g.full)*g.factor, 0),
			Saturated: max(all, infrared) >= g.full,
		}, nil
	}
}

// tslLux is the data sheet's approximation, of the light of both diodes and of the one
// for infrared.
func tslLux(all, infrared float64) float64 {
	if all <= 0 {
		return 0
	}
	switch ratio := infrared / all; {
	case ratio <= 0.50:
		return 0.0304*all - 0.062*all*math.Pow(ratio, 1.4)
	case ratio <= 0.61:
		return 0.0224*all - 0.031*infrared
	case ratio <= 0.80:
		return 0.0128*all - 0.0153*infrared
	case ratio <= 1.30:
		return 0.00146*all - 0.00112*infrared
	}
	return 0
}
