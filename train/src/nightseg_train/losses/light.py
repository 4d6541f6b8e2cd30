"""DANNet's light loss (arXiv 2104.10834): what keeps the relight net's residual smooth, faithful and bright enough.

All inputs are in normalised units, (v - mean) / std with ImageNet's constants, as the networks see them. D6 to D9
name the points where the authors' code and their paper differ; this is the code's side.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def total_variation(r: Tensor) -> Tensor:
    """Return DANNet's TV term of N x C x H x W: a unit horizontal ramp in one channel gives 2.

    2 (sum dv^2 / ((H-1) W) + sum dh^2 / (H (W-1))) / N, summed over channels, not averaged (D8).
    """
    n, _, h, w = r.shape
    dv = (r[:, :, 1:] - r[:, :, :-1]).square().sum() / ((h - 1) * w)
    dh = (r[:, :, :, 1:] - r[:, :, :, :-1]).square().sum() / (h * (w - 1))
    return 2 * (dv + dh) / n


def ssim_loss(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of clamp((1 - SSIM) / 2, 0, 1) with 3x3 means and biased variances; 0 for equal inputs.

    The constants are those for unit range, as in the authors' code, although the inputs are normalised (D9).
    """
    c1, c2 = 1e-4, 9e-4
    a, b = F.pad(a, (1, 1, 1, 1), mode="reflect"), F.pad(b, (1, 1, 1, 1), mode="reflect")
    ma, mb = _means(a), _means(b)
    va, vb, cov = _means(a * a) - ma * ma, _means(b * b) - mb * mb, _means(a * b) - ma * mb
    ssim = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return ((1 - ssim) / 2).clamp(0, 1).mean()


def _means(x: Tensor) -> Tensor:
    """Return the means of all windows of 3 x 3, in a third of the time of an average pool on processors."""
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def exposure_loss(relit: Tensor, target: Tensor, cell: int = 32) -> Tensor:
    """Return the mean squared distance of the channel mean over cells of cell x cell pixels to target.

    The authors' target is the mean of the whole night batch, and the same for day, night and source (D7).
    """
    return (F.avg_pool2d(relit.mean(1, keepdim=True), cell) - target).square().mean()


def light_loss(r: Tensor, relit: Tensor, x: Tensor, target: Tensor) -> Tensor:
    """Return 10 TV(r) + SSIM loss(R, x) + exposure(R, E); all in normalised units.

    The authors multiply it by 0.01 on day and night and by 1 on source (D6); that is the caller's part.
    """
    return 10 * total_variation(r) + ssim_loss(relit, x) + exposure_loss(relit, target)
