"""What all phases share: the machine, the broker outside of it, the packages, and the results as they come."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker import HOST, Broker
from machine import CACHE, OUT, FailedError, Machine, check, layer

UNIT = "nightseg"
SETTINGS = "/etc/nightseg/nightseg.yaml"
STATE = "/var/lib/nightseg"
BUNDLE = "/srv/tiny"  # the networks of model/testdata/tiny, which an emulated processor keeps up with


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@dataclass
class Result:
    """How a check went."""

    phase: str
    name: str
    state: str  # ok or FAIL
    seconds: float
    text: str


@dataclass
class Session:
    """A run of some phases."""

    accel: str
    patience: float
    packages: dict[str, list[Path]]  # by version, "old" and "new"
    cycles: int
    seed: int
    broker: Broker = field(default_factory=Broker)
    results: list[Result] = field(default_factory=list)
    phase: str = ""
    machine: Machine | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def vm(self) -> Machine:
        """Return the machine that runs."""
        assert self.machine is not None
        return self.machine

    def step(self, name: str, do: Callable[..., str], *args: object) -> None:
        """Do a check; keep and print how it went. One that fails ends the phase."""
        begin = time.monotonic()
        try:
            text, state = " ".join(do(*args).split()), "ok"
        except (FailedError, TimeoutError, KeyError, ValueError, OSError) as e:
            text, state = f"{type(e).__name__}: {e}" if not isinstance(e, FailedError) else str(e), "FAIL"
        took = time.monotonic() - begin
        self.results.append(Result(self.phase, name, state, took, text))
        say(f"{state:4}  {self.phase}: {name} ({took:.0f} s): {text}")
        if state != "ok":
            raise FailedError(f"{self.phase}: {name}")

    def boot(self, over: Path, name: str) -> str:
        """Boot a new layer over a disk."""
        if self.machine is not None:
            self.machine.remove()
        disk = CACHE / "disks" / f"{name}.qcow2"
        disk.unlink(missing_ok=True)
        layer(over, disk)
        self.machine = Machine(disk, self.accel, self.patience)
        took = self.machine.start()
        self.machine.code("mkdir -p /mnt/out && mount -t 9p -o trans=virtio,ro out /mnt/out")
        return f"the machine answers after {took:.0f} s"

    def settings(self, extra: str = "", device: str = "car1") -> str:
        """Return a settings file for the camera and the broker of the tests."""
        return (
            f"fleet: vm\ndevice: {device}\nbundle: {BUNDLE}\nbroker: {{url: mqtt://{HOST}:{self.broker.port}}}\n"
            f"engine: {{provider: cpu, precision: fp32, threads: 1}}\nprobation: {{seconds: 1, frames: 1}}\n{extra}"
            'cameras: [{id: front, source: "v4l2:///dev/video0?size=320x180&fps=5"}]\n'
        )

    def write(self, name: str, text: str) -> None:
        """Write a file in the machine, in place."""
        self.vm.sh(f"cat >{name} <<'EOT'\n{text}EOT")

    def show(self, *keys: str) -> dict[str, str]:
        """Return what systemd knows of the service."""
        lines = self.vm.sh(f"systemctl show {UNIT} -p {','.join(keys)}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def pid(self) -> int:
        """Return the main process of the service, 0 where there is none."""
        return int(self.show("MainPID")["MainPID"])

    def restarts(self) -> int:
        """Return how often systemd has restarted the service by itself."""
        return int(self.show("NRestarts")["NRestarts"])

    def masks(self, count: int = 3, limit: float = 120, begin: float | None = None) -> float:
        """Wait for masks at the subscriber outside; return the seconds until the first."""
        start = time.monotonic() if begin is None else begin
        self.vm.wait("masks at the broker", lambda: self.broker.masks_since(start) >= count, limit, pause=0.1)
        return next(at for at in self.broker.heard.masks if at > start) - start

    def new_run(self, old: set[str], begin: float, limit: float = 180) -> float:
        """Wait for a mask of a run that is not an old one; return the seconds since a time."""
        runs = self.broker.heard.runs
        self.vm.wait("masks of a new run", lambda: set(runs) - old, limit, pause=0.1)
        return min(at for run, at in runs.items() if run not in old) - begin

    def state(self, wanted: str, limit: float = 60, begin: float = 0.0) -> dict[str, Any]:
        """Wait until the device's status is so; return it."""

        def so() -> bool:
            return any(at >= begin for at, _ in self.broker.heard.states) and self.broker.state()["state"] == wanted

        self.vm.wait(f"status {wanted}", so, limit, pause=0.1)
        return self.broker.state()

    def same(self, pid: int, restarts: int) -> None:
        """Hold that the service is the process that it was."""
        now = self.pid(), self.restarts()
        check(now == (pid, restarts), f"the service was restarted: pid, restarts {(pid, restarts)} -> {now}")

    def tails(self) -> str:
        """Return what tells why a check failed."""
        serial = (OUT / "serial.log").read_text(errors="replace").splitlines()[-30:]
        text = "\n".join(["-- serial console:", *serial])
        if self.machine is None or self.machine.agent is None:
            return text
        try:
            _, log = self.machine.code(f"systemctl status --no-pager {UNIT}; journalctl -u {UNIT} -n 40")
        except (FailedError, OSError, ValueError) as e:
            log = f"the machine does not answer: {e}"
        return f"{text}\n-- journal:\n{log}"

    def save(self) -> None:
        """Keep the results of these phases beside those of other ones."""
        file = OUT / "results.json"
        kept = json.loads(file.read_text()) if file.exists() else {"phases": {}}
        kept["facts"] = self.facts
        for phase in {r.phase for r in self.results}:
            kept["phases"][phase] = {
                "date": time.strftime("%F"),
                "packages": [p.name for p in self.packages["old"]],
                "steps": [vars(r) for r in self.results if r.phase == phase],
            }
        file.write_text(json.dumps(kept, indent=1))
