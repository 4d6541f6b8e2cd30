"""The phase of the board around the camera: sensors on a bus of the kernel's, the camera by night, a hardware watchdog.

The bus is i2c-stub, a driver of the kernel that keeps the registers of chips in memory. It knows SMBus alone, as the
adapters of PC chipsets do. What a register holds comes from chips.py.
"""

from __future__ import annotations

import functools
import json
import time
from typing import Any

from broker import header_of
from chips import DESCRIPTION, DEVICES, WRITER, World, registers
from install import INSTALLED
from machine import check
from session import SETTINGS, UNIT, Session

BOARD = "/etc/nightseg/board.yaml"
DROP_IN = f"/etc/systemd/system/{UNIT}.service.d"
STREET = World(lux=(30, 25, 20), battery=(12.34, 1.0), supply=(5.0, 1.2))
TUNNEL = World(lux=(60, 55, 40), battery=(13.8, 2.5), supply=(5.2, 0.6))
STEPS = {"veml7700": "front", "bh1750": "roof", "tsl2561": "rear"}  # names in the description


def run(s: Session) -> None:
    """Look at the board, let the service use it, take parts of it away."""
    s.step("boot", s.boot, INSTALLED, "board")
    bus = Bus(s)
    s.step("i2c-stub, an adapter that knows SMBus alone", bus.begin)
    s.step("who may open the bus", bus.rights)
    s.step("board list, check, watch", bus.look)
    s.step("the service without board.conf", bus.closed)
    s.step("the service with it: health, lux in masks", bus.serve)
    s.step("other light, other supply", bus.change)
    s.step("the adapter is taken away, and brought back", bus.gone)
    s.step("a chip that a driver of the kernel has", bus.driver)
    s.step("the camera's gain by night", night, s)
    s.step("a hardware watchdog: systemd hangs, the machine starts anew", watchdog, s)
    s.vm.off()


def differences(board: dict[str, Any], world: World) -> list[str]:
    """Return what a board's health tells otherwise than the registers."""
    wanted = {f"lux {STEPS[chip]}": lux for chip, lux in world.lights.items()}
    for rail, values in (("battery", world.battery), ("supply", world.supply)):
        wanted |= {f"volts {rail}": values[0], f"amps {rail}": values[1]}
    found: dict[str, float] = {}
    for name, light in board.get("light", {}).items():
        if light["valid"]:
            found[f"lux {name}"] = light["lux"]
    for name, rail in board.get("rails", {}).items():
        found |= {f"volts {name}": rail["volts"], f"amps {name}": rail["amps"]}
    wrong = [f"{k}: {found.get(k)}, not {v}" for k, v in wanted.items() if abs(found.get(k, -1) - v) > 0.02 * v]
    return wrong + [f"{k}: {v}" for k, v in board.get("problems", {}).items()]


class Bus:
    """The adapter of i2c-stub, and who reads from it."""

    def __init__(self, s: Session) -> None:
        """Nothing is loaded yet."""
        self.s, self.number = s, -1

    @property
    def node(self) -> str:
        """Return the device file."""
        return f"/dev/i2c-{self.number}"

    def load(self) -> None:
        """Load the driver; find the number of its adapter."""
        addresses = ",".join(f"{a:#x}" for a in DEVICES.values())
        self.s.vm.sh(f"modprobe i2c-dev && modprobe i2c-stub chip_addr={addresses} && udevadm settle")
        name = self.s.vm.sh("grep -l '^SMBus stub' /sys/class/i2c-dev/i2c-*/name").strip()
        self.number = int(name.split("/")[-2].removeprefix("i2c-"))

    def set(self, world: World) -> None:
        """Write what the chips are to measure."""
        for chip, words in registers(world).items():
            pairs = " ".join(f"{register:x}={word:x}" for register, word in words.items())
            self.s.vm.sh(f"perl /root/set-registers {self.node} {DEVICES[chip]:x} {pairs}")

    def begin(self) -> str:
        """Load the driver, fill its registers, write the description."""
        self.s.write("/root/set-registers", WRITER)
        self.load()
        self.set(STREET)
        self.s.write(BOARD, DESCRIPTION.format(bus=self.number))
        adapters = self.s.vm.sh("cat /sys/class/i2c-dev/*/name").strip().replace("\n", ", ")
        return f"{self.node} with {len(DEVICES)} chips; adapters: {adapters}"

    def rights(self) -> str:
        """Open the bus as the service's user, and as one who may not."""
        node = self.s.vm.sh(f"stat -c '%G %a' {self.node}").strip()
        check(node == "i2c 660", f"{self.node}: {node}")
        rules = self.s.vm.sh(f"udevadm test $(udevadm info -q path {self.node}) 2>&1 | grep 70-nightseg.rules")
        check("GROUP" in rules, rules)
        opened = f"sh -c 'exec 3<>{self.node}'"
        self.s.vm.sh(f"runuser -u nightseg -- {opened}")
        code, said = self.s.vm.code(f"runuser -u nobody -- {opened}")
        check(code != 0 and "denied" in said, f"nobody may open it: {code} {said}")
        code, said = self.s.vm.code(f"runuser -u nobody -- nightseg board check --board {BOARD}")
        check(code == 3 and "usermod -aG i2c" in said, f"{code} {said}")
        return f"{node}: nightseg may, nobody may not, and is told how"

    def check(self, board: str = BOARD) -> dict[str, str]:
        """Return what board check finds, by name; ends with FAIL where something is missing."""
        code, said = self.s.vm.code(f"runuser -u nightseg -- nightseg board check --board {board} --json 2>/dev/null")
        found = json.loads(said[said.index("{") :])
        check((code == 0) == (found["missing"] == 0), f"exit code {code}: {said}")
        return {f["name"]: f["text"] + ("" if f["ok"] else " FAIL") for f in found["findings"]}

    def look(self) -> str:
        """Compare what the commands print with the registers; see which calls they make."""
        listed = self.s.vm.sh("nightseg board list")
        check("* pc" in listed, listed)
        found = self.check()
        wanted = {
            "light front": "30.0 lx", "light roof": "25.0 lx", "light rear": "20.0 lx",
            "rail battery": "12.34 V, 1.00 A", "rail supply": "5.00 V, 1.20 A", "bus stub": self.node,
        }  # fmt: skip
        wrong = {k: found.get(k) for k, v in wanted.items() if v not in found.get(k, "")}
        check(not wrong, f"{wrong}, not {wanted}")
        lines = self.s.vm.sh(f"runuser -u nightseg -- nightseg board watch --board {BOARD} --json --count 4", 120)
        differ = differences(json.loads(lines.splitlines()[-1]), STREET)
        check(not differ, f"{differ}")
        trace = "strace -f -qq -e trace=ioctl -o /tmp/trace"  # which prints numbers, and not names
        self.s.vm.code(f"{trace} nightseg board check --board {BOARD}", 120)  # slow: deadlines may pass
        numbers = {"I2C_SMBUS": "0x20", "I2C_RDWR": "0x7"}
        calls = {k: int(self.s.vm.code(f"grep -c '0x7, {n}, 0)' /tmp/trace")[1]) for k, n in numbers.items()}
        check(calls["I2C_SMBUS"] >= len(DEVICES) and calls["I2C_RDWR"] == 0, f"calls: {calls}")
        return f"{'; '.join(found[k] for k in wanted)}; calls of check: {calls}"

    def closed(self) -> str:
        """Start the service as it is installed: its unit has closed the bus."""
        s = self.s
        s.write(SETTINGS, s.settings(f"board: {{description: {BOARD}}}\n"))
        s.vm.sh(f"systemctl enable --now {UNIT}", 300)
        status = s.state("degraded", 60)
        check("light front" in status["reason"] and "rail supply" in status["reason"], str(status))
        s.vm.wait("why", lambda: self.problem("light front"), 60)
        why = self.problem("light front")
        check("not permitted" in why, why)
        return f"{status['reason']}; {why}; masks after {s.masks():.1f} s"

    def board(self) -> dict[str, Any]:
        """Return the board in the last health."""
        if "health" not in self.s.broker.heard.last:
            return {}
        return dict(self.s.broker.json("health").get("board", {}))

    def problem(self, name: str) -> str:
        """Return what the last health tells of a part, nothing where all is well."""
        return str(self.board().get("problems", {}).get(name, ""))

    def told(self, world: World) -> str:
        """Wait until health and masks tell what the registers say."""
        s = self.s
        begin = time.monotonic()
        s.vm.wait(f"health as the registers: {world}", lambda: not differences(self.board(), world), 120)
        took, brightest = time.monotonic() - begin, max(world.lights.values())
        s.vm.wait(f"{brightest} lx in masks", lambda: abs(self.lux() - brightest) < 0.02 * brightest, 30)
        board = self.board()
        lux = ", ".join(f"{name} {light['lux']:.1f} lx" for name, light in sorted(board["light"].items()))
        rails = ", ".join(f"{name} {r['volts']:.2f} V {r['amps']:.2f} A" for name, r in sorted(board["rails"].items()))
        return f"health after {took:.0f} s: {lux}; {rails}; masks: {self.lux():.1f} lx"

    def lux(self) -> float:
        """Return the light that the last mask tells, 0 where it tells none."""
        return float(header_of(self.s.broker.heard.last["cam/front/mask"]).get("lux", 0))

    def serve(self) -> str:
        """Open the bus by the drop-in, and restart."""
        s = self.s
        s.vm.sh(f"mkdir -p {DROP_IN} && cp /usr/share/nightseg/systemd/board.conf {DROP_IN} && systemctl daemon-reload")
        begin = time.monotonic()
        s.vm.sh(f"systemctl restart {UNIT}", 300)
        s.masks(begin=begin)
        said = self.told(STREET)
        s.state("online", 60, begin)
        return said

    def change(self) -> str:
        """Change all registers."""
        self.set(TUNNEL)
        said = self.told(TUNNEL)
        self.set(STREET)
        self.told(STREET)
        return said

    def unload(self) -> int:
        """Unload the driver, while it is read from; return how often it had to be tried."""
        script = "n=1; until rmmod i2c-stub 2>/dev/null; do n=$((n+1)); [ $n -lt 200 ]; sleep 0.05; done; echo $n"
        return int(self.s.vm.sh(script, 120))

    def gone(self) -> str:
        """Unload the driver while the service reads, and load it again."""
        s = self.s
        pid, restarts, begin, number = s.pid(), s.restarts(), time.monotonic(), self.number
        tries = self.unload()
        reason = s.state("degraded", 60, begin)["reason"]
        told = time.monotonic() - begin
        wanted = {"light front", "light roof", "light rear", "rail battery", "rail supply"}
        s.vm.wait("all of it in problems", lambda: set(self.board().get("problems", {})) >= wanted, 60)
        why = self.problem("light front")
        check(self.node in why and "no such file" in why, why)
        s.vm.wait("masks without lux", lambda: self.lux() == 0, 60)
        rate = self.rate(10)
        self.load()
        self.set(STREET)
        check(self.number == number, f"it is now {self.node}, was {number}")
        begin = time.monotonic()
        said = self.told(STREET)
        s.state("online", 60, begin)
        s.same(pid, restarts)
        lost = f"degraded after {told:.1f} s ({reason}; {why})"
        return f"unloaded at try {tries}; {lost}; {rate:.1f} masks/s meanwhile; back: {said}"

    def rate(self, seconds: float) -> float:
        """Count masks for a time; there must be some."""
        begin = time.monotonic()
        time.sleep(seconds)
        count = self.s.broker.masks_since(begin)
        check(count >= 3, f"{count} masks in {seconds:.0f} s")
        return count / seconds

    def driver(self) -> str:
        """Give the INA219 to a driver of the kernel's, and take it back."""
        s, at = self.s, DEVICES["ina219"]
        folder = f"/sys/bus/i2c/devices/i2c-{self.number}"
        s.vm.sh(f"echo ina219 {at:#x} >{folder}/new_device && udevadm settle")
        name = f"/sys/bus/i2c/devices/{self.number}-{at:04x}/driver"
        s.vm.wait("a driver", lambda: s.vm.code(f"test -e {name}")[0] == 0, 60)
        driver = s.vm.sh(f"basename $(readlink {name})").strip()
        s.vm.wait("told", lambda: "driver of the kernel" in self.problem("rail battery"), 60)
        refused = self.check()["rail battery"]
        check("driver of the kernel" in refused and "FAIL" in refused, refused)
        s.vm.sh(f"echo {at:#x} >{folder}/delete_device")
        self.set(STREET)
        return f"{driver} has it; told: {refused}; given back: {self.told(STREET)}"


GAIN, AUTOGAIN = 0x980913, 0x980912
# Reads a control of the camera: VIDIOC_G_CTRL with a struct v4l2_control.
CONTROL = (
    'open my $f, "+<", "/dev/video0" or die; my $c = pack "Ll", {id}, 0; '
    'ioctl $f, 0xc008561b, $c or die $!; print((unpack "Ll", $c)[1])'
)


def control(s: Session, number: int) -> int:
    """Return the value of a control, as another program sees it."""
    return int(s.vm.sh(f"perl -e '{CONTROL.format(id=number)}'"))


def night(s: Session) -> str:
    """Set the camera's gain by hand, then by the light of the picture; it is given back at the end."""
    before = control(s, GAIN), control(s, AUTOGAIN)
    check(before[1] == 1, f"autogain is {before[1]}: vivid starts with 1")
    said = []
    # The picture of vivid does not follow its gain: towards a target that it cannot reach, gain goes to its bound.
    for mode, gain, want in (("mode: manual, gain: 60", 60, 153), ("mode: auto, target: 200, gain: 90", 90, 229)):
        text = s.settings(f"board: {{description: {BOARD}}}\n")
        s.write(SETTINGS, text.replace('fps=5"}', f'fps=5", night: {{{mode}}}}}'))
        runs, begin = set(s.broker.heard.runs), time.monotonic()
        s.vm.sh(f"systemctl restart {UNIT}", 300)
        s.new_run(runs, begin)
        s.vm.wait(f"camera_gain {gain} in masks", functools.partial(near, s, gain), 120)
        now = control(s, GAIN), control(s, AUTOGAIN)
        check(now == (want, 0), f"gain and autogain of the camera are {now}, not {(want, 0)}")
        said.append(f"{mode}: camera_gain {camera_gain(s):.1f} in masks, {now[0]} of 255 in the camera")
    status = s.state("degraded", 60, begin)
    check("not its exposure" in status["reason"], str(status))
    s.write(SETTINGS, s.settings(f"board: {{description: {BOARD}}}\n"))
    s.vm.sh(f"systemctl restart {UNIT}", 300)
    s.vm.wait("autogain", lambda: control(s, AUTOGAIN) == 1, 30)
    return f"{'; '.join(said)}; told: {status['reason']}; given back"


def near(s: Session, gain: float) -> bool:
    """Tell whether masks have a gain."""
    return abs(camera_gain(s) - gain) < 0.5


def camera_gain(s: Session) -> float:
    """Return the gain that the last mask tells, -1 where it tells none."""
    return float(header_of(s.broker.heard.last["cam/front/mask"]).get("camera_gain", -1))


def watchdog(s: Session) -> str:
    """Give systemd a watchdog as service.md says, and stop systemd."""
    s.vm.sh(
        "echo softdog >/etc/modules-load.d/softdog.conf && modprobe softdog\n"
        "mkdir -p /etc/systemd/system.conf.d\n"
        "printf '[Manager]\\nRuntimeWatchdogSec=30\\n' >/etc/systemd/system.conf.d/watchdog.conf\n"
        "systemctl daemon-reexec"
    )
    s.vm.wait("systemd has it open", lambda: "/dev/watchdog" in s.vm.code("ls -l /proc/1/fd")[1], 60)
    seconds = s.vm.sh("systemctl show -p RuntimeWatchdogUSec --value").strip()
    check(seconds == "30s", seconds)
    boot = s.vm.sh("cat /proc/sys/kernel/random/boot_id")
    s.masks()  # of this start, which is none of those to come
    runs, begin = set(s.broker.heard.runs), time.monotonic()
    s.vm.sh("sync; echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze")
    s.vm.wait("another boot", lambda: s.vm.booted_anew(boot), 300)
    up = s.vm.uptime()
    after = time.monotonic() - begin - up
    masks = s.new_run(runs, begin, 300)
    return f"started anew {after:.0f} s after systemd was stopped; masks again {masks:.0f} s after it"
