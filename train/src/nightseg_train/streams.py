"""From data sets on the disk to the batches of a step: which pictures, which crops, all decided by seed and step.

Several processes take neighbouring shares of one global batch, so that their number does not change what a step sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nightseg_train import data, parallel, pools
from nightseg_train.classes import Class
from nightseg_train.data import dark_zurich, paired_crops, pairs, sets
from nightseg_train.method import Batch, Needs
from nightseg_train.scoring import normalise

LABELLED, TARGETS = 1, 2  # streams of random numbers
PAIRED = ("correspondences", "order", "none")
# What renders the synthetic drives of a folder.
RENDER = {".cache/synth/train": "make synth-train", ".cache/synth/wide": "make synth-wide"}


@dataclass(frozen=True)
class Part:
    """A part of a data set by name (see data/sets.py), below a root folder relative to the checkout.

    frames is a file that names the night frames, where the set needs one; of its pictures every stride-th is taken.
    """

    set: str
    root: str
    part: str
    frames: str = ""
    stride: int = 1

    def __post_init__(self) -> None:
        """Refuse a stride that takes nothing.

        Raises:
            ValueError: it is below 1.
        """
        if self.stride < 1:
            raise ValueError(f"streams: {self.set} {self.part}: the stride {self.stride} is below 1")


@dataclass(frozen=True)
class Streams:
    """What a training reads, and how it is cut.

    Attributes:
        source: labelled parts.
        day, night: parts without labels; held_out names parts whose pictures are left out of them.
        pairs: how a night picture finds its day picture: "correspondences" (Dark Zurich's files in the root of night),
            "order" (the same share of the day part with the same number), "none" (at random).
        batch: pictures of each kind in a batch, over all processes.
        source_edge, source_scale: crop of labelled pictures in pixels after scaling by a factor of that range.
        target_edge, target_out, target_scale: the same of targets, whose crop is brought to target_out pixels.
    """

    source: tuple[Part, ...] = ()
    day: tuple[Part, ...] = ()
    night: tuple[Part, ...] = ()
    held_out: tuple[Part, ...] = ()
    pairs: str = "none"
    batch: int = 2
    source_edge: int = 512
    source_scale: tuple[float, float] = (0.5, 1.0)
    target_edge: int = 960
    target_out: int = 512
    target_scale: tuple[float, float] = (0.9, 1.1)


def read(parts: Sequence[Part], base: Path) -> tuple[list[data.Item], tuple[str, ...]]:
    """Return the items of all parts and the names of the classes of their labels.

    Raises:
        FileNotFoundError: a folder or a label is missing; of synthetic drives the message says how to render them.
        ValueError: no such set or part, or parts that are labelled in different classes.
    """
    items: list[data.Item] = []
    names: tuple[str, ...] = ()  # pictures without labels need no classes
    for p in parts:
        if p.set == dark_zurich.SYNTH.name and not (base / p.root).is_dir():
            remedy = RENDER.get(p.root, f"bin/nightseg synth --out {p.root}")
            raise FileNotFoundError(f"streams: no synthetic drives in {base / p.root}; `{remedy}` renders them")
        one = sets.read(p.set, base / p.root, p.part, base / p.frames if p.frames else None)
        if names and one.names and one.names != names:
            raise ValueError(f"streams: {p.set} {p.part} has other classes than the parts before it")
        items, names = items + one.items[:: p.stride], names or one.names
    return items, names


def classes(parts: Sequence[Part], base: Path) -> tuple[Class, ...]:
    """Return the classes of the labels of parts that `read` takes together; colours are those of the first.

    Raises:
        ValueError: no such set or part.
    """
    found = (sets.parts(p.set, base / p.root, (p.part,))[0].classes for p in parts)
    return next((c for c in found if c), ())


class Reader:
    """Gives the batch of a step: batches[step % accumulate ...] are the same whenever they are asked for."""

    def __init__(self, s: Streams, needs: Needs, base: Path, seed: int) -> None:
        """List every picture that the method needs.

        Raises:
            FileNotFoundError, ValueError: see read; or something that the method needs is not given.
        """
        self.s, self.needs, self.seed = s, needs, seed
        self.rank, self.world = parallel.world()
        if s.batch % self.world:
            raise ValueError(f"streams.batch: {s.batch} pictures cannot be shared by {self.world} processes")
        if s.pairs not in PAIRED:
            raise ValueError(f"streams.pairs: {s.pairs!r} is not one of {', '.join(PAIRED)}")
        for name, parts in (("source", s.source), ("day", s.day), ("night", s.night)):
            wanted = needs.labelled if name == "source" else name in needs.unlabelled
            if wanted and not parts:
                raise ValueError(f"streams.{name}: the method needs it, and no part is given")
        self.source, self.names = read(s.source, base)
        held_out = {i.image.name for i in read(s.held_out, base)[0]}

        def pictures_of(parts: Sequence[Part]) -> list[list[Path]]:
            found = [[i.image for i in read([p], base)[0]] for p in parts]
            return [[f for f in one if f.name not in held_out] for one in found]

        night, day = pictures_of(s.night), pictures_of(s.day)
        self.night, self.day = [f for one in night for f in one], [f for one in day for f in one]
        self.pairs = self._paired(night, day, base)

    def _paired(self, night: list[list[Path]], day: list[list[Path]], base: Path) -> list[pairs.Pair]:
        if not self.night or not self.day or self.s.pairs == "none":
            return []
        if self.s.pairs == "correspondences":
            there = {*self.night, *self.day}
            found = pairs.from_correspondences(base / self.s.night[0].root)
            return [p for p in found if p.dark in there and p.day in there]
        if len(night) != len(day):
            raise ValueError(f"streams.pairs: order needs as many parts of night ({len(night)}) as of day ({len(day)})")
        return [p for dark, light in zip(night, day, strict=True) for p in pairs.from_order(dark, light)]

    def __call__(self, step: int) -> Batch:
        """Return this process's share of the batch of a step."""
        share = self.s.batch // self.world
        first = step * self.s.batch + self.rank * share
        x: dict[str, Tensor] = {}
        labels = None
        if self.source:
            cut = [self._labelled(first + i) for i in range(share)]
            x["source"] = pictures([c[0] for c in cut])
            labels = torch.from_numpy(np.stack([c[1] for c in cut]))
        if self.needs.unlabelled:
            cut = [self._target(first + i) for i in range(share)]
            x["night"], x["day"] = pictures([c[0] for c in cut]), pictures([c[1] for c in cut])
        return Batch(step, x, labels)

    def _labelled(self, at: int) -> tuple[data.Picture, data.Picture]:
        item = self.source[pools.nth(len(self.source), at, (self.seed, LABELLED))]
        if item.label is None:
            raise ValueError(f"streams: {item.image} has no label")
        image = data.read_image(item.image, None)
        label = data.read_label(item.label, len(self.names), image.shape[:2])
        rng = np.random.default_rng((self.seed, LABELLED, at))
        return paired_crops.source(image, label, rng, self.s.source_edge, self.s.source_scale)

    def _target(self, at: int) -> tuple[data.Picture, data.Picture]:
        rng = np.random.default_rng((self.seed, TARGETS, at))
        if self.pairs:
            one = self.pairs[pools.nth(len(self.pairs), at, (self.seed, TARGETS))]
        else:
            night = self.night[pools.nth(len(self.night), at, (self.seed, TARGETS))]
            one = pairs.Pair(night, self.day[int(rng.integers(len(self.day)))])
        dark, day = data.read_image(one.dark, None), data.read_image(one.day, None)
        if day.shape != dark.shape:
            day = data.resize(day, (dark.shape[0], dark.shape[1]))
        s = self.s
        return paired_crops.pair(dark, day, rng, s.target_edge, s.target_out, s.target_scale)


def pictures(cuts: Sequence[data.Picture]) -> Tensor:
    """Return RGB bytes, each H x W x 3, as N x 3 x H x W in normalised units, channels last."""
    x = torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2).float() / 255
    return normalise(x).contiguous(memory_format=torch.channels_last)


class Ahead:
    """Prepares the next batches in a thread while the networks work; a context manager."""

    def __init__(self, batches: Callable[[int], Batch], depth: int = 2) -> None:
        """Take what gives the batch of a step."""
        self.batches, self.depth = batches, depth
        self.worker = ThreadPoolExecutor(1)
        self.ready: dict[int, Future[Batch]] = {}

    def __enter__(self) -> Ahead:
        """Keep OpenCV to the thread that reads; the networks have the others."""
        cv2.setNumThreads(1)
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being read and drop it."""
        self.worker.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step and begin with those after it."""
        for at in range(step, step + self.depth + 1):
            if at not in self.ready:
                self.ready[at] = self.worker.submit(self.batches, at)
        return self.ready.pop(step).result()
