#!/usr/bin/env python3
"""Write machines as folders of files: /sys, /proc and /dev as the programs of this repository read them.

None of this was taken from a board: no board was at hand. Each file follows the source that is named beside it.

    python3 firmware/board/testdata/make_trees.py [FOLDER]    # default: trees/ beside this file

Devices are recordings: dev/i2c-N of I2C traffic (package bus), dev/gpiochipN of the kernel's GPIO calls (package line).
Both are packed here from the data sheets and from <linux/gpio.h>, and not by the Go code that reads them.
"""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path

# Jetson Orin Nano, JetPack 6 (L4T 36). Zones: the device tree of tegra234 (bpmp-thermal); a zone whose part of the chip
# has no power gives EAGAIN, here an empty file. Rails: ina3221 in hwmon, labels of the module P3767's device tree.
# Over-current: drivers/hwmon of NVIDIA's kernel, tegra234-soctherm-oc ("soctherm_oc": 1 under-voltage, 2 average,
# 3 instantaneous). GPU: devfreq of nvgpu; load in thousandths. Model: as published by users of the kit.
ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "sys/class/devfreq/17000000.gpu/cur_freq": "612000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000",
    "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov",
    "sys/class/devfreq/17000000.gpu/device/load": "437",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1344000",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1728000",
    "sys/class/hwmon/hwmon0/name": "tmp451",
    "sys/class/hwmon/hwmon0/temp1_input": "47125",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "4984",
    "sys/class/hwmon/hwmon1/curr1_input": "1856",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon1/in2_input": "4976",
    "sys/class/hwmon/hwmon1/curr2_input": "640",
    "sys/class/hwmon/hwmon1/in3_label": "VDD_SOC",
    "sys/class/hwmon/hwmon1/in3_input": "4976",
    "sys/class/hwmon/hwmon1/curr3_input": "336",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages",
    "sys/class/hwmon/hwmon1/in7_input": "8",
    "sys/class/hwmon/hwmon2/name": "pwmfan",
    "sys/class/hwmon/hwmon2/pwm1": "66",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc",
    **{f"sys/class/hwmon/hwmon3/oc{n}_event_cnt": c for n, c in ((1, "0"), (2, "0"), (3, "37"))},
    **{f"sys/class/hwmon/hwmon3/oc{n}_throt_en": "1" for n in (1, 2, 3)},
    "sys/class/leds/mmc0::/brightness": "0",
}
ORIN_ZONES = (
    ("cpu-thermal", "51093"),
    ("gpu-thermal", "48937"),
    ("cv0-thermal", ""),
    ("cv1-thermal", ""),
    ("cv2-thermal", ""),
    ("soc0-thermal", "47812"),
    ("soc1-thermal", "48250"),
    ("soc2-thermal", "47031"),
    ("tj-thermal", "51093"),
)
ORIN_COOLING = (("pwm-fan", 1), ("cpufreq-cpu0", 0), ("17000000.gpu", 0), ("cpu-throttle-alert", 0))

# Lines of the chips tegra234-gpio and -aon: the ports of drivers/gpio/gpio-tegra186.c (tegra234_main_ports,
# tegra234_aon_ports), a name per port and pin.
ORIN_MAIN = (
    *(("A", 8), ("B", 1), ("C", 8), ("D", 4), ("E", 8), ("F", 6), ("G", 8), ("H", 8), ("I", 7), ("J", 6), ("K", 8)),
    *(("L", 4), ("M", 8), ("N", 8), ("P", 8), ("Q", 8), ("R", 6), ("X", 8), ("Y", 8), ("Z", 8), ("AC", 8)),
    *(("AD", 4), ("AE", 2), ("AF", 4), ("AG", 8)),
)
ORIN_AON = (("AA", 8), ("BB", 4), ("CC", 8), ("DD", 3), ("EE", 8), ("GG", 1))

# Raspberry Pi 5, Raspberry Pi OS with Linux 6.6: names of bcm2712-rpi-5-b.dts; hwmon of raspberrypi-hwmon (rpi_volt).
PI5 = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal",
    "sys/class/hwmon/hwmon0/temp1_input": "55650",
    "sys/class/hwmon/hwmon1/name": "rp1_adc",
    "sys/class/hwmon/hwmon1/in1_input": "1478",
    "sys/class/hwmon/hwmon2/name": "pwmfan",
    "sys/class/hwmon/hwmon2/pwm1": "75",
    "sys/class/hwmon/hwmon3/name": "rpi_volt",
    "sys/class/hwmon/hwmon3/in0_lcrit_alarm": "0",
    "sys/class/leds/ACT/brightness": "0",
    "sys/class/leds/ACT/max_brightness": "255",
    "sys/class/leds/ACT/trigger": "none [mmc0] timer heartbeat",
    "sys/class/leds/PWR/brightness": "255",
    "sys/class/leds/PWR/max_brightness": "255",
    "sys/class/leds/PWR/trigger": "[none] mmc0 timer heartbeat",
}
PI5_ZONES = (("cpu-thermal", "55650"),)
PI5_COOLING = (("pwm-fan", 1), ("cpufreq-cpu0", 0))
PI5_LINES = ["ID_SDA", "ID_SCL", *(f"GPIO{n}" for n in range(2, 28)), *("" for _ in range(28, 54))]

# A PC: ACPI's and Intel's zones, cpufreq of intel_pstate, throttle counters of arch/x86 therm_throt.c.
PC = {
    "sys/class/dmi/id/sys_vendor": "LENOVO",
    "sys/class/dmi/id/product_name": "ThinkCentre M720q",
    "sys/class/dmi/id/board_name": "3132",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "3100000",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "4000000",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "0",
    "sys/class/hwmon/hwmon0/name": "coretemp",
    "sys/class/hwmon/hwmon0/temp1_input": "58000",
}
PC_ZONES = (("acpitz", "27800"), ("x86_pkg_temp", "58000"))
PC_COOLING = (("Processor", 0), ("Fan", 1), ("intel_powerclamp", -1))

# Request numbers and flags of <linux/gpio.h>; line/testdata/abi.c prints them.
CHIP_INFO, LINE_INFO, GET_LINE, GET_VALUES, SET_VALUES = 0x8044B401, 0xC100B405, 0xC250B407, 0xC010B40E, 0xC010B40F
USED, ACTIVE_LOW, INPUT, OUTPUT, RISING, FALLING, PULL_UP = 1, 2, 4, 8, 16, 32, 256
EBUSY = 16


def cut(data: bytes) -> str:
    """Return hexadecimal digits without the zero bytes at the end, and "-" for none."""
    return data.rstrip(b"\0").hex() or "-"


class Gpio:
    """A recording of one chip."""

    def __init__(self, name: str, label: str, lines: list[str], used: dict[str, str] | None = None) -> None:
        """Record what the chip and its lines are called, and who uses them."""
        self.lines = lines
        self.text = ["# nightseg gpio 1", f"# {label}: made by make_trees.py"]
        self.call("chip", CHIP_INFO, b"", struct.pack("=32s32sI", name.encode(), label.encode(), len(lines)))
        for n, line in enumerate(lines):
            user = (used or {}).get(line, "")
            flags = INPUT | (USED if user else 0)
            info = struct.pack("=32s32sIIQ", line.encode(), user.encode(), n, 0, flags)
            self.call("chip", LINE_INFO, struct.pack("=64xI", n), info)

    def call(self, who: str, request: int, before: bytes, after: bytes, error: int = 0) -> None:
        """Record one call."""
        self.text.append(f"{who} {request:x} {cut(before)} {cut(after)}" + (f" ! {error}" if error else ""))

    def request(self, line: str, flags: int, attr: tuple[int, int] | None, fd: int, error: int = 0) -> None:
        """Record how a line was asked for, and its descriptor."""
        # gpio_v2_line_request: 64 offsets, consumer, config {flags, n, 5 x 0, 10 x {id, 0, value, mask}}, n lines
        attrs = struct.pack("=IIQQ", attr[0], 0, attr[1], 1) if attr else b""
        config = struct.pack("=QI20x", flags, 1 if attr else 0) + attrs.ljust(240, b"\0")
        head = struct.pack("=I252x32s", self.lines.index(line), b"nightseg") + config
        before = head + struct.pack("=II20xi", 1, 0, 0)
        self.call("chip", GET_LINE, before, head + struct.pack("=II20xi", 1, 0, fd), error)

    def output(self, line: str, fd: int) -> None:
        """Record an output that is set and taken back."""
        self.request(line, OUTPUT, (2, 0), fd)
        for bits in (0, 1):
            values = struct.pack("=QQ", bits, 1)
            self.call(f"fd{fd}", SET_VALUES, values, values)

    def button(self, line: str, fd: int, debounce_us: int) -> None:
        """Record an input with a pull-up that is pressed, and stays down."""
        self.request(line, INPUT | RISING | FALLING | ACTIVE_LOW | PULL_UP, (3, debounce_us), fd)
        event = struct.pack("=QIIII24x", 81_000_000_123, 1, self.lines.index(line), 1, 1)
        self.text.append(f"fd{fd} read - {cut(event)}")
        self.call(f"fd{fd}", GET_VALUES, struct.pack("=QQ", 0, 1), struct.pack("=QQ", 1, 1))

    def done(self) -> str:
        """Return the recording."""
        return "\n".join(self.text)


def ports(spec: tuple[tuple[str, int], ...]) -> list[str]:
    """Return the names of a Tegra chip's lines."""
    return [f"P{port}.{pin:02d}" for port, pins in spec for pin in range(pins)]


def orin_i2c() -> str:
    """Return the traffic of bus 7: a BH1750 at 0x23 by dusk, an INA219 at 0x40 behind a car battery."""
    text = ["# nightseg i2c 1", "# bus 7 of a Jetson Orin Nano: made by make_trees.py from the data sheets"]
    text += ["23 01 -", "23 07 -", "23 10 -", "23 11 -"]  # power on, reset, modes of 1 and 0.5 lx
    for lux in (38.0, 38.5, 37.5, 36.0, 35.5, 36.5):  # counts: 1.2 a lux, twice that in the second mode
        text.append(f"23 11 {round(lux * 2.4):04x}")
    # INA219 with 0.1 ohm and 3.2 A: calibration 0.04096 / (3.2 / 32768 * 0.1), rounded down as the driver does
    text += [f"40 05{4194:04x} -", "40 001fff -"]
    text += [f"40 01 {11100:04x}", f"40 02 {3100 << 3:04x}"]  # 111 mV in 10 uV; 12.4 V in 4 mV, from bit 3
    text += [f"40 04 {11366:04x}", f"40 03 {7050:04x}"]  # 1.11 A in 97.656 uA; power in 20 times that
    return "\n".join(text)


def zones(files: dict[str, str], hot: tuple[tuple[str, str], ...], cooling: tuple[tuple[str, int], ...]) -> None:
    """Add thermal zones and cooling devices."""
    for n, (kind, temp) in enumerate(hot):
        files[f"sys/class/thermal/thermal_zone{n}/type"] = kind
        files[f"sys/class/thermal/thermal_zone{n}/temp"] = temp
    for n, (kind, state) in enumerate(cooling):
        files[f"sys/class/thermal/cooling_device{n}/type"] = kind
        files[f"sys/class/thermal/cooling_device{n}/cur_state"] = str(state)


def trees() -> dict[str, dict[str, str]]:
    """Return the files of each machine."""
    orin, pi5, pc = dict(ORIN), dict(PI5), dict(PC)
    zones(orin, ORIN_ZONES, ORIN_COOLING)
    zones(pi5, PI5_ZONES, PI5_COOLING)
    zones(pc, PC_ZONES, PC_COOLING)
    # PWM of the header: pin 33 is 32c0000.pwm, of drivers/pwm/pwm-tegra.c; a channel that was exported
    pwm = "sys/class/pwm/pwmchip1"
    orin |= {
        f"{pwm}/device/uevent": "DRIVER=tegra-pwm\nOF_FULLNAME=/bus@0/pwm@32c0000\nMODALIAS=of:NpwmT(null)",
        f"{pwm}/npwm": "1",
        f"{pwm}/pwm0/period": "0",
        f"{pwm}/pwm0/duty_cycle": "0",
        f"{pwm}/pwm0/enable": "0",
    }
    main = Gpio("gpiochip0", "tegra234-gpio", ports(ORIN_MAIN), {"PG.00": "force-recovery", "PZ.06": "spi0 CS0"})
    main.output("PQ.05", 11)  # pin 29: an LED
    main.output("PY.00", 12)  # pin 13: a lamp
    main.button("PQ.06", 13, 20_000)  # pin 31: a button
    main.request("PZ.06", OUTPUT, (2, 0), 0, EBUSY)  # pin 24
    orin["dev/gpiochip0"] = main.done()
    orin["dev/gpiochip1"] = Gpio("gpiochip1", "tegra234-gpio-aon", ports(ORIN_AON)).done()
    orin["dev/i2c-7"] = orin_i2c()
    orin["dev/i2c-1"] = "# nightseg i2c 1\n# nothing answers"

    pi = Gpio("gpiochip0", "pinctrl-rp1", PI5_LINES)
    pi.output("GPIO17", 11)
    pi5["dev/gpiochip0"] = pi.done()
    brcm = ["", "2712_BOOT_CS_N", "2712_BOOT_MISO", "2712_WAKE"]
    pi5["dev/gpiochip10"] = Gpio("gpiochip10", "gpio-brcmstb@107d508500", brcm).done()
    pi5["dev/gpiochip11"] = Gpio("gpiochip11", "gpio-brcmstb@107d517c00", ["WL_ON", "2712_WAKE"]).done()
    pi5["dev/i2c-1"] = "# nightseg i2c 1\n# nothing answers"
    return {"orin-nano": orin, "pi5": pi5, "pc": pc}


def main() -> None:
    """Write all machines."""
    to = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("trees")
    for name, files in trees().items():
        shutil.rmtree(to / name, ignore_errors=True)
        for path, text in files.items():
            file = to / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            end = "" if not text or text.endswith("\0") else "\n"
            file.write_text(text + end, encoding="ascii")


if __name__ == "__main__":
    main()
