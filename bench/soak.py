"""Run the service at full rate for an hour, cut its connection again and again, and see that nothing grows.

`nightseg run` reads synth:// and sends to mosquitto through a gate, which is shut for --outage seconds every
--outage-every seconds; a subscriber on the broker's own side counts every mask that arrives, live or as history, by
its key (run, camera, sequence number), so that none is missed for another reason. Each second memory, threads and open
files of the service are read from /proc, and each document of health tells its goroutines. The first fifth of the time
is warm-up. Flat: the median of the last quarter against that of the first one after it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

import common
import live
from common import Limit, log

WARM_UP = 0.2  # share of the time that is not compared
MEMORY_MB = 10.0  # growth that still counts as flat
FEW = 2.0  # goroutines, files or threads more that still count as flat


@dataclass
class Heard:
    """What the subscriber got."""

    keys: set[tuple[str, int]] = field(default_factory=set)
    live: int = 0
    history: int = 0
    twice: int = 0
    stats: dict[str, Any] = field(default_factory=dict)
    goroutines: list[tuple[float, float]] = field(default_factory=list)
    back: list[float] = field(default_factory=list)  # seconds from the broker's return to a live mask
    returned: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, topic: str, payload: bytes) -> None:
        """Count a mask or keep a document."""
        last, now = topic.rsplit("/", 1)[-1], time.monotonic()
        with self.lock:
            if last == "mask":
                self._mask("/hist/" in topic, payload, now)
            elif last == "stats":
                self.stats = json.loads(payload)
            elif last == "health":
                self.goroutines.append((now, float(json.loads(payload)["goroutines"])))

    def _mask(self, kept: bool, payload: bytes, now: float) -> None:
        head = header(payload)
        key = (str(head["run"]), int(head["seq"]))
        self.twice += key in self.keys
        self.keys.add(key)
        if kept:
            self.history += 1
            return
        self.live += 1
        if self.returned:
            self.back.append(now - self.returned)
            self.returned = 0.0


def header(payload: bytes) -> dict[str, Any]:
    """Return the JSON header of a PNG mask.

    Raises:
        ValueError: there is none.
    """
    at = payload.find(b"tEXtnightseg\0")
    if at < 0:
        raise ValueError(f"a mask of {len(payload)} bytes has no header")
    length = int.from_bytes(payload[at - 4 : at], "big")
    doc: dict[str, Any] = json.loads(payload[at + 13 : at + 4 + length])
    return doc


def listener(port: int, heard: Heard) -> mqtt.Client:
    """Return a subscriber to everything of the service."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="soak")
    base = f"nightseg/v1/{live.FLEET}/{live.DEVICE}"
    client.on_connect = lambda c, *_: c.subscribe([(f"{base}/#", 1)])
    client.on_message = lambda _c, _u, m: heard.take(m.topic, bytes(m.payload))
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


class Gate:
    """A way to a port that can be shut: connections end, and new ones are refused."""

    def __init__(self, to: int) -> None:
        """Remember where the way leads, and choose a port."""
        self.port, self._to = common.free_port(), to
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server: socket.socket | None = None

    def open(self) -> None:
        """Let connections in."""
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept, self._server)

    def shut(self) -> None:
        """End all connections."""
        if self._server is None:
            return
        for s in (self._server, *self._open):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        for t in self._threads:
            t.join()
        self._server = None
        self._open.clear()
        self._threads.clear()

    def _start(self, work: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # shut
            while True:
                inside, _ = server.accept()
                outside = socket.create_connection(("127.0.0.1", self._to))
                self._open += [inside, outside]
                self._start(self._carry, inside, outside)
                self._start(self._carry, outside, inside)

    def _carry(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
        for s in (source, to):  # what one side ends, the other is told of
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)


def outages(args: argparse.Namespace, gate: Gate, heard: Heard, stop: threading.Event) -> int:
    """Shut the gate for a while again and again until stop is set, and leave it open; return how often."""
    count = 0
    while not stop.wait(args.outage_every):
        gate.shut()
        stop.wait(args.outage)
        gate.open()
        with heard.lock:
            heard.returned = time.monotonic()
        count += 1
    return count


def flat(what: str, samples: Sequence[tuple[float, float]], limit: float) -> Limit:
    """Return the limit on how much a figure rose from the first quarter to the last."""
    values = [v for _, v in samples]
    quarter = max(1, len(values) // 4)
    rise = statistics.median(values[-quarter:]) - statistics.median(values[:quarter])
    return Limit(f"growth of {what}, first to last quarter", round(rise, 2), limit)


def sample(pid: int, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Return memory in MB, threads and open files of a process each second."""
    out: dict[str, list[tuple[float, float]]] = {"memory": [], "threads": [], "files": []}
    begin = time.monotonic()
    while (now := time.monotonic()) - begin < seconds:
        out["memory"].append((now, live.resident_mb(pid)))
        out["threads"].append((now, len(list(Path(f"/proc/{pid}/task").iterdir()))))
        out["files"].append((now, len(list(Path(f"/proc/{pid}/fd").iterdir()))))
        time.sleep(1)
    return out


def soak(args: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], list[Limit]]:
    """Run it all and return figures and limits."""
    seconds, heard, stop, times = args.minutes * 60, Heard(), threading.Event(), [0]
    port = common.free_port()
    with contextlib.ExitStack() as ends:
        ends.enter_context(common.mosquitto(port, folder))
        client = listener(port, heard)
        ends.callback(client.loop_stop)
        gate = Gate(port)
        gate.open()
        ends.callback(gate.shut)
        config = folder / "nightseg.yaml"
        url = f"mqtt://127.0.0.1:{gate.port}"
        config.write_text(live.settings(url, "127.0.0.1:1883", args, folder / "state"), encoding="utf-8")
        said = ends.enter_context((folder / "run.log").open("w", encoding="utf-8"))
        service = subprocess.Popen([common.program(), "run", "--strict", "--config", str(config)], stderr=said)
        ends.callback(common.stop, service)

        def away() -> None:
            times[0] = outages(args, gate, heard, stop)

        cutter = threading.Thread(target=away)
        cutter.start()
        try:
            time.sleep(seconds * WARM_UP)
            log.info("warm after %g s; measuring", seconds * WARM_UP)
            begin = time.monotonic()
            samples = sample(service.pid, seconds * (1 - WARM_UP))
        finally:
            stop.set()
            cutter.join()
        alive = service.poll() is None
        time.sleep(args.drain)  # what is kept is delivered
        ended = common.stop(service)
        time.sleep(1)
        with heard.lock:
            figures = dict(heard.stats)
    heard.goroutines = [(t, n) for t, n in heard.goroutines if t >= begin]
    return judge(args, heard, samples, figures, times[0], ended if alive else 1)


def judge(
    args: argparse.Namespace, heard: Heard, samples: dict[str, list[tuple[float, float]]], stats: dict[str, Any],
    outages_made: int, ended: int,
) -> tuple[dict[str, Any], list[Limit]]:  # fmt: skip
    """Return figures and limits."""
    broker = sum(stats["broker"]["drops"].values())
    loop = sum(v for k, v in stats["drops"].items() if k != "overrun")
    due = stats["masks"] - broker - loop
    limits = [
        flat("memory, MB", samples["memory"], MEMORY_MB),
        flat("threads", samples["threads"], FEW),
        flat("open files", samples["files"], FEW),
        flat("goroutines", heard.goroutines, FEW),
        Limit("masks that are neither here nor counted as lost", max(0, due - len(heard.keys)), 0),
        Limit("seconds from the broker's return to a live mask, the worst", max(heard.back, default=0.0), 6),
        Limit("exit code of the service", ended, 0),
        Limit("masks to frames that the camera gave", round(stats["masks"] / stats["captured"], 3), 0.9, at_least=True),
    ]
    return {
        "minutes": args.minutes, "outages": outages_made, "masks": stats["masks"], "distinct": len(heard.keys),
        "live": heard.live, "history": heard.history, "twice": heard.twice, "dropped": stats["broker"]["drops"],
        "back_s": {"median": round(statistics.median(heard.back), 2), "worst": round(max(heard.back), 2)}
        if heard.back else None,
        "memory_mb": live.memory_figures(samples["memory"]),
        "limits": [one.as_dict() for one in limits],
    }, limits  # fmt: skip


def measure(args: argparse.Namespace) -> None:
    """Soak and print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        result, limits = soak(args, Path(folder))
    common.emit(result)
    common.hold(limits, args.check)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and soak."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh soak --minutes 60 --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--minutes", type=float, default=60, help="how long")
    p.add_argument("--outage-every", type=float, default=60, help="seconds between two cuts")
    p.add_argument("--outage", type=float, default=10, help="seconds that the broker cannot be reached")
    p.add_argument("--drain", type=float, default=20, help="seconds at the end for what was kept")
    live.add_service(p)
    p.set_defaults(qos=0)
    args = p.parse_args(argv)
    if args.minutes <= 0 or args.outage_every <= 0 or args.outage < 0 or args.rate <= 0:
        p.error("--minutes, --outage-every and --rate must be above 0, --outage not below 0")
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
