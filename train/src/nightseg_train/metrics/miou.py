"""The one mIoU rule of the project: one confusion matrix per set, mean over the classes in its labels.

The authors of DANNet average over the classes in labels or predictions instead (numpy's nanmean of their IoUs): a class
that the labels lack then counts with 0 as soon as one labelled pixel is taken for it. That rule is there to score
released checkpoints as their papers do; ask for it by over="labels_or_predictions".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightseg_train.classes import IGNORE

Mask = NDArray[np.uint8]
Matrix = NDArray[np.int64]  # classes x (classes + 1): rows are labels, the last column is "no known class"
Over = Literal["labels", "labels_or_predictions"]  # which classes the mean is over


@dataclass(frozen=True)
class Score:
    """What a set scored: mean IoU in percent, IoU per class (NaN where the mean leaves it out), frames."""

    miou: float
    per_class: tuple[float, ...]
    frames: int


def confusion(label: Mask, predicted: Mask, classes: int) -> Matrix:
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


def score(matrix: Matrix, frames: int, over: Over = "labels") -> Score:
    """Return IoU_k = TP / (TP + FP + FN) per class and its mean, by default over the classes that the labels hold.

    By default a prediction of an absent class, or of no class, costs the true class (as FN) and no other.
    """
    rows, columns = matrix.sum(1), matrix[:, :-1].sum(0)
    hit = np.diag(matrix[:, :-1])
    union = rows + columns - hit
    counted = rows > 0 if over == "labels" else union > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.where(counted, hit / union, np.nan)
    present = iou[counted]
    mean = float(present.mean() * 100) if present.size else float("nan")
    return Score(mean, tuple(float(v * 100) for v in iou), frames)


def mean_iou(matrix: Matrix, over: Over = "labels") -> float:
    """Return the mean IoU of a confusion matrix in percent; NaN where no class counts."""
    return score(matrix, 0, over).miou


def score_pairs(pairs: Iterable[tuple[Mask, Mask]], classes: int, over: Over = "labels") -> Score:
    """Return the score of (label, prediction) pairs, all in one confusion matrix."""
    total = np.zeros((classes, classes + 1), np.int64)
    frames = 0
    for label, predicted in pairs:
        total += confusion(label, predicted, classes)
        frames += 1
    return score(total, frames, over)
