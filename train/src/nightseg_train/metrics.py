"""The one mIoU rule of the project: one confusion matrix per set, mean over the classes in its labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightseg_train.classes import IGNORE

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Score:
    """What a set scored: mean IoU in percent, IoU per class (NaN where the labels lack it), frames."""

    miou: float
    per_class: tuple[float, ...]
    frames: int


def confusion(label: Mask, predicted: Mask, classes: int) -> NDArray[np.int64]:
    """Return a classes x (classes + 1) matrix: rows are labels; the last column is "no known class".

    Pixels whose label is 255 are left out.

    Raises:
        ValueError: the sizes differ, or a label is neither below classes nor 255.
    """
    if label.shape != predicted.shape:
        raise ValueError(f"metrics: label is {label.shape}, prediction {predicted.shape}")
    keep = label != IGNORE
    row = label[keep].astype(np.int64)
    if row.size and int(row.max()) >= classes:
        raise ValueError(f"metrics: label {int(row.max())} is not below {classes}")
    col = np.minimum(predicted[keep].astype(np.int64), classes)
    flat = np.bincount(row * (classes + 1) + col, minlength=classes * (classes + 1))
    return flat.reshape(classes, classes + 1)


def score(matrix: NDArray[np.int64], frames: int) -> Score:
    """Return IoU_k = TP / (TP + FP + FN) per class and its mean over the classes that the labels hold.

    A prediction of an absent class, or of no class, costs the true class (as FN) and no other.
    """
    rows = matrix.sum(1)
    hit = np.diag(matrix[:, :-1])
    union = rows + matrix[:, :-1].sum(0) - hit
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.where(rows > 0, hit / union, np.nan)
    present = iou[rows > 0]
    mean = float(present.mean() * 100) if present.size else float("nan")
    return Score(mean, tuple(float(v * 100) for v in iou), frames)


def score_pairs(pairs: Iterable[tuple[Mask, Mask]], classes: int) -> Score:
    """Return the score of (label, prediction) pairs, all in one confusion matrix."""
    total = np.zeros((classes, classes + 1), np.int64)
    frames = 0
    for label, predicted in pairs:
        total += confusion(label, predicted, classes)
        frames += 1
    return score(total, frames)
