"""Figures that tell an integer network from its float one, for quantisers.py. They are kept frame by frame."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import python_loop as plain
from python_loop import Bundle, Floats, Picture

Counts = NDArray[np.int64]

UNLABELLED = 255
SHARE = 0.001  # classes with fewer of the pixels are not judged by their IoU, as in `nightseg calibrate gate`
BLOCK = 5  # neighbouring frames that are drawn together
DRAWS = 1000


@dataclass(frozen=True)
class Shot:
    """A picture to compare networks on, and its label's file where it has one."""

    group: str
    picture: Path
    label: Path | None = None
    at: int = -1  # number of the frame, where the file is a video


def confusion(rows: Picture, columns: Picture, classes: int) -> Counts:
    """Count pixels by class in rows (what is true, or float) and in columns, without those that rows do not label.

    Raises:
        ValueError: the sizes differ.
    """
    if rows.shape != columns.shape:
        raise ValueError(f"masks of {rows.shape} and {columns.shape}")
    known = rows != UNLABELLED
    pairs = rows[known].astype(np.int64) * classes + columns[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def ious(counts: Counts) -> NDArray[np.float64]:
    """Return the IoU of each class; NaN where neither side holds it."""
    hit = np.diag(counts).astype(np.float64)
    either = counts.sum(0) + counts.sum(1) - hit
    return np.asarray(np.divide(hit, either, out=np.full(len(hit), np.nan), where=either > 0), np.float64)


def miou(counts: Counts) -> float:
    """Return the mean IoU in percent over the classes that the rows hold."""
    held = counts.sum(1) > 0
    return 100 * float(ious(counts)[held].mean()) if held.any() else math.nan


def agreement(counts: Counts) -> float:
    """Return the share of the pixels with the same class on both sides, in percent."""
    return 100 * float(np.trace(counts) / max(counts.sum(), 1))


def worst(counts: Counts, names: Sequence[str]) -> tuple[str, float]:
    """Return the class of the lowest IoU and that in percent, of those that have enough pixels on either side."""
    pixels = np.maximum(counts.sum(0), counts.sum(1)) / max(counts.sum(), 1)
    found = np.where(pixels >= SHARE, ious(counts), np.inf)
    k = int(np.argmin(found))
    return names[k], 100 * float(found[k])


def decibels(signal: float, noise: float) -> float:
    """Return the ratio of two sums of squares in dB."""
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


def interval(a: Counts, base: Counts, seed: int = 1) -> tuple[float, float]:
    """Return the 95 % interval of miou(a) - miou(base), in points, by a circular bootstrap over blocks of frames.

    Args:
        a: frames x classes x classes.
        base: the same frames of what it is compared with.
        seed: of the draws.
    """
    rng, n = np.random.default_rng(seed), len(a)
    flat = np.stack([a, base]).reshape(2, n, -1)
    found = []
    for _ in range(DRAWS):
        starts = rng.integers(0, n, -(-n // BLOCK))
        chosen = ((starts[:, None] + np.arange(BLOCK)) % n).ravel()[:n]
        one, other = (flat[i][chosen].sum(0).reshape(a.shape[1:]) for i in (0, 1))
        found.append(miou(one) - miou(other))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def clip_length(path: Path) -> int:
    """Return how many frames a video says that it has."""
    clip = cv2.VideoCapture(str(path))
    count = int(clip.get(cv2.CAP_PROP_FRAME_COUNT))
    clip.release()
    return count


def play(shots: Sequence[Shot], shape: tuple[int, int]) -> Iterator[tuple[int, Picture]]:
    """Give each picture with its place among the shots, as RGB of the shape (height, width), videos frame by frame.

    Raises:
        ValueError: a file is no picture, or a video ends too early.
    """
    clip, name, at = cv2.VideoCapture(), Path(), 0
    for i, shot in enumerate(shots):
        if shot.at < 0:
            yield i, plain.read(shot.picture, shape)
            continue
        if shot.picture != name:
            clip, name, at = cv2.VideoCapture(str(shot.picture)), shot.picture, 0
        for at in range(at, shot.at + 1):  # noqa: B020 - goes on where the last one ended
            ok, bgr = clip.read()
            if not ok:
                raise ValueError(f"{shot.picture} ended at frame {at}")
        at = shot.at + 1
        yield i, plain.fitted(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), shape)


def digest(shots: Sequence[Shot]) -> str:
    """Return a digest that tells whether two lists of pictures are the same."""
    names = "\n".join(f"{s.group} {s.picture.name} {s.at}" for s in shots)
    return hashlib.sha256(names.encode()).hexdigest()


def label_of(shot: Shot) -> Picture | None:
    """Return the label of a shot, class ids and 255, or None."""
    return None if shot.label is None else np.asarray(Image.open(shot.label), np.uint8)


@dataclass
class Found:
    """What is known of one network, frame by frame; frames that were not seen yet have a negative noise.

    Attributes:
        shots: digest of the pictures.
        signal: sum of the squares of the float logits.
        noise: sum of the squares of what the logits are off.
        float_counts: pixels by class of float (rows) and of this network, frames x classes x classes.
        label_counts: the same of the labels (rows) and of this network; 0 where there are none.
    """

    shots: str
    signal: NDArray[np.float64]
    noise: NDArray[np.float64]
    float_counts: Counts
    label_counts: Counts

    @classmethod
    def empty(cls, shots: str, frames: int, classes: int) -> Found:
        """Return what is known before the first frame."""
        counts = np.zeros((frames, classes, classes), np.int64)
        return cls(shots, np.zeros(frames), np.full(frames, -1.0), counts, counts.copy())

    @classmethod
    def load(cls, path: Path, shots: str, frames: int, classes: int) -> Found:
        """Read what was kept, or begin anew where nothing was, or of other pictures."""
        if path.exists():
            with np.load(path) as kept:
                if str(kept["shots"]) == shots:
                    return cls(shots, kept["signal"], kept["noise"], kept["float_counts"], kept["label_counts"])
        return cls.empty(shots, frames, classes)

    def save(self, path: Path) -> None:
        """Keep it."""
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, shots=self.shots, signal=self.signal, noise=self.noise,
                            float_counts=self.float_counts, label_counts=self.label_counts)  # fmt: skip
        part.replace(path)

    @property
    def left(self) -> NDArray[np.bool_]:
        """Return which frames were not seen yet."""
        return self.noise < 0

    def add(self, i: int, truth: View, own: View) -> None:
        """Count a frame."""
        self.signal[i] = float(np.square(truth.logits, dtype=np.float64).sum())
        self.noise[i] = float(np.square(own.logits.astype(np.float64) - truth.logits).sum())
        classes = self.float_counts.shape[1]
        self.float_counts[i] = confusion(truth.mask, own.mask, classes)
        if own.label is not None:
            self.label_counts[i] = confusion(own.label, own.mask, classes)


@dataclass(frozen=True)
class View:
    """A frame as a network sees it: its logits and the mask at the size of the label, or else of the picture."""

    logits: Floats
    mask: Picture
    label: Picture | None

    @classmethod
    def of(cls, logits: Floats, label: Picture | None, bundle: Bundle, weights: Floats) -> View:
        """Decide."""
        shaped = bundle if label is None else replace(bundle, shape=(label.shape[0], label.shape[1]))
        return cls(logits, plain.decide(logits, shaped, weights), label)
