"""Times of training steps: DANNet's official preset here and as a plain float program, and the edge pair.

Each kind of step runs in a process of its own, so that its memory is its own, and they take turns, so that a slow
moment falls on all. Pictures are made up. Both DANNet steps begin with the same weights, see the same pictures and drop
the same channels: the losses of their first step differ by rounding alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nightseg_train import allocator, loop, scoring, timing
from nightseg_train.classes import NAMES
from nightseg_train.data.shares import CITYSCAPES_SHARES
from nightseg_train.method import Batch
from nightseg_train.methods import dannet, selftrain
from nightseg_train.plain_step import Plain

PLAIN, OURS, EDGE = "plain", "ours", "edge"
DOMAINS = ("source", "day", "night")
SEED = 1
WARM = 2  # the memory that a training keeps still grows in its second step
STATIC = tuple(range(11))  # train ids of Cityscapes that cannot move
Make = Callable[[int], Batch]
Step = Callable[[Batch], Mapping[str, float]]


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
        dannet: settings of both DANNet steps.
        size, each: height and width of their pictures, and how many of each kind they see.
        window: height and width of the edge pair's pictures; kinds: how many of each kind it sees.
        segment: its segmentation net.
    """

    dannet: dannet.Settings = dannet.official()  # noqa: RUF009 - frozen
    size: tuple[int, int] = (512, 512)
    each: int = 1
    window: tuple[int, int] = (256, 352)
    kinds: tuple[tuple[str, int], ...] = (("source", 4), ("day", 2), ("night", 2))
    segment: str = "lite0"


OFFICIAL = Case()


@dataclass(frozen=True)
class Timed:
    """A kind of step: pictures per step, seconds of each one that counts, largest memory in MB, first losses."""

    images: int
    seconds: tuple[float, ...]
    memory: float
    losses: Mapping[str, float]

    @property
    def median(self) -> float:
        """Return the median of the seconds."""
        return float(np.median(self.seconds))


def scene(step: int, kind: str, n: int, size: tuple[int, int]) -> Tensor:
    """Return n made-up pictures of a kind, N x 3 x H x W in normalised units: patches and noise, dark by night."""
    g = torch.Generator().manual_seed(7919 * step + len(kind))
    patches = F.interpolate(torch.rand(n, 3, 8, 8, generator=g), size, mode="bilinear")
    pixels = (patches + 0.1 * torch.randn(n, 3, *size, generator=g)).clamp(0, 1)
    x = scoring.normalise(pixels * (0.25 if kind == "night" else 1.0))
    return x.contiguous(memory_format=torch.channels_last)


def batch(step: int, kinds: Mapping[str, int], size: tuple[int, int], classes: int) -> Batch:
    """Return a batch with labels, N x H x W, and soft targets at a quarter of the size."""
    g = torch.Generator().manual_seed(step)
    coarse = torch.randint(0, classes, (kinds["source"], 1, 16, 16), generator=g)
    labels = F.interpolate(coarse.float(), size, mode="nearest")[:, 0].to(torch.uint8)
    quarter = (size[0] // 4, size[1] // 4)
    soft = {k: (4 * torch.randn(n, classes, *quarter, generator=g)).softmax(1) for k, n in kinds.items()}
    return Batch(step, {k: scene(step, k, n, size) for k, n in kinds.items()}, labels, soft)


def _dannet(case: Case) -> tuple[dannet.Dannet, Make]:
    torch.manual_seed(SEED)
    method = dannet.Dannet(case.dannet, CITYSCAPES_SHARES, STATIC)
    kinds = dict.fromkeys(DOMAINS, case.each)
    return method, lambda step: batch(step, kinds, case.size, len(CITYSCAPES_SHARES))


def _plain(case: Case, _: Path) -> tuple[Make, Step]:
    """Return the plain float step."""
    method, make = _dannet(case)
    port = Plain(method)

    def step(made: Batch) -> Mapping[str, float]:
        torch.manual_seed(loop.seed_of(SEED, made.step))
        return port.step(made)

    return make, step


def _ours(case: Case, folder: Path) -> tuple[Make, Step]:
    """Return a step of the loop with its defaults: bf16."""
    allocator.keep_memory()
    method, make = _dannet(case)
    run = loop.Run(method, loop.Loop(), folder, SEED)
    return make, lambda made: run.advance(lambda _: made, 1.0)


def _edge(case: Case, folder: Path) -> tuple[Make, Step]:
    """Return a step of the edge pair as the benchmark's own recipe takes it."""
    allocator.keep_memory()
    torch.manual_seed(SEED)
    s = selftrain.Settings(segment=case.segment, easy=0.9)
    method = selftrain.SelfTrain(s, (1 / len(NAMES),) * len(NAMES), 0.0)
    run = loop.Run(method, loop.Loop(clip=5.0, ema=0.995), folder, SEED)
    kinds = dict(case.kinds)
    return lambda step: batch(step, kinds, case.window, len(NAMES)), lambda made: run.advance(lambda _: made, 1.0)


KINDS: dict[str, Callable[[Case, Path], tuple[Make, Step]]] = {PLAIN: _plain, OURS: _ours, EDGE: _edge}


def _serve(pipe: Connection, kind: str, case: Case, threads: int) -> None:
    """Take a step for each number that comes; answer with its seconds, its losses, the peak of memory in MB."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        make, step = KINDS[kind](case, Path(folder))
        while (number := pipe.recv()) is not None:
            made = make(number)
            began = time.perf_counter()
            losses = dict(step(made))
            seconds = time.perf_counter() - began
            pipe.send((seconds, losses, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(case: Case, kinds: Sequence[str], threads: int, rounds: int) -> dict[str, Timed]:
    """Time kinds of steps, one step of each in turn, after WARM ones that do not count.

    Raises:
        ValueError: the machine is busy with something else, or a step failed.
    """
    timing.refuse_if_busy("time-step")
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    found: dict[str, Timed] = {}
    with ExitStack() as stack:
        workers = {kind: stack.enter_context(_worker(kind, case, threads)) for kind in kinds}
        for number in range(WARM + rounds):
            for kind, pipe in workers.items():
                try:
                    pipe.send(number)
                    took, losses, memory = pipe.recv()
                except (EOFError, OSError) as fault:
                    raise ValueError(f"time-step: {kind} failed; its error is above") from fault
                if number == 0:
                    images = sum(n for _, n in case.kinds) if kind == EDGE else case.each * len(DOMAINS)
                    found[kind] = Timed(images, (), memory, losses)
                if number >= WARM:
                    seconds[kind].append(took)
                    found[kind] = replace(found[kind], seconds=tuple(seconds[kind]), memory=memory)
    return found


@contextmanager
def _worker(kind: str, case: Case, threads: int) -> Iterator[Connection]:
    """Start a process that takes steps; give the pipe to it, and end it after the `with`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, kind, case, threads), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        with suppress(OSError):
            ours.send(None)
        ours.close()
        process.join()


def differences(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each loss of b differs from that of a, as a share of it."""
    return {k: abs(b[k] - v) / max(abs(v), 1e-12) for k, v in a.items()}


def table(found: Mapping[str, Timed]) -> str:
    """Return times, memory and losses as Markdown tables."""
    out = ["| step | seconds, median | least to most | images/s | memory at most, MB |", "|---|---|---|---|---|"]
    for kind, t in found.items():
        low, high = min(t.seconds), max(t.seconds)
        rate = t.images / t.median
        out.append(f"| {kind} | {t.median:.2f} | {low:.2f} to {high:.2f} | {rate:.2f} | {t.memory:.0f} |")
    if PLAIN in found and OURS in found:
        a, b = found[PLAIN], found[OURS]
        out += ["", f"{OURS} is {a.median / b.median:.2f} times as fast as {PLAIN}.", ""]
        out += ["| loss of the first step | plain | ours | difference, % |", "|---|---|---|---|"]
        apart = differences(a.losses, b.losses)
        out += [f"| {k} | {v:.5g} | {b.losses[k]:.5g} | {100 * apart[k]:.2f} |" for k, v in a.losses.items()]
        worst = max(apart, key=lambda k: apart[k])
        out += ["", f"The largest difference is {100 * apart[worst]:.2f} % ({worst})."]
    return "\n".join(out) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--rounds", type=int, default=5, help="steps of each kind that count")
    parser.add_argument("--only", choices=sorted(KINDS), action="append", help="time this kind; may be given again")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> None:
    """Run the command `time-step`."""
    found = measure(OFFICIAL, args.only or list(KINDS), args.threads, args.rounds)
    values = {kind: asdict(t) | {"median": t.median} for kind, t in found.items()}
    sys.stdout.write(json.dumps(values, indent=1) + "\n" if args.json else table(found))
