"""Scores by brightness: the frames of a set, sorted by their mean luma, in quarters from the darkest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightseg_train.metrics.miou import Matrix, Over, Score, score

REC601 = (0.299, 0.587, 0.114)
FEW = 16  # with fewer frames a quarter says nothing; the runtime's eval has the same limit


@dataclass(frozen=True)
class Quartile:
    """A quarter of the frames: the mean of their lumas (0..255), and their score."""

    luma: float
    score: Score


def mean_luma(picture: NDArray[np.uint8]) -> float:
    """Return the mean Rec.601 luma, 0..255, of RGB bytes H x W x 3.

    The runtime sorts by Rec.709 luma of a sixteenth of the pixels: frames of nearly equal luma may change places.

    Raises:
        ValueError: the picture is not H x W x 3.
    """
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"luminance: a picture of shape {picture.shape} is not H x W x 3")
    return float(picture.mean((0, 1), dtype=np.float64) @ np.array(REC601))


def quartiles(matrices: Sequence[Matrix], lumas: Sequence[float], over: Over = "labels") -> tuple[Quartile, ...]:
    """Return the scores of the quarters of the frames, the darkest first; none for fewer than 16 frames.

    Quarter q holds the frames from place q n / 4 up to (q + 1) n / 4 of the sorted ones, both rounded down; frames of
    equal luma stay in order. Each quarter has its own confusion matrix, so that the classes present may differ.

    Raises:
        ValueError: there is not one luma for each matrix.
    """
    n = len(matrices)
    if len(lumas) != n:
        raise ValueError(f"luminance: {n} frames, {len(lumas)} lumas")
    if n < FEW:
        return ()
    light = np.asarray(lumas, np.float64)
    order = np.argsort(light, kind="stable")
    out = []
    for q in range(4):
        part = order[q * n // 4 : (q + 1) * n // 4]
        total = np.stack([matrices[i] for i in part]).sum(0)
        out.append(Quartile(float(light[part].mean()), score(total, len(part), over)))
    return tuple(out)
