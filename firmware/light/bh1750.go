package light

import (
	"context"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/bh1750"
)

// The driver of periph gives whole steps of 1 lx as if the sensor were in its first
// mode. In the second, in which it counts double, they are half as large; its 16 bits
// are full at half the light then.
const (
	bhFull    = 54612 // lux: 65535 counts at 1.2 a lux (Rohm's data sheet), as the driver cuts it
	bhWide    = 25000 // lux: above, the first mode
	bhNarrow  = 20000 // below, the second
	bhPowerOn = 0x01  // periph's driver resets only, which a sensor without power on does not hear
)

// BH1750 is that sensor, by periph's driver.
type BH1750 struct {
	dev  *bh1750.Dev
	wide bool
}

// NewBH1750 turns the sensor at addr on.
func NewBH1750(b i2c.Bus, addr uint16) (*BH1750, error) {
	if err := b.Tx(addr, []byte{bhPowerOn}, nil); err != nil {
		return nil, err
	}
	dev, err := bh1750.NewI2C(b, addr)
	if err != nil {
		return nil, err
	}
	s := &BH1750{dev: dev}
	return s, s.use(false)
}

func (s *BH1750) use(wide bool) error {
	mode := bh1750.ContinuousHighResMode2
	if wide {
		mode = bh1750.ContinuousHighResMode
	}
	s.wide = wide
	return s.dev.SetResolution(mode)
}

// Read implements Sensor. It takes 140 ms, in which the driver sleeps.
func (s *BH1750) Read(ctx context.Context) (Sample, error) {
	for try := 0; ; try++ {
		flux, err := s.dev.Sense()
		if err != nil {
			return Sample{}, err
		}
		if ctx.Err() != nil {
			return Sample{}, ctx.Err()
		}
		out := Sample{Lux: float64(flux) / float64(physic.Lumen), Low: 1, High: bhFull}
		out.Saturated = out.Lux >= bhFull
		if !s.wide {
			out.Lux, out.Low, out.High = out.Lux/2, out.Low/2, out.High/2
		}
		if try > 0 || s.wide && out.Lux >= bhNarrow || !s.wide && out.Lux <= bhWide {
			return out, nil
		}
		if err := s.use(!s.wide); err != nil {
			return Sample{}, err
		}
	}
}
