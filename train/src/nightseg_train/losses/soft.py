"""Probabilities of logits; distillation: cross-entropy to a teacher's probabilities."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def softmax(logits: Tensor) -> Tensor:
    """Return the probabilities of logits, both N x C x H x W, without a copy where the logits are channels last."""
    return logits.permute(0, 2, 3, 1).softmax(3).permute(0, 3, 1, 2)


def distillation(logits: Tensor, target: Tensor, floor: float) -> Tensor:
    """Return the mean cross-entropy to soft targets N x C x h x w, over pixels whose best target is above floor.

    The logits are resized to the target. The mean divides by all pixels, so that unsure pictures pull less, and so that
    the mean over processes with equal shares of a batch is that over the batch.
    """
    up = F.interpolate(logits.float(), target.shape[2:], mode="bilinear", align_corners=False)
    sure = (target.amax(1) > floor).float()
    return ((-(target * F.log_softmax(up, 1)).sum(1)) * sure).mean()
