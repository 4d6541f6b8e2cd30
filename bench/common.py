"""What the measuring scripts share: the program, brokers, the load of the machine, figures of several rounds."""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PROGRAM = ROOT / "bin" / "nightseg"
BUNDLE = ROOT / "model" / "bundles" / "street-11"
NIGHT_SEQUENCE = SHARED / "data/night_sequence/diptamath_30fps/images"

QUIET_BEFORE = 0.10  # cores that other programs may keep busy before a timing starts
QUIET_DURING = 0.15  # and while it runs: the limits of `nightseg bench`

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3

log = logging.getLogger("bench")


class RefusedError(RuntimeError):
    """A comparison did not hold, or the machine is too busy to time anything."""


def run_main(work: Callable[[], None]) -> int:
    """Run a script and return its exit code: 0 done, 1 failed, 3 a comparison did not hold."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        work()
    except RefusedError as fault:
        log.error("%s", fault)
        return REFUSED
    except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as fault:
        log.error("%s", fault)
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    return DONE


def emit(values: object) -> None:
    """Write what a program reads to standard output."""
    sys.stdout.write(json.dumps(values, indent=1) + "\n")


def need(path: Path, remedy: str) -> Path:
    """Return the path, which must be there.

    Raises:
        FileNotFoundError: it is not.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: {remedy}")
    return path


def program() -> str:
    """Return the path of the program."""
    return str(need(PROGRAM, "build it with make build"))


def last_json(text: str) -> dict[str, Any]:
    """Return the JSON object that ends a text, whatever stands before it on other lines."""
    lines = text.rstrip().splitlines()
    for i in range(len(lines) - 1, -1, -1):
        if lines[i].startswith("{"):
            found: dict[str, Any] = json.loads("\n".join(lines[i:]))
            return found
    raise ValueError(f"no JSON object in {text[-300:]!r}")


def call(command: Sequence[str], timeout: float = 3600, allowed: Sequence[int] = (0,)) -> dict[str, Any]:
    """Run a command that ends with a JSON object on its standard output, and return that.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode not in allowed:
        said = done.stderr.strip() or done.stdout.strip()
        raise RuntimeError(f"{' '.join(command[:3])} ...: exit code {done.returncode}: {said[-800:]}")
    return last_json(done.stdout)


# The load of the machine.


def busy_ticks(stat: str) -> int:
    """Return the processor time since boot that was not idle, from the text of /proc/stat, in its unit."""
    user, nice, system, _, _, irq, softirq, steal = (int(v) for v in stat.splitlines()[0].split()[1:9])
    return user + nice + system + irq + softirq + steal


def process_ticks(stat: str) -> int:
    """Return the processor time of a process and its reaped children, from the text of its /proc/PID/stat."""
    fields = stat[stat.rindex(")") + 2 :].split()
    return sum(int(v) for v in fields[11:15])


class Load:
    """Tells how many cores other programs keep busy. Processes named with `beside` are not others."""

    def __init__(self) -> None:
        """Start with no process beside this one and those that it has waited for."""
        self._tick = 1 / os.sysconf("SC_CLK_TCK")
        self._beside: list[int] = []
        self.restart()

    def beside(self, pid: int) -> None:
        """Name a running process that belongs to the measurement."""
        self._beside.append(pid)

    def _others(self) -> float:
        busy = busy_ticks(Path("/proc/stat").read_text(encoding="utf-8")) * self._tick
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(who)
            busy -= used.ru_utime + used.ru_stime
        for pid in self._beside:
            try:
                busy -= process_ticks(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")) * self._tick
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended and waited for: among the children above
        return busy

    def restart(self) -> None:
        """Begin a measurement."""
        self._at, self._before = time.monotonic(), self._others()

    def cores(self) -> float:
        """Return the cores that others kept busy since the last restart."""
        return max(0.0, (self._others() - self._before) / max(time.monotonic() - self._at, 1e-3))

    def quiet(self, force: bool) -> None:
        """Watch the machine for a second, and refuse where others are at work.

        Raises:
            RefusedError: they are, and force is not set.
        """
        self.restart()
        time.sleep(1)
        self.judge(self.cores(), QUIET_BEFORE, force)
        self.restart()

    @staticmethod
    def judge(cores: float, limit: float, force: bool) -> None:
        """Refuse figures that others have spoilt."""
        if cores <= limit:
            return
        what = f"other programs keep {cores:.2f} cores busy: times would not be worth much"
        if not force:
            raise RefusedError(f"{what}; end them, or give --force")
        log.warning("%s; timing all the same", what)


# Figures.


@dataclass(frozen=True)
class Spread:
    """A figure over several rounds."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up the rounds."""
        return cls(min(values), statistics.median(values), max(values))

    def rounded(self, places: int = 3) -> dict[str, float]:
        """Return the figures as --json shows them."""
        return {
            "least": round(self.least, places),
            "median": round(self.median, places),
            "most": round(self.most, places),
        }

    def __str__(self) -> str:
        """Show the median and the range."""
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


@dataclass(frozen=True)
class Limit:
    """A bound that a figure is held to."""

    what: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Tell whether the figure is within the bound."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def as_dict(self) -> dict[str, object]:
        """Return the bound as --json shows it."""
        return {"what": self.what, "value": round(self.value, 4), "limit": self.limit, "holds": self.holds}

    def __str__(self) -> str:
        """Show the bound as a line."""
        word = "at least" if self.at_least else "at most"
        return f"{'ok  ' if self.holds else 'FAIL'} {self.what}: {self.value:.4g} ({word} {self.limit:g})"


def hold(limits: Sequence[Limit], check: bool) -> None:
    """Tell of the bounds, and with check refuse where one does not hold.

    Raises:
        RefusedError: one does not.
    """
    for one in limits:
        log.info("%s", one)
    broken = [one for one in limits if not one.holds]
    if check and broken:
        raise RefusedError(f"{len(broken)} of {len(limits)} limits do not hold")


# Brokers and processes.


def add_relight(p: argparse.ArgumentParser, *more: str) -> None:
    """Add the option that says how frames are relit; more: modes beside none, network and bundle."""
    p.add_argument("--relight", choices=["bundle", "none", *more, "network"], default="bundle",
                   help="on every frame; bundle: as the bundle is best")  # fmt: skip


def relight_of(args: argparse.Namespace) -> str:
    """Return the mode that --relight asks for: for bundle what its manifest says."""
    if args.relight != "bundle":
        return str(args.relight)
    manifest = json.loads((args.bundle / "bundle.json").read_text(encoding="utf-8"))
    return best_relight(manifest)


def best_relight(manifest: dict[str, Any]) -> str:
    """Return the way of relighting that a bundle is best with."""
    return str(manifest.get("relight", "network" if "relight" in manifest["graphs"] else "none"))


def free_port() -> int:
    """Return a port of the loopback address that nobody uses."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def await_port(port: int, process: subprocess.Popen[Any], seconds: float = 20) -> None:
    """Wait until someone listens on a port of the loopback address.

    Raises:
        RuntimeError: the process that should has ended, or takes too long.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"process {process.args!r} ended with {process.returncode} before it listened")
        try:
            with socket.create_connection(("127.0.0.1", port), 0.2):
                return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nobody listens on 127.0.0.1:{port} after {seconds:.0f} s")


def stop(process: subprocess.Popen[Any], how: signal.Signals = signal.SIGINT, seconds: float = 20) -> int:
    """Ask a process to end, insist when it does not, and return its exit code."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@contextmanager
def broker(kind: str, folder: Path, load: Load | None = None) -> Iterator[str]:
    """Run a broker in a process of its own and give its URL: "mosquitto", "process" (ours) or a mqtt:// URL."""
    if "://" in kind:
        yield kind
        return
    if kind == "mosquitto":
        yield from _mosquitto(folder, load)
        return
    if kind != "process":
        raise ValueError(f"--broker {kind!r} is not mosquitto, process or a mqtt:// URL")
    child = subprocess.Popen(
        [program(), "bench", "serve-broker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if child.stdout is None or child.stdin is None:
            raise RuntimeError("the broker has no pipes")
        if load:
            load.beside(child.pid)
        yield child.stdout.readline().strip()
        child.stdin.close()  # the broker ends with its input
    finally:
        stop(child, signal.SIGTERM)


def _mosquitto(folder: Path, load: Load | None) -> Iterator[str]:
    port = free_port()
    with mosquitto(port, folder) as child:
        if load:
            load.beside(child.pid)
        yield f"mqtt://127.0.0.1:{port}"


def mosquitto_program() -> str:
    """Return the path of mosquitto.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if not found:
        raise FileNotFoundError("mosquitto is missing; on Debian: apt-get install mosquitto (or --broker process)")
    return found


@contextmanager
def mosquitto(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run mosquitto on a port of the loopback address.

    Raises:
        FileNotFoundError: it is not installed.
    """
    path = mosquitto_program()
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n", encoding="utf-8")
    child = subprocess.Popen([path, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_port(port, child)
        yield child
    finally:
        stop(child, signal.SIGTERM)
