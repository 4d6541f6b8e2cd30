// Package power holds supply rails, voltage and current by sensors of the board or on a
// bus, and the guard of a vehicle's battery.
package power

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/ina219"

	"nightseg/firmware/tree"
)

// Reading is the state of a rail.
type Reading struct {
	Volts float64 `json:"volts"`
	Amps  float64 `json:"amps"`
	Watts float64 `json:"watts"`
}

// Hwmon is a rail that the kernel measures.
type Hwmon struct {
	root tree.Root
	in   string // voltage, mV
	curr string // current, mA
}

// NewHwmon finds a rail of a driver in /sys/class/hwmon by its label; "" takes the
// driver's first channel.
func NewHwmon(root tree.Root, driver, label string) (*Hwmon, error) {
	var labels []string
	for _, dir := range root.Hwmon(driver) {
		for _, in := range root.Glob(path.Join(dir, "in*_input")) {
			channel := strings.TrimSuffix(strings.TrimPrefix(path.Base(in), "in"), "_input")
			l, err := root.Word(path.Join(dir, "in"+channel+"_label"))
			if err == nil {
				labels = append(labels, l)
			}
			curr := path.Join(dir, "curr"+channel+"_input")
			if (l == label || label == "") && root.Exists(curr) {
				return &Hwmon{root, in, curr}, nil
			}
		}
	}
	return nil, fmt.Errorf("no rail %q of a sensor %q in /sys/class/hwmon (there are: %s)",
		label, driver, strings.Join(labels, ", "))
}

// Sense reads the rail.
func (h *Hwmon) Sense() (Reading, error) {
	mv, err := h.root.Number(h.in)
	if err != nil {
		return Reading{}, err
	}
	ma, err := h.root.Number(h.curr)
	return reading(mv/1000, ma/1000), err
}

func reading(v, a float64) Reading { return Reading{Volts: v, Amps: a, Watts: v * a} }

// INA219 is a rail measured by that chip on a bus, by periph's driver.
type INA219 struct{ dev *ina219.Dev }

// NewINA219 sets the chip at addr up, for a shunt in ohms and the highest current.
func NewINA219(b i2c.Bus, addr uint16, shunt, maxAmps float64) (*INA219, error) {
	dev, err := ina219.New(b, &ina219.Opts{
		Address:       int(addr),
		SenseResistor: physic.ElectricResistance(shunt * float64(physic.Ohm)),
		MaxCurrent:    physic.ElectricCurrent(maxAmps * float64(physic.Ampere)),
	})
	if err != nil {
		return nil, fmt.Errorf("ina219 at %#02x: %w", addr, err)
	}
	return &INA219{dev}, nil
}

// Sense reads the rail.
func (s *INA219) Sense() (Reading, error) {
	p, err := s.dev.Sense()
	if err != nil {
		return Reading{}, err
	}
	return reading(float64(p.Voltage)/float64(physic.Volt), float64(p.Current)/float64(physic.Ampere)), nil
}

// Registers of the INA3221 (Texas Instruments, SBOS576B): per channel the voltage over
// the shunt in 40 µV and that of the bus in 8 mV, both from bit 3 upwards.
const (
	regShunt        = 0x01 // of channel 1; the others follow, each with its bus voltage
	regBus          = 0x02
	regManufacturer = 0xfe
	manufacturer    = 0x5449 // "TI"
	lsbShunt        = 40e-6
	lsbBus          = 8e-3
)

// INA3221 is a channel of that chip on a bus.
type INA3221 struct {
	dev     i2c.Dev
	channel int
	shunt   float64
}

// NewINA3221 finds the chip at addr; channel is 1 to 3, shunt in ohms.
func NewINA3221(b i2c.Bus, addr uint16, channel int, shunt float64) (*INA3221, error) {
	s := &INA3221{i2c.Dev{Bus: b, Addr: addr}, channel, shunt}
	id, err := s.word(regManufacturer)
	if err != nil {
		return nil, fmt.Errorf("ina3221 at %#02x: %w", addr, err)
	}
	if id != manufacturer {
		return nil, fmt.Errorf("ina3221 at %#02x: the chip there says it is %#04x, not %#04x: another one has the address",
			addr, uint16(id), manufacturer)
	}
	return s, nil
}

func (s *INA3221) word(reg byte) (int16, error) {
	var b [2]byte
	err := s.dev.Tx([]byte{reg}, b[:])
	return int16(b[0])<<8 | int16(b[1]), err
}

// Sense reads the rail.
func (s *INA3221) Sense() (Reading, error) {
	step := byte(2 * (s.channel - 1))
	shunt, err := s.word(regShunt + step)
	if err != nil {
		return Reading{}, err
	}
	bus, err := s.word(regBus + step)
	if err != nil {
		return Reading{}, err
	}
	return reading(float64(bus>>3)*lsbBus, float64(shunt>>3)*lsbShunt/s.shunt), nil
}

// Config is a rail in a board's description: one measured by the kernel, or a chip on a
// bus.
type Config struct {
	Hwmon   string  `yaml:"hwmon"` // name of the kernel's driver, with Label
	Label   string  `yaml:"label"`
	I2C     string  `yaml:"i2c"`  // name of a bus of the description, with all below
	Chip    string  `yaml:"chip"` // ina219, ina3221
	Address uint16  `yaml:"address"`
	Channel int     `yaml:"channel"` // of an ina3221
	Shunt   float64 `yaml:"shunt"`   // ohms
	MaxAmps float64 `yaml:"max_amps"`
}

// Validate says what is wrong with the description of a rail.
func (c Config) Validate() error {
	if c.Hwmon != "" {
		if c.I2C != "" || c.Chip != "" {
			return errors.New("hwmon and i2c: keep one")
		}
		return nil
	}
	switch {
	case c.I2C == "":
		return errors.New("neither hwmon nor i2c: say how it is measured")
	case c.Chip != "ina219" && c.Chip != "ina3221":
		return fmt.Errorf("chip: %s is none of ina219, ina3221", strconv.Quote(c.Chip))
	case c.Address < 0x40 || c.Address > 0x4f:
		return fmt.Errorf("address: %#02x is not 0x40 to 0x4f", c.Address)
	case !(c.Shunt > 0 && c.Shunt <= 10):
		return fmt.Errorf("shunt: %v is not above 0 to 10 ohms", c.Shunt)
	case c.Chip == "ina219" && !(c.MaxAmps > 0 && c.MaxAmps <= 1000):
		return fmt.Errorf("max_amps: %v is not above 0 to 1000", c.MaxAmps)
	case c.Chip == "ina3221" && (c.Channel < 1 || c.Channel > 3):
		return fmt.Errorf("channel: %d is not 1 to 3", c.Channel)
	}
	return nil
}
