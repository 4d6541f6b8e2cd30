"""Uncertainty-aware IoU (UIoU) of Dark Zurich: Sakaridis et al., GCMA (arXiv 1901.05946) and MGCDA (arXiv 2005.14553).

Labels come with an invalid mask: the places where a person sees nothing without the day picture of the place (they have
a class all the same, from that picture). A prediction may mark pixels as invalid, too: id 255. Of the pixels with a
class, per class c:

    TP  label c, predicted c                        FN  label c, predicted another class
    FP  label another class, predicted c            TI  label c, predicted invalid, and the mask says invalid
                                                    FI  label c, predicted invalid, and the mask says valid

    UIoU = (TP + TI) / (TP + TI + FP + FN + FI)

A class that is right in an invalid place is a TP, a wrong one an FN (and an FP of the other): who names nothing invalid
has UIoU = IoU. Pixels whose label is 255 are left out, whatever the mask says of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nightseg_train.classes import IGNORE
from nightseg_train.metrics.miou import Mask, Score

INVALID = 255  # in a prediction


@dataclass(frozen=True)
class Counts:
    """Pixels per class of one frame or, added up, of many."""

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    ti: NDArray[np.int64]
    fi: NDArray[np.int64]

    def __add__(self, other: Counts) -> Counts:
        """Return the sums."""
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def confident(classes: Mask, confidence: NDArray[np.floating], threshold: float) -> Mask:
    """Return the classes, H x W, with INVALID where the confidence (largest probability, H x W) is below threshold.

    A threshold of 1 / C or less, for C classes, changes nothing.

    Raises:
        ValueError: the sizes differ.
    """
    if classes.shape != confidence.shape:
        raise ValueError(f"uiou: classes are {classes.shape}, confidence {confidence.shape}")
    mask: Mask = np.where(confidence < threshold, INVALID, classes).astype(np.uint8)
    return mask


def uncertain_counts(label: Mask, invalid: NDArray[np.bool_], predicted: Mask, classes: int) -> Counts:
    """Return the counts of a frame: label ids (255: left out), where the mask says invalid, predicted ids or INVALID.

    Raises:
        ValueError: the sizes differ, or an id is neither below classes nor 255.
    """
    if label.shape != predicted.shape or label.shape != invalid.shape:
        raise ValueError(f"uiou: label is {label.shape}, mask {invalid.shape}, prediction {predicted.shape}")
    keep = label != IGNORE
    truth, said, dark = label[keep], predicted[keep], invalid[keep].astype(bool)
    unsure = said == INVALID
    for name, ids in (("label", truth), ("prediction", said[~unsure])):
        if ids.size and int(ids.max()) >= classes:
            raise ValueError(f"uiou: {name} {int(ids.max())} is not below {classes}")
    right = said == truth

    def count(ids: Mask) -> NDArray[np.int64]:
        return np.bincount(ids, minlength=classes).astype(np.int64)

    wrong = ~right & ~unsure
    return Counts(
        count(truth[right]), count(said[wrong]), count(truth[wrong]), count(truth[unsure & dark]),
        count(truth[unsure & ~dark]),
    )  # fmt: skip


def score_uncertain(counts: Counts, frames: int) -> Score:
    """Return UIoU in percent per class and its mean over the classes that the labels hold, as in metrics.score."""
    hit = counts.tp + counts.ti
    labelled = hit + counts.fn + counts.fi
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.where(labelled > 0, hit / (labelled + counts.fp) * 100, np.nan)
    present = iou[labelled > 0]
    return Score(float(present.mean()) if present.size else float("nan"), tuple(float(v) for v in iou), frames)
