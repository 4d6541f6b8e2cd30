"""Run the service on a synthetic camera at 30 frames a second and watch it from outside.

`nightseg run` reads synth:// and sends to a broker on loopback; `nightseg watch` in another process counts the masks
and takes their time from capture to arrival; this script reads the service's stats and health topics and its memory
in /proc. The camera draws its loop of frames at the start, beside the networks: figures are taken after --settle.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

import common
from common import Limit, Load, log

FLEET, DEVICE, CAMERA = "bench", "live", "front"
RISE_MB = 5.0  # growth of the memory between the first and the last quarter that still counts as flat


def settings(broker: str, listen: str, args: argparse.Namespace, state: Path) -> str:
    """Return the settings file of the service: YAML, of which JSON is a part."""
    doc: dict[str, Any] = {
        "fleet": FLEET,
        "device": DEVICE,
        "bundle": str(args.bundle),
        "state_dir": str(state),
        "broker": {"url": broker, "listen": listen},
        "engine": {"provider": args.provider, "precision": args.precision, "threads": args.threads},
        "relight": {"mode": args.relight, "gate": "always"},
        "publish": {"qos": args.qos},
        "cameras": [{"id": CAMERA, "source": args.source, "rate": args.rate}],
        "log": {"level": "warn"},
    }
    return json.dumps(doc, indent=1) + "\n"


@dataclass
class Heard:
    """The documents of the service's topics, with the time of their arrival."""

    stats: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    health: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    status: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, topic: str, payload: bytes) -> None:
        """Keep a document."""
        last, now, doc = topic.rsplit("/", 1)[-1], time.monotonic(), json.loads(payload)
        with self.lock:
            if last == "stats":
                self.stats.append((now, doc))
            elif last == "health":
                self.health.append((now, doc))
            elif last == "status":
                self.status.append(doc)

    def wait_stats(self, process: subprocess.Popen[Any], seconds: float = 60) -> None:
        """Wait for the first masks.

        Raises:
            RuntimeError: none come.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self.lock:
                if self.stats and self.stats[-1][1]["masks"] > 0:
                    return
            if process.poll() is not None:
                raise RuntimeError(f"nightseg run ended with exit code {process.returncode}")
            time.sleep(0.1)
        raise RuntimeError(f"no mask within {seconds:.0f} s; status {self.status[-1:]}")


@contextmanager
def listen(url: str, heard: Heard) -> Iterator[None]:
    """Subscribe to stats, health and status while the block runs."""
    host, port = url.removeprefix("mqtt://").rsplit(":", 1)
    base = f"nightseg/v1/{FLEET}/{DEVICE}"
    client = mqtt.Client(CallbackAPIVersion.VERSION2)

    def connected(c: mqtt.Client, *_: object) -> None:
        c.subscribe([(f"{base}/cam/{CAMERA}/stats", 0), (f"{base}/health", 0), (f"{base}/status", 1)])

    def message(_c: mqtt.Client, _u: object, m: mqtt.MQTTMessage) -> None:
        heard.take(m.topic, bytes(m.payload))

    client.on_connect = connected
    client.on_message = message
    client.connect(host, int(port))
    client.loop_start()
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


def resident_mb(pid: int, key: str = "VmRSS") -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status has no {key}")


def sample(pid: int, seconds: float) -> list[tuple[float, float]]:
    """Return (seconds since the start, resident MB) each second."""
    out, begin = [], time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        out.append((now, resident_mb(pid)))
        time.sleep(min(1.0, max(0.0, seconds - now)))
    return out


def memory_figures(samples: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return how the memory went: first and last quarter, largest value, and the slope of a straight line."""
    values = [mb for _, mb in samples]
    quarter = max(1, len(values) // 4)
    slope = 0.0
    if len(samples) > 1:
        slope = statistics.linear_regression([t for t, _ in samples], values).slope
    return {
        "first_quarter_mb": round(statistics.mean(values[:quarter]), 2),
        "last_quarter_mb": round(statistics.mean(values[-quarter:]), 2),
        "most_mb": round(max(values), 2),
        "mb_per_minute": round(slope * 60, 3),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """Return the counts that rose between two stats documents, by reason, of all that is a loss."""

    def flat(doc: dict[str, Any]) -> dict[str, int]:
        out = {f"loop {k}": v for k, v in doc["drops"].items()}
        out |= {f"broker {k}": v for k, v in doc["broker"]["drops"].items()}
        return out | {f"source {k}": v for k, v in doc.get("source", {}).items()}

    old = flat(before)
    return {k: v - old.get(k, 0) for k, v in flat(after).items() if v != old.get(k, 0)}


def per_mask(heard: Heard, since: float, rate: float) -> float | None:
    """Return the objects that the whole service allocated per mask, at a rate of masks, from its health documents.

    None where fewer than two came since then.
    """
    with heard.lock:
        docs = [(t, d["allocated_objects"]) for t, d in heard.health if t >= since and "allocated_objects" in d]
    if len(docs) < 2:
        return None
    (t0, a0), (t1, a1) = docs[0], docs[-1]
    return float((a1 - a0) / ((t1 - t0) * rate))


def run(kind: str, args: argparse.Namespace, folder: Path, load: Load) -> tuple[dict[str, Any], list[Limit]]:
    """Run the service with one kind of broker and return the figures."""
    if kind == "embedded":
        port = common.free_port()
        return serve("embedded", f"127.0.0.1:{port}", f"mqtt://127.0.0.1:{port}", args, folder, load)
    with common.broker(kind, folder, load) as url:
        return serve(url, "127.0.0.1:1883", url, args, folder, load)


def serve(
    broker: str, address: str, url: str, args: argparse.Namespace, folder: Path, load: Load
) -> tuple[dict[str, Any], list[Limit]]:
    """Start service and subscriber, measure, stop both."""
    config = folder / "nightseg.yaml"
    config.write_text(settings(broker, address, args, folder / "state"), encoding="utf-8")
    with (folder / "run.log").open("w", encoding="utf-8") as said:
        service = subprocess.Popen([common.program(), "run", "--strict", "--config", str(config)], stderr=said)
    load.beside(service.pid)
    watch: subprocess.Popen[str] | None = None
    heard = Heard()
    try:
        common.await_port(int(url.rsplit(":", 1)[1]), service)
        with listen(url, heard):
            heard.wait_stats(service)
            log.info("settling for %g s", args.settle)
            time.sleep(args.settle)
            watch = subprocess.Popen(
                [common.program(), "watch", "--broker", url, "--fleet", FLEET, "--device", DEVICE, "--quiet", "--json"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            load.beside(watch.pid)
            time.sleep(1.5)  # a stats document from before, and the subscriber is there
            with heard.lock:
                first, since = heard.stats[-1][1], time.monotonic()
            load.restart()
            log.info("measuring for %g s", args.seconds)
            memory = sample(service.pid, args.seconds)
            others = load.cores()
            time.sleep(1.5)  # the stats document of the last second
            with heard.lock:
                last = heard.stats[-1][1]
            sent = (last["masks"] - first["masks"]) / args.seconds
            allocated = per_mask(heard, since, sent) if sent > 0 else None
        watched = finish(watch)
        ended = common.stop(service)
    except RuntimeError as fault:
        raise RuntimeError(f"{fault}: {(folder / 'run.log').read_text(encoding='utf-8')[-800:]}") from fault
    finally:
        for p in (watch, service):
            if p:
                common.stop(p)
    load.judge(others, common.QUIET_DURING, args.force)
    return figures(args, first, last, watched, memory, allocated, ended, others, heard)


def finish(watch: subprocess.Popen[str]) -> dict[str, Any]:
    """End the subscriber and return its summary."""
    watch.send_signal(2)
    out, _ = watch.communicate(timeout=20)
    return common.last_json(out)


def figures(
    args: argparse.Namespace, first: dict[str, Any], last: dict[str, Any], watched: dict[str, Any],
    memory: Sequence[tuple[float, float]], allocated: float | None, ended: int, others: float, heard: Heard,
) -> tuple[dict[str, Any], list[Limit]]:  # fmt: skip
    """Return the figures of a run, and the bounds that they are held to."""
    drops = differences(first, last)
    rss = memory_figures(memory)
    limits = [
        Limit("frames lost on the way", sum(drops.values()), 0),
        Limit("masks missing or unreadable at the subscriber", watched["missing"] + watched["unreadable"], 0),
        Limit("capture to subscriber p50, ms", watched["latency_p50_ms"], 30),
        Limit("capture to subscriber p99, ms", watched["latency_p99_ms"], 60),
        Limit("resident memory, MB", rss["most_mb"], 500),
        Limit("growth of the memory, first to last quarter, MB", rss["last_quarter_mb"] - rss["first_quarter_mb"],
              RISE_MB),
        Limit("exit code of the service", ended, 0),
    ]  # fmt: skip
    masks = last["masks"] - first["masks"]
    limits.append(Limit("masks to frames due", masks / (args.seconds * args.rate), 0.99, at_least=True))
    with heard.lock:
        status = heard.status[-1].get("state") if heard.status else None
    return {
        "seconds": args.seconds,
        "rate": args.rate,
        "source": args.source,
        "masks": masks,
        "drops": drops,
        "drops_before": {k: v for k, v in (first["drops"] | first.get("source", {})).items() if v},
        "subscriber": {k: v for k, v in watched.items() if k != "masks_sha256"},
        "memory": rss,
        "allocated_objects_per_mask": None if allocated is None else round(allocated, 2),
        "stages_ms": last["stages_ms"],
        "status": status,
        "other_programs_cores": round(others, 3),
        "limits": [one.as_dict() for one in limits],
    }, limits


def measure(args: argparse.Namespace) -> None:
    """Measure with each kind of broker and print one JSON object."""
    load = Load()
    load.quiet(args.force)
    result: dict[str, Any] = {}
    limits: list[Limit] = []
    for kind in args.broker:
        log.info("broker: %s", kind)
        with tempfile.TemporaryDirectory() as folder:
            result[kind], held = run(kind, args, Path(folder), load)
        for one in held:
            limits.append(Limit(f"{kind}: {one.what}", one.value, one.limit, one.at_least))
    common.emit(result)
    common.hold(limits, args.check)


def add_service(p: argparse.ArgumentParser) -> None:
    """Add what a run of the service on a synthetic camera has as options."""
    p.add_argument("--rate", type=float, default=30, help="frames per second of the camera")
    p.add_argument("--source", default="synth://?seed=7001&time=night&layout=demo", help="the camera")
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    p.add_argument("--precision", default="int8", help="of the networks")
    p.add_argument("--provider", default="auto", help="of the networks")
    p.add_argument("--threads", type=int, default=0, help="of the networks; 0: one per core")
    common.add_relight(p, "gamma", "clahe")
    p.add_argument("--check", action="store_true", help="exit with 3 where a limit does not hold")


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and measure."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh live --broker embedded mosquitto --seconds 300 --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--broker", nargs="+", default=["embedded", "mosquitto"], help="embedded, mosquitto, process or URL")
    p.add_argument("--seconds", type=float, default=300, help="time to measure, with each broker")
    p.add_argument("--settle", type=float, default=30, help="seconds from the first mask until figures are taken")
    add_service(p)
    p.add_argument("--qos", type=int, choices=[0, 1], default=0, help="of the masks")
    p.add_argument("--force", action="store_true", help="measure although other programs are at work")
    args = p.parse_args(argv)
    if args.seconds < 2 or args.settle < 0 or args.rate <= 0:
        p.error("--seconds must be at least 2, --settle not below 0, --rate above 0")
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
