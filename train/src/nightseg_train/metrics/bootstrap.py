"""Intervals of a figure by a block bootstrap over frames; the same rule as the runtime's `score` package.

That rule: blocks of neighbouring frames that wrap around the end of the set (circular block bootstrap, Politis and
Romano 1992), the last block cut to the number of frames, 2000 resamples, the cube root of the number of frames, rounded
up, as the length of a block, and the middle 95 % between interpolated order statistics. The draws themselves come from
another generator, so that the two agree on an interval to within its noise, not to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightseg_train.metrics.miou import Matrix, mean_iou

Figure = Callable[[Matrix], float]


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of a figure over resamples, in the figure's unit."""

    low: float
    high: float


def auto_block(frames: int) -> int:
    """Return the length of a block where none is given: the cube root of the number of frames, rounded up."""
    return max(math.ceil(math.cbrt(frames) - 1e-9), 1)


@dataclass(frozen=True)
class Bootstrap:
    """How frames are resampled: in blocks, as neighbours on a drive resemble each other.

    Drawn one by one they would make the interval too narrow. The same frames, block, times and seed give the same
    resamples, so that two figures of one set can be compared.
    """

    block: int = 0  # frames; 0: auto_block
    times: int = 2000  # resamples
    seed: int = 1

    def interval(self, frames: Sequence[Matrix], figure: Figure = mean_iou) -> Interval:
        """Return the interval of a figure of the sum of matrices, one per frame in the order of the drive.

        Raises:
            ValueError: there is no frame, or block or times make no sense.
        """
        return middle(self.values(frames, figure))

    def difference(self, a: Sequence[Matrix], base: Sequence[Matrix], figure: Figure = mean_iou) -> Interval:
        """Return the interval of figure(a) - figure(base) over the same resamples of both (a paired comparison).

        Raises:
            ValueError: the two do not have the same number of frames, there is none, or block or times make no sense.
        """
        if len(a) != len(base):
            raise ValueError(f"bootstrap: {len(a)} frames and {len(base)} cannot be paired")
        return middle(self.values(a, figure) - self.values(base, figure))

    def counts(self, frames: int) -> NDArray[np.int64]:
        """Return how often each frame is in each resample, times x frames; each row sums to frames.

        Raises:
            ValueError: there is no frame, or block or times make no sense.
        """
        if frames < 1 or self.times < 1 or self.block < 0:
            raise ValueError(f"bootstrap: {frames} frames, {self.times} times, blocks of {self.block}")
        block = self.block or auto_block(frames)
        starts = np.random.default_rng(self.seed).integers(frames, size=(self.times, -(-frames // block)))
        picks = (starts[:, :, None] + np.arange(block)) % frames
        picks = picks.reshape(self.times, -1)[:, :frames] + frames * np.arange(self.times)[:, None]
        return np.bincount(picks.ravel(), minlength=self.times * frames).reshape(self.times, frames)

    def values(self, frames: Sequence[Matrix], figure: Figure = mean_iou) -> NDArray[np.float64]:
        """Return the figure of each resample; equal settings and numbers of frames give equal resamples.

        Raises:
            ValueError: there is no frame, or block or times make no sense.
        """
        counts = self.counts(len(frames))
        stack = np.stack(frames).astype(np.float64)
        # pixels are far below 2^53, so that the floating-point product, which is the fast one, is exact
        sums = (counts.astype(np.float64) @ stack.reshape(len(frames), -1)).astype(np.int64)
        return np.array([figure(m) for m in sums.reshape(self.times, *stack.shape[1:])], np.float64)


def middle(values: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of values."""
    low, high = np.quantile(values, (0.025, 0.975))
    return Interval(float(low), float(high))
