"""`fit`: a training from one settings file: method, data, loop, validation.

    python -m nightseg_train fit --config train/configs/dannet-official.yaml
    torchrun --nproc-per-node 2 -m nightseg_train fit --config ...

A run's folder holds its logs and snapshots (see loop.py); the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import yaml

from nightseg_train import config, data, loop, parallel, scoring, streams
from nightseg_train.classes import CAMVID, NAMES
from nightseg_train.data import shares
from nightseg_train.data.ids import CITYSCAPES
from nightseg_train.loop import Loop
from nightseg_train.method import Learner, Method
from nightseg_train.methods import dannet
from nightseg_train.nets import lite, released
from nightseg_train.streams import Part, Streams

ROOT = Path(__file__).resolve().parents[3]
IMAGENET = "imagenet"
STATIC_CITYSCAPES = tuple(range(11))  # road to sky: what cannot move (DANNet)


@dataclass(frozen=True)
class Validation:
    """A part to choose snapshots on, and its weight in the mean; every stride-th frame is looked at."""

    set: str
    root: str
    part: str
    weight: float = 1.0
    stride: int = 1


@dataclass(frozen=True)
class Fit:
    """All of a run. Paths are relative to the root of the checkout.

    Attributes:
        name: of the run and its folder below work.
        method: which method; its settings are below its own name.
        start: NETWORK=FILE each, weights in the layout of DANNet's authors or of this package; segment=imagenet starts
            the encoder of lite0 from its published weights.
    """

    name: str
    method: str = "dannet"
    seed: int = 1
    work: str = ".cache/train"
    start: tuple[str, ...] = ()
    loop: Loop = field(default_factory=Loop)
    streams: Streams = field(default_factory=Streams)
    validate: tuple[Validation, ...] = ()
    dannet: dannet.Settings = field(default_factory=dannet.Settings)


def load(path: Path) -> Fit:
    """Read settings from a YAML file; an unknown key is an error.

    Raises:
        ValueError: an unknown key, a value of the wrong type, or no name; the message names file and key.
    """
    tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    try:
        if not isinstance(tree, dict) or not tree.get("name"):
            raise ValueError("name: a run needs a name")
        return config.from_tree(Fit, tree, "")
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from fault


def static_ids(names: Sequence[str]) -> tuple[int, ...]:
    """Return the ids of the classes that cannot move.

    Raises:
        ValueError: the classes are neither Cityscapes' nor CamVid's.
    """
    if tuple(names) == CITYSCAPES:
        return STATIC_CITYSCAPES
    if tuple(names) == NAMES:
        return tuple(i for i, c in enumerate(CAMVID) if c.static)
    raise ValueError(f"fit: which of {', '.join(names)} cannot move is not known")


def make_dannet(s: Fit, names: tuple[str, ...], class_shares: tuple[float, ...]) -> Learner:
    """Return DANNet for the classes of the labelled parts."""
    return dannet.Dannet(s.dannet, class_shares, static_ids(names))


METHODS: dict[str, Callable[[Fit, tuple[str, ...], tuple[float, ...]], Learner]] = {"dannet": make_dannet}


def begin(method: Method, start: Sequence[str], base: Path) -> None:
    """Load weights into networks; each of start is NETWORK=FILE, or NETWORK=imagenet.

    Raises:
        ValueError: an entry has another form, names no network, or its file does not fit.
    """
    modules = method.modules()
    for entry in start:
        name, _, file = entry.partition("=")
        if name not in modules or not file:
            raise ValueError(f"start: {entry!r} is not NETWORK=FILE with one of {', '.join(modules)}")
        net = modules[name]
        if file != IMAGENET:
            released.load(net, base / file)
        elif isinstance(net, lite.LiteSeg):
            lite.start_from(net.encoder, lite.imagenet())
        else:
            raise ValueError(f"start: there are no ImageNet weights for {name}, a {type(net).__name__}")


def validator(s: Fit, base: Path, names: tuple[str, ...]) -> loop.Validate:
    """Return the function that scores a method on the parts to choose on; "choose" is their weighted mean.

    Raises:
        ValueError: there is none, or one has other classes than the labelled parts.
    """
    if not s.validate:
        raise ValueError("validate: a run needs a part to choose snapshots on")
    listed: list[tuple[Validation, list[data.Item]]] = []
    for v in s.validate:
        items, classes = streams.read([Part(v.set, v.root, v.part)], base)
        if classes != names:
            raise ValueError(f"validate: {v.set} {v.part} has other classes than the labelled parts")
        listed.append((v, items[:: v.stride]))

    def validate(method: Method) -> Mapping[str, float]:
        scores = {}
        for v, items in listed:
            found = scoring.score_items(method.predict, items, len(names), align_corners=method.align_corners)
            scores[f"{v.set}/{v.part}"] = found.miou
        weights = [v.weight for v, _ in listed]
        return scores | {loop.CHOOSE: float(np.average(list(scores.values()), weights=weights))}

    return validate


def fit(s: Fit, base: Path = ROOT) -> Path:
    """Train to the end; goes on where it stopped. Return the best snapshot's file.

    Raises:
        ValueError, FileNotFoundError: the settings do not fit each other or the data.
        loop.NotFiniteError: a loss is not finite.
    """
    if s.method not in METHODS:
        raise ValueError(f"method: {s.method!r} is not one of {', '.join(METHODS)}")
    parallel.start(torch.device(s.loop.device))
    try:
        items, names = streams.read(s.streams.source, base)
        found = shares.measure([i.label for i in items if i.label is not None], len(names))
        torch.manual_seed(s.seed)
        method = METHODS[s.method](s, names, tuple(found.shares.tolist()))
        begin(method, s.start, base)
        reader = streams.Reader(s.streams, method.needs, base, s.seed)
        folder = base / s.work / s.name
        with streams.Ahead(reader) as batches:
            return loop.fit(method, batches, validator(s, base, names), s.loop, folder, s.seed, s)
    finally:
        parallel.stop()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--config", type=Path, required=True, help="settings of the run (YAML)")
    parser.add_argument("--steps", type=int, help="train this many steps instead of the settings'")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    s = load(args.config)
    if args.steps is not None:
        s = replace(s, loop=replace(s.loop, steps=args.steps))
    best = fit(s)
    state = torch.load(best, map_location="cpu", weights_only=False)
    sys.stdout.write(json.dumps({"best": str(best), "step": state["step"], "scores": state["scores"]}, indent=1) + "\n")
