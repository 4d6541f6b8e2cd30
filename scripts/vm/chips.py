"""Chips on a bus, as their data sheets have them: what registers hold where something is to be measured."""

from __future__ import annotations

from dataclasses import dataclass

DEVICES = {"veml7700": 0x10, "bh1750": 0x23, "tsl2561": 0x39, "ina219": 0x40, "ina3221": 0x41}
MOST_AMPS = 8.0  # of the INA219, whose current is a share of that
SHUNT = 0.1  # ohms, of the INA3221

DESCRIPTION = f"""name: vm
title: a virtual machine with i2c-stub
models: [none]
i2c: {{{{stub: {{bus}}}}}}
light:
  front: {{{{i2c: stub, chip: veml7700, address: 0x10, interval: 500ms}}}}
  roof: {{{{i2c: stub, chip: bh1750, address: 0x23, interval: 500ms}}}}
  rear: {{{{i2c: stub, chip: tsl2561, address: 0x39, interval: 500ms}}}}
rails:
  battery: {{{{i2c: stub, chip: ina219, address: 0x40, shunt: 0.01, max_amps: {MOST_AMPS:g}}}}}
  supply: {{{{i2c: stub, chip: ina3221, address: 0x41, channel: 2, shunt: {SHUNT:g}}}}}
"""

# Writes words to registers of a device: perl FILE BUS ADDRESS REGISTER=WORD..., numbers in hexadecimal digits. The
# calls are I2C_SLAVE and I2C_SMBUS, the latter with a struct i2c_smbus_ioctl_data that writes word data.
WRITER = r"""use strict;
my ($bus, $address, @words) = @ARGV;
open(my $f, '+<', $bus) or die "$bus: $!\n";
ioctl($f, 0x703, hex $address) or die "address $address: $!\n";
for (@words) {
	my ($register, $word) = map { hex } split /=/;
	my $data = pack 'S x32', $word;
	my $call = pack 'CCxxLP', 0, $register, 3, $data;
	ioctl($f, 0x720, $call) or die "$_: $!\n";
}
"""


@dataclass(frozen=True)
class World:
    """What is to be measured."""

    lux: tuple[float, float, float]  # by VEML7700, BH1750, TSL2561
    battery: tuple[float, float]  # volts and amps, by INA219
    supply: tuple[float, float]  # the same, by INA3221

    @property
    def lights(self) -> dict[str, float]:
        """Return the light by chip."""
        return dict(zip(("veml7700", "bh1750", "tsl2561"), self.lux, strict=True))


def swapped(word: int) -> int:
    """Turn a word's bytes around: those of SMBus go with the low one first, of these chips with the high one."""
    return (word & 0xFF) << 8 | word >> 8


def registers(w: World) -> dict[str, dict[int, int]]:
    """Return the words of each chip's registers."""
    veml, bh, tsl = w.lux
    return {
        "veml7700": {0x04: round(veml / 0.0084)},  # gain 2, 400 ms
        "bh1750": {0x11: swapped(round(bh * 2 * 1.2)), 0x10: swapped(round(bh * 1.2))},  # its modes are its commands
        # The part number; visible light, no infrared; with the bits "command" and "word".
        "tsl2561": {0x8A: 0x50, 0xAC: round(tsl / 0.0304), 0xAE: 0},
        "ina219": {
            0x02: swapped(round(w.battery[0] / 4e-3) << 3),
            0x04: swapped(round(w.battery[1] / (MOST_AMPS / (1 << 15)))),
        },
        "ina3221": {  # the maker, and channel 2
            0xFE: swapped(0x5449),
            0x03: swapped(round(w.supply[1] * SHUNT / 40e-6) << 3),
            0x04: swapped(round(w.supply[0] / 8e-3) << 3),
        },
    }
