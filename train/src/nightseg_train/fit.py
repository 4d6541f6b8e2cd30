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
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from nightseg_train import (
    checkpoint,
    classes,
    config,
    data,
    loop,
    origins,
    parallel,
    scoring,
    shipped,
    streams,
    windows,
)
from nightseg_train.classes import NAMES, Class
from nightseg_train.data import shares
from nightseg_train.loop import Loop
from nightseg_train.method import Batch, Learner, Method
from nightseg_train.methods import dannet, selftrain, source
from nightseg_train.nets import lite, registry, released
from nightseg_train.nets.espnetv2 import ESPNetv2, camvid_head
from nightseg_train.origins import Origin
from nightseg_train.streams import Part, Streams
from nightseg_train.windows import Windows

IMAGENET = "imagenet"
SETTLE_ON = 8  # batches that a network of a bundle takes the statistics of its norms from
Score = Callable[[scoring.Predict], Mapping[str, float]]
Own = source.Settings | selftrain.Settings | dannet.Settings


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
        start: NETWORK=FILE each: a snapshot of another run, weights in the layout of DANNet's authors or of this
            package, ESPNetv2's from Cityscapes (.safetensors), or for segment the folder of a bundle; segment=imagenet
            starts the encoder of lite0 from its published weights. FILE + FILE is the mean of both networks.
        size: height and width that pictures are stretched to when they are scored.
        streams, windows: what is read, one of the two: DANNet's paired crops from files, or windows of pictures in
            memory.
    """

    name: str
    method: str = "dannet"
    seed: int = 1
    work: str = ".cache/train"
    start: tuple[str, ...] = ()
    size: tuple[int, int] = data.SIZE
    loop: Loop = field(default_factory=Loop)
    streams: Streams = field(default_factory=Streams)
    windows: Windows = field(default_factory=Windows)
    validate: tuple[Validation, ...] = ()
    dannet: dannet.Settings = field(default_factory=dannet.Settings)
    source: source.Settings = field(default_factory=source.Settings)
    selftrain: selftrain.Settings = field(default_factory=selftrain.Settings)

    def own(self) -> Own:
        """Return the settings of its method.

        Raises:
            ValueError: there is no such method.
        """
        named: dict[str, Own] = {"dannet": self.dannet, "source": self.source, "selftrain": self.selftrain}
        if self.method not in named:
            raise ValueError(f"method: {self.method!r} is not one of {', '.join(named)}")
        return named[self.method]


def read_settings(folder: Path) -> Fit:
    """Return the settings that a run was started with.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: its settings are those of another version.
    """
    path = folder / "settings.json"
    if not path.is_file():
        raise FileNotFoundError(f"run: no run in {folder}; `fit` leaves settings.json there")
    try:
        return config.from_tree(Fit, json.loads(path.read_text(encoding="utf-8")), "")
    except ValueError as fault:
        raise ValueError(f"run: {path} was written by another version or is broken: {fault}") from fault


def origin(s: Fit, base: Path) -> Origin:
    """Return what a run rests on; what is not there any more, or cannot be read, is named by its file.

    Raises:
        ValueError: there is no such method.
    """
    parts = (*s.streams.source, *s.windows.labelled, *s.windows.rendered)
    found = Origin(tuple(f"{p.set} {p.part}" for p in parts))
    for file in chain.from_iterable(_started(entry)[1] for entry in s.start):
        if file == IMAGENET:
            found |= Origin(weights=(origins.IMAGENET,))
        elif file.endswith(".safetensors"):
            found |= Origin(weights=(origins.CITYSCAPES,))
        elif shipped.is_bundle(base / file):
            found |= shipped.origin(base / file)
        else:
            found |= _before(base / file, base)
    own = s.own()
    if isinstance(own, selftrain.Settings) and own.taught() and s.windows.targets:
        found |= taught_by(base / s.windows.targets)
    return found


def _before(file: Path, base: Path) -> Origin:
    try:
        return origin(read_settings(file.parent), base)
    except (OSError, ValueError):  # no run: weights of others
        return Origin(weights=(f"{file.parent.name}/{file.name}",))


@cache
def taught_by(targets: Path) -> Origin:
    """Return what the networks that made a file of soft targets rest on; older files do not tell."""
    kept = Origin.of((checkpoint.load(targets) or {}).get("origin"))
    return kept or Origin(weights=(f"networks that {targets.name} does not name",))


def static_ids(classes: Sequence[Class]) -> tuple[int, ...]:
    """Return the ids of the classes that cannot move.

    Raises:
        ValueError: all of them can.
    """
    found = tuple(i for i, c in enumerate(classes) if c.static)
    if not found:
        raise ValueError("dannet: no class is static, and it teaches static ones: see `static` in classes.json")
    return found


@dataclass(frozen=True)
class Labelled:
    """What a method may know of the labelled pictures before it starts.

    Attributes:
        classes: by id.
        shares: a_k of the labels.
        exposure: mean of the pictures in normalised units.
    """

    classes: tuple[Class, ...]
    shares: tuple[float, ...]
    exposure: float

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return classes.names(self.classes)


def labelled(items: Sequence[data.Item], lit: Sequence[data.Item], classes: tuple[Class, ...]) -> Labelled:
    """Measure labelled pictures: the labels of items, and the light of every eighth picture of lit."""
    found = shares.measure([i.label for i in items if i.label is not None], len(classes))
    level = [scoring.to_tensor(data.read_image(i.image)[::16, ::16].copy()).mean().item() for i in lit[::8]]
    return Labelled(classes, tuple(found.shares.tolist()), float(np.mean(level)))


METHODS: dict[str, Callable[[Fit, Labelled], Learner]] = {
    "dannet": lambda s, seen: dannet.Dannet(s.dannet, seen.shares, static_ids(seen.classes)),
    "source": lambda s, seen: source.Source(s.source, seen.shares),
    "selftrain": lambda s, seen: selftrain.SelfTrain(s.selftrain, seen.shares, seen.exposure),
}


def begin(method: Method, start: Sequence[str], base: Path) -> list[nn.Module]:
    """Load weights into networks; each of start is NETWORK=FILE, NETWORK=FILE + FILE (their mean) or NETWORK=imagenet.

    Returns:
        The networks whose norms have no statistics yet: those of bundles, and means.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an entry has another form, names no network, or its file does not fit.
    """
    modules, unsettled = method.modules(), []
    for entry in start:
        name, files = _started(entry)
        if name not in modules or not all(files):
            raise ValueError(f"start: {entry!r} is not NETWORK=FILE with one of {', '.join(modules)}")
        net, folded = modules[name], []
        for file in files:
            settled = _load(net, name, file, base)
            if len(files) > 1:
                folded.append(shipped.fold(net))
        if folded:
            shipped.fill(net, shipped.mean(folded))
        if folded or not settled:
            unsettled.append(net)
    return unsettled


def _started(entry: str) -> tuple[str, list[str]]:
    """Return the network and the files of an entry of start."""
    name, _, files = entry.partition("=")
    return name, [one.strip() for one in files.split(" + ")]


def _load(net: nn.Module, name: str, file: str, base: Path) -> bool:
    """Load weights into the network of that name; return whether its norms have statistics."""
    if file == IMAGENET:
        if not isinstance(net, lite.LiteSeg):
            raise ValueError(f"start: there are no ImageNet weights for {name}, a {type(net).__name__}")
        lite.start_from(net.encoder, lite.imagenet())
    elif file.endswith(".safetensors"):
        if not isinstance(net, ESPNetv2):
            raise ValueError(f"start: {file} is for espnetv2, and {name} is a {type(net).__name__}")
        published = ESPNetv2()
        released.load(published, load_file(str(base / file)))
        net.load_state_dict(camvid_head(published).state_dict())
    elif shipped.is_bundle(base / file):
        if name != "segment":
            raise ValueError(f"start: {file} is a bundle, of which training begins with the segmentation network alone")
        shipped.load(net, base / file, other_classes=True)
        return False
    else:
        state = checkpoint.load(base / file)
        snapshot = state.get("modules") if state else None
        released.load(net, snapshot[name] if isinstance(snapshot, dict) else base / file)
    return True


def scorer(
    parts: Sequence[Validation], base: Path, names: tuple[str, ...], size: tuple[int, int], align_corners: bool
) -> Score:
    """Return the function that scores predictions on the parts to choose on; "choose" is their weighted mean.

    Args:
        parts: where to score.
        base: root of the checkout.
        names: the classes of the predictions.
        size: height and width that pictures are stretched to.
        align_corners: how logits are brought to the size of a label.

    Raises:
        ValueError: there is no part, no such part, or one has other classes than names.
    """
    if not parts:
        raise ValueError("validate: a part to choose on is needed")
    listed: list[tuple[Validation, list[data.Item]]] = []
    for v in parts:
        items, found = streams.read([Part(v.set, v.root, v.part)], base)
        if found != names:
            raise ValueError(f"validate: {v.set} {v.part} has other classes than the training")
        listed.append((v, items[:: v.stride]))

    def score(predict: scoring.Predict) -> Mapping[str, float]:
        scores = {}
        for v, items in listed:
            found = scoring.score_items(predict, items, len(names), align_corners, size)
            scores[f"{v.set}/{v.part}"] = found.miou
        weights = [v.weight for v, _ in listed]
        return scores | {loop.CHOOSE: float(np.average(list(scores.values()), weights=weights))}

    return score


def make(s: Fit, base: Path) -> tuple[Learner, Labelled]:
    """Return the method of a run with its random weights, and what the labelled parts hold.

    Raises:
        ValueError, FileNotFoundError: the settings do not fit each other or the data.
    """
    s.own()
    if bool(s.windows.labelled) == bool(s.streams.source):
        raise ValueError("streams.source, windows.labelled: labelled pictures are needed in one of the two")
    first = s.streams.source or s.windows.labelled  # rendered pictures may be of the night: their light does not count
    parts = (*first, *s.windows.rendered)
    seen = labelled(streams.read(parts, base)[0], streams.read(first, base)[0], streams.classes(parts, base))
    if s.own().segment == registry.TEACHER and seen.names != NAMES:
        raise ValueError(
            f"{s.method}.segment: {registry.TEACHER} gives CamVid's classes, and the labels have "
            f"{', '.join(seen.names)}; take {registry.LITE}"
        )
    torch.manual_seed(s.seed)
    return METHODS[s.method](s, seen), seen


def fit(s: Fit, base: Path = config.ROOT) -> Path:
    """Train to the end; goes on where it stopped. Return the best snapshot's file.

    Raises:
        ValueError, FileNotFoundError: the settings do not fit each other or the data.
        loop.NotFiniteError: a loss is not finite.
    """
    parallel.start(torch.device(s.loop.device))
    try:
        method, seen = make(s, base)
        score = scorer(s.validate, base, seen.names, s.size, method.align_corners)
        unsettled = begin(method, s.start, base)
        reader: Callable[[int], Batch]
        if s.windows.labelled:
            reader = windows.Reader(s.windows, method.needs, base, s.seed)
        else:
            reader = streams.Reader(s.streams, method.needs, base, s.seed)
        for net in unsettled:
            shipped.settle(net, (torch.cat(list(reader(step).x.values())) for step in range(SETTLE_ON)))
        folder = base / s.work / s.name
        about = {"labelled": asdict(seen), "origin": asdict(origin(s, base))}
        with streams.Ahead(reader) as batches:
            return loop.fit(method, batches, lambda m: score(m.predict), s.loop, folder, s.seed, s, about)
    finally:
        parallel.stop()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--config", type=Path, required=True, help="settings of the run (YAML)")
    parser.add_argument("--steps", type=int, help="train this many steps instead of the settings'")
    parser.add_argument("--seed", type=int, help="train with this seed, in the folder NAME-sSEED")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    s = config.read(Fit, args.config)
    if args.steps is not None:
        s = replace(s, loop=replace(s.loop, steps=args.steps))
    if args.seed is not None:
        s = replace(s, seed=args.seed, name=f"{s.name}-s{args.seed}")
    best = fit(s)
    state = torch.load(best, map_location="cpu", weights_only=False)
    sys.stdout.write(json.dumps({"best": str(best), "step": state["step"], "scores": state["scores"]}, indent=1) + "\n")
