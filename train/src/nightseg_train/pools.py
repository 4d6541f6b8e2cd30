"""Pictures held in memory as bytes, and the batches cut from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nightseg_train import augment, data
from nightseg_train.classes import IGNORE
from nightseg_train.scoring import MEAN, STD

Light = Callable[[np.random.Generator, data.Picture, data.Picture | None], augment.Floats]
SCALE = (1 / np.array(STD)).astype(np.float32)
SEEN = 9  # pixels around, both ways, that tell whether a place can be seen
SHIFT = (-np.array(MEAN) / np.array(STD)).astype(np.float32)


@dataclass(frozen=True)
class Pool:
    """Pictures, bytes 480 x 640 x 3, and for each a label (h x w ids) or soft targets (h x w x classes bytes)."""

    images: list[data.Picture]
    labels: list[data.Picture]
    soft: list[data.Picture]

    @classmethod
    def read(cls, items: Sequence[data.Item], classes: int) -> Pool:
        """Read all items with their labels, where they have any."""
        labels = [data.read_label(i.label, classes) for i in items if i.label is not None]
        return cls([data.read_image(i.image) for i in items], labels, [])

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)


@dataclass(frozen=True)
class Cut:
    """One picture of a batch: values H x W x 3 in 0..1 and what it is to be taught (see Pool)."""

    x: augment.Floats
    label: data.Picture | None
    soft: data.Picture | None


def cut(
    pool: Pool,
    index: int,
    rng: np.random.Generator,
    crop: tuple[int, int],
    zoom: tuple[float, float],
    light: Light,
    towards: Sequence[int] = (),
) -> Cut:
    """Return a random window of a picture of the pool, lit by light; labels at 1/2, soft targets at 1/4 of crop.

    The window is put around a pixel of one of the classes of towards, if the picture has any of them.
    """
    win = augment.draw_window(rng, (crop[0] / data.SIZE[0], crop[1] / data.SIZE[1]), zoom)
    if towards:
        win = _towards(rng, win, pool.labels[index], towards)
    picture = win.cut(pool.images[index], crop, nearest=False)
    label = soft = None
    ids = None
    if pool.labels:
        ids = label = win.cut(pool.labels[index], (crop[0] // 2, crop[1] // 2), nearest=True)
    if pool.soft:
        soft = win.cut(pool.soft[index], (crop[0] // 4, crop[1] // 4), nearest=False)
        ids = np.where(soft.max(2) > 127, soft.argmax(2), IGNORE).astype(np.uint8)
    return Cut(light(rng, picture, ids), label, soft)


def _towards(
    rng: np.random.Generator, win: augment.Window, label: data.Picture, classes: Sequence[int]
) -> augment.Window:
    small = label[::4, ::4]
    present = [c for c in classes if (small == c).any()]
    if not present:
        return win
    ys, xs = np.nonzero(small == present[int(rng.integers(len(present)))])
    at = int(rng.integers(len(ys)))
    return augment.around(rng, win, ys[at] / small.shape[0], xs[at] / small.shape[1])


def paste(rng: np.random.Generator, onto: Cut, source: Cut, classes: Sequence[int]) -> Cut:
    """Return a soft-labelled cut with the things of the given classes of a labelled cut pasted into it.

    Each class is taken or left by a coin. The pasted pixels teach their label, sure.

    Raises:
        ValueError: one has no soft targets, or the other no label.
    """
    if onto.soft is None or source.label is None:
        raise ValueError("paste: soft targets and a label are needed")
    take = [c for c in classes if rng.random() < 0.5]
    half = np.isin(source.label, np.array(take, np.uint8)).astype(np.uint8)
    if not half.any():
        return onto
    h, w = onto.x.shape[:2]
    full = cv2.resize(half, (w, h), interpolation=cv2.INTER_NEAREST) > 0
    quarter = half[::2, ::2] > 0
    soft = onto.soft.copy()
    soft[quarter] = np.eye(soft.shape[2], dtype=np.uint8)[source.label[::2, ::2][quarter]] * 255
    return Cut(np.where(full[:, :, None], source.x, onto.x), None, soft)


def unseen(of: Cut, below: float, classes: Sequence[int]) -> Cut:
    """Return a cut that teaches none of the classes where all around is darker than below (0 to 1)."""
    dark = cv2.blur(of.x.mean(2), (SEEN, SEEN)) < below
    label, soft = of.label, of.soft
    if label is not None:
        hidden = np.isin(label, np.array(classes, np.uint8)) & dark[::2, ::2]
        label = np.where(hidden, np.uint8(IGNORE), label)
    if soft is not None:
        hidden = np.isin(soft.argmax(2), classes) & dark[::4, ::4]
        soft = np.where(hidden[:, :, None], np.uint8(0), soft)
    return Cut(of.x, label, soft)


def pictures(cuts: Sequence[Cut]) -> Tensor:
    """Return the cuts as N x 3 x H x W in normalised units, channels last."""
    h, w = cuts[0].x.shape[:2]
    out = np.empty((len(cuts), h, w * 3), np.float32)
    scale, shift = np.tile(SCALE, w), np.tile(SHIFT, w)  # whole rows: a last axis of 3 is slow in NumPy
    for row, c in zip(out, cuts, strict=True):
        np.multiply(c.x.reshape(h, w * 3), scale, out=row)
        row += shift
    return torch.from_numpy(out.reshape(len(cuts), h, w, 3)).permute(0, 3, 1, 2)


def label_ids(cuts: Sequence[Cut]) -> Tensor:
    """Return the labels of the cuts, N x H/2 x W/2."""
    return torch.from_numpy(np.stack([c.label for c in cuts if c.label is not None]))


def soft_targets(cuts: Sequence[Cut]) -> Tensor:
    """Return the soft targets of the cuts, N x classes x H/4 x W/4, that sum to about 1."""
    stack = np.stack([c.soft for c in cuts if c.soft is not None])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


def nth(n: int, at: int, seed: tuple[int, ...]) -> int:
    """Return the at-th of an endless row of indices below n: random orders of all, one after the other."""
    return _permutation(n, (*seed, at // n))[at % n]


@lru_cache(maxsize=64)
def _permutation(n: int, seed: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(v) for v in np.random.default_rng(seed).permutation(n))


def shares(labels: Sequence[data.Picture], classes: int) -> NDArray[np.float64]:
    """Return the share of each class in the labelled pixels; they sum to 1."""
    counts = np.zeros(256, np.int64)
    for label in labels:
        counts += np.bincount(label.ravel(), minlength=256)
    kept = counts[:classes].astype(np.float64)
    result: NDArray[np.float64] = kept / max(float(kept.sum()), 1.0)
    return result


def clip_frames(path: Path, stride: int) -> list[data.Picture]:
    """Return every stride-th frame of a video file as RGB bytes of the network's size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no frame that can be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"pools: no video {path}")
    video = cv2.VideoCapture(str(path))
    out: list[data.Picture] = []
    at = 0
    while video.grab():
        if at % stride == 0:
            ok, bgr = video.retrieve()
            if ok:
                rgb = cv2.cvtColor(cv2.resize(bgr, (data.SIZE[1], data.SIZE[0])), cv2.COLOR_BGR2RGB)
                out.append(np.ascontiguousarray(rgb, np.uint8))
        at += 1
    video.release()
    if not out:
        raise ValueError(f"pools: no frame of {path} can be read")
    return out
