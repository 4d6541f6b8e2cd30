"""Losses as pure functions: DANNet's light loss, class weights, distillation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nightseg_train.classes import IGNORE

SHARE_FLOOR = 1e-5  # a class that the labels hardly hold must not take the whole spread of the weights; as edge/decide


def total_variation(r: Tensor) -> Tensor:
    """Return DANNet's TV term of N x C x H x W: a unit horizontal ramp in one channel gives 2.

    2 (sum dv^2 / ((H-1) W) + sum dh^2 / (H (W-1))) / N, summed over channels.
    """
    n, _, h, w = r.shape
    dv = (r[:, :, 1:] - r[:, :, :-1]).square().sum() / ((h - 1) * w)
    dh = (r[:, :, :, 1:] - r[:, :, :, :-1]).square().sum() / (h * (w - 1))
    return 2 * (dv + dh) / n


def ssim_loss(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of clamp((1 - SSIM) / 2, 0, 1) with 3x3 means and biased variances; 0 for equal inputs.

    The constants are those for unit range, as in the authors' code, although the inputs are normalised.
    """
    c1, c2 = 1e-4, 9e-4
    a, b = F.pad(a, (1, 1, 1, 1), mode="reflect"), F.pad(b, (1, 1, 1, 1), mode="reflect")
    ma, mb = F.avg_pool2d(a, 3, 1), F.avg_pool2d(b, 3, 1)
    va = F.avg_pool2d(a * a, 3, 1) - ma * ma
    vb = F.avg_pool2d(b * b, 3, 1) - mb * mb
    cov = F.avg_pool2d(a * b, 3, 1) - ma * mb
    ssim = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return ((1 - ssim) / 2).clamp(0, 1).mean()


def exposure_loss(relit: Tensor, target: Tensor, cell: int = 32) -> Tensor:
    """Return the mean squared distance of the channel mean over cells of cell x cell pixels to target."""
    return (F.avg_pool2d(relit.mean(1, keepdim=True), cell) - target).square().mean()


def light_loss(r: Tensor, relit: Tensor, x: Tensor, target: Tensor) -> Tensor:
    """Return 10 TV(r) + SSIM loss(R, x) + exposure(R, E); all in normalised units."""
    return 10 * total_variation(r) + ssim_loss(relit, x) + exposure_loss(relit, target)


def class_weights(shares: Sequence[float], std: float) -> Tensor:
    """Return w_k = (w'_k - mean w') / sd(w') * std + 1 with w'_k = -ln a_k and the sd over n - 1.

    Raises:
        ValueError: fewer than two shares, a share outside 0..1, or a std at which a weight reaches 0.
    """
    if len(shares) < 2 or any(not 0 <= a <= 1 for a in shares):
        raise ValueError("class_weights: at least two shares between 0 and 1 are needed")
    raw = torch.tensor([-math.log(max(a, SHARE_FLOOR)) for a in shares], dtype=torch.float64)
    sd = raw.std(unbiased=True)
    w = (raw - raw.mean()) / sd * std + 1 if float(sd) > 0 else torch.ones_like(raw)
    if float(w.min()) <= 0:
        raise ValueError(f"class_weights: std {std} makes a weight {float(w.min()):.3g}")
    return w


def cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None = None, easy: float = 1.0) -> Tensor:
    """Return the mean cross-entropy of N x C x h x w logits, resized to the labels; 0 where nothing is labelled.

    Pixels whose own class has a probability above easy are left out of the mean, which is over a sixteenth of the
    labelled pixels at least (the hard-pixel rule that DDRNet was trained with).
    """
    up = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
    kept = labels != IGNORE
    if not bool(kept.any()):
        return up.sum() * 0
    if easy >= 1:
        return F.cross_entropy(up, labels.long(), weight, ignore_index=IGNORE)
    each = F.cross_entropy(up, labels.long(), ignore_index=IGNORE, reduction="none")
    hard = kept & (each.detach() > -math.log(easy))
    w = hard.float()
    if weight is not None:
        w = w * weight[labels.long().clamp_max(weight.shape[0] - 1)]
    return (each * w).sum() / w.sum().clamp_min(float(kept.sum()) / 16)


def distillation(logits: Tensor, target: Tensor, floor: float) -> Tensor:
    """Return the mean cross-entropy to soft targets N x C x h x w, over pixels whose best target is above floor.

    The logits are resized to the target. The mean divides by all pixels, so that unsure pictures pull less.
    """
    up = F.interpolate(logits.float(), target.shape[2:], mode="bilinear", align_corners=False)
    sure = (target.amax(1) > floor).float()
    return ((-(target * F.log_softmax(up, 1)).sum(1)) * sure).mean()
