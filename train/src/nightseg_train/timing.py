"""Times of the candidate networks, with random weights: what a net costs does not depend on what it learned."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from nightseg_train import data, graphs, runtime
from nightseg_train.classes import NAMES
from nightseg_train.graphs import Calibration
from nightseg_train.nets import registry
from nightseg_train.nets.espnetv2 import ESPNetv2
from nightseg_train.nets.relight import Relight

log = logging.getLogger(__name__)

BUSY = 0.2  # cores that others keep busy above which a time would mean nothing
REFERENCE = registry.LITE


@dataclass(frozen=True)
class Row:
    """A net's parameters in millions and its median times in ms, float and int8."""

    name: str
    parameters: float
    fp32: float
    int8: float


def candidates() -> dict[str, nn.Module]:
    """Return the nets that were weighed against each other."""
    nets: dict[str, nn.Module] = {name: registry.edge(name, len(NAMES)) for name in registry.EDGE}
    nets |= {f"espnetv2 s={s:g}": ESPNetv2(s, len(NAMES)) for s in (1.0, 2.0)}
    nets |= {f"relight {w}": graphs.RelightGraph(_awake(Relight(w))) for w in (8, 16)}
    return nets


def _awake(net: Relight) -> Relight:
    """Return the net with other than zero maps, so that no optimiser takes parts of it for constants."""
    for m in (net.gain, net.offset):
        nn.init.normal_(m.weight, 0, 0.05)
    return net


def _write(name: str, net: nn.Module, folder: Path) -> list[tuple[str, Path, dict[str, graphs.Values]]]:
    h, w = data.SIZE
    rng = np.random.default_rng(0)
    values: graphs.Values = rng.standard_normal((1, 3, h, w), np.float32)
    port, keep = graphs.SEGMENT, registry.float_nodes(net)
    if isinstance(net, graphs.RelightGraph):
        values = rng.integers(0, 256, (1, h, w, 3), dtype=np.uint8)
        port, keep = graphs.RELIGHT, registry.float_nodes(net.net)
    whole = folder / f"{name.replace(' ', '-')}.onnx"
    graphs.write(net, torch.from_numpy(values), port, whole)
    small = whole.with_suffix(".int8.onnx")
    graphs.quantise(whole, small, port, lambda: [values], Calibration(keep_float=keep))
    return [("fp32", whole, {port.source: values}), ("int8", small, {port.source: values})]


def busy_cores(seconds: float = 1.0) -> float:
    """Return how many cores were busy while this process slept (Linux: /proc/stat)."""

    def ticks() -> int:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
        user, nice, system, _idle, _wait, irq, soft, steal = map(int, line.split()[1:9])
        return user + nice + system + irq + soft + steal

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def refuse_if_busy(command: str) -> None:
    """Do nothing on a quiet machine.

    Raises:
        ValueError: the machine is busy with something else.
    """
    cores = busy_cores()
    if cores > BUSY:
        raise ValueError(f"{command}: other programs keep {cores:.2f} cores busy; times taken now would mean nothing")


def measure(provider: str, threads: int, rounds: int, force: bool = False) -> list[Row]:
    """Time all candidates, one run of each in turn, so that a slow moment falls on all; force: on a busy machine, too.

    Raises:
        ValueError: the machine is busy with something else, and force is not set.
    """
    try:
        refuse_if_busy("time-nets")
    except ValueError as fault:
        if not force:
            raise
        log.warning("%s; timing all the same", fault)
    torch.manual_seed(0)
    nets = candidates()
    opened: dict[tuple[str, str], tuple[ort.InferenceSession, dict[str, graphs.Values], list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, net in nets.items():
            for precision, path, feed in _write(name, net, Path(folder)):
                opened[name, precision] = (runtime.session(path, provider, threads), feed, [])
        for i in range(rounds + 3):
            for session, feed, times in opened.values():
                began = time.perf_counter()
                session.run(None, feed)
                if i >= 3:
                    times.append(1000 * (time.perf_counter() - began))
    median = {key: float(np.median(times)) for key, (_, _, times) in opened.items()}
    return [
        Row(name, sum(p.numel() for p in net.parameters()) / 1e6, median[name, "fp32"], median[name, "int8"])
        for name, net in nets.items()
    ]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table; shares are of the int8 time of the net that ships."""
    reference = next(r.int8 for r in rows if r.name == REFERENCE)
    out = [f"| net | parameters, M | fp32, ms | int8, ms | int8, % of {REFERENCE} |", "|---|---|---|---|---|"]
    for r in rows:
        share = 100 * r.int8 / reference
        out.append(f"| {r.name} | {r.parameters:.2f} | {r.fp32:.1f} | {r.int8:.1f} | {share:.0f} |")
    return "\n".join(out) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--provider", choices=sorted(runtime.PROVIDERS), default="openvino")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--force", action="store_true", help="time although other programs are at work")


def run(args: argparse.Namespace) -> None:
    """Run the command `time-nets`."""
    rows = measure(args.provider, args.threads, args.rounds, args.force)
    values = {"provider": args.provider, "threads": args.threads, "nets": [asdict(r) for r in rows]}
    sys.stdout.write(json.dumps(values, indent=1) + "\n" if args.json else table(rows))
