"""Time the start of the program to its first mask at a subscriber.

Three kinds of start take turns: "disk": no compiled networks kept, and program, libraries and networks put out of
the page cache first; "cold": no compiled networks kept, files in the page cache; "warm": a start like the one before.
The clock runs from before the program is started until paho hands the mask over in this process.
"""

from __future__ import annotations

import argparse
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

import common
from common import Limit, Load, Spread, log

KINDS = ("disk", "cold", "warm")
LIMITS_MS = {"cold": 3000.0, "warm": 1500.0}
FLEET, DEVICE = "bench", "start"


def evict(paths: Iterable[Path]) -> int:
    """Put the files below the paths out of the page cache, as far as nobody has them mapped; return their bytes."""
    total = 0
    for path in paths:
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                total += os.fstat(handle).st_size
            finally:
                os.close(handle)
    return total


class Subscriber:
    """Notes when masks arrive."""

    def __init__(self, url: str) -> None:
        """Connect and subscribe."""
        host, port = url.removeprefix("mqtt://").rsplit(":", 1)
        self.arrived: queue.Queue[float] = queue.Queue()
        ready: queue.Queue[bool] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)

        def connected(c: mqtt.Client, *_: object) -> None:
            c.subscribe(f"nightseg/v1/{FLEET}/{DEVICE}/cam/+/mask", qos=1)

        def subscribed(*_: object) -> None:
            ready.put(True)

        def message(*_: object) -> None:
            self.arrived.put(time.monotonic())

        self._client.on_connect, self._client.on_subscribe = connected, subscribed
        self._client.on_message = message
        self._client.connect(host, int(port))
        self._client.loop_start()
        ready.get(timeout=10)

    def close(self) -> None:
        """End the connection."""
        self._client.disconnect()
        self._client.loop_stop()


def start(args: argparse.Namespace, url: str, cache: Path, subscriber: Subscriber) -> float:
    """Start the program on the pictures and return the ms until its first mask came."""
    command = [
        common.program(), "replay", str(args.images), "--frames", "1", "--rate", "max", "--broker", url,
        "--fleet", FLEET, "--device", DEVICE, "--bundle", str(args.bundle), "--cache-dir", str(cache),
        "--precision", args.precision, "--provider", args.provider, "--gate", "always", "--json",
    ]  # fmt: skip
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"replay: exit code {done.returncode}: {done.stderr[-500:]}")
    try:
        return (subscriber.arrived.get(timeout=10) - begin) * 1000
    except queue.Empty:
        raise RuntimeError("the program ended, but no mask came") from None


def measure(args: argparse.Namespace) -> None:
    """Time the starts and print one JSON object."""
    common.need(args.images, "name a folder of pictures")
    load = Load()
    load.quiet(args.force)
    files = [Path(common.program()), args.bundle, common.need(common.ROOT / ".cache/ort", "run make build")]
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    size = 0
    with tempfile.TemporaryDirectory() as folder, common.broker(args.broker, Path(folder), load) as url:
        subscriber = Subscriber(url)
        for n in range(args.rounds):
            for kind in KINDS:
                cache = Path(folder) / (f"cache{n}" if kind != "disk" else f"disk{n}")
                if kind == "disk":
                    size = evict(files)
                times[kind].append(start(args, url, cache, subscriber))
                log.info("round %d: %s: %.0f ms", n + 1, kind, times[kind][-1])
        subscriber.close()
    load.judge(load.cores(), common.QUIET_DURING, args.force)
    spread = {kind: Spread.of(values) for kind, values in times.items()}
    limits = [Limit(f"{k} start to the first mask, ms", spread[k].median, most) for k, most in LIMITS_MS.items()]
    common.emit({
        "images": str(args.images), "rounds": args.rounds, "broker": args.broker, "evicted_mb": round(size / 2**20, 1),
        "ms": {kind: s.rounded(1) for kind, s in spread.items()}, "limits": [one.as_dict() for one in limits],
    })  # fmt: skip
    common.hold(limits, args.check)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and measure."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh start --rounds 7 --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("images", type=Path, nargs="?", default=common.NIGHT_SEQUENCE, help="folder of pictures")
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    p.add_argument("--rounds", type=int, default=5, help="starts of each kind")
    p.add_argument("--broker", default="mosquitto", help="mosquitto, process (nightseg's own) or a mqtt:// URL")
    p.add_argument("--precision", default="int8", help="of the networks")
    p.add_argument("--provider", default="auto", help="of the networks")
    p.add_argument("--check", action="store_true", help="exit with 3 where a limit does not hold")
    p.add_argument("--force", action="store_true", help="time although other programs are at work")
    args = p.parse_args(argv)
    if args.rounds < 1:
        p.error("--rounds must be at least 1")
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
