"""Adaptive average pools and corner-aligned resizes that ONNX can hold.

ONNX has no adaptive pool of a size that is no factor of the input's, and a bilinear Resize with aligned corners differs
between engines. Both are linear and separable, so for a fixed shape an export can hold them as two products with
constant matrices, which is exact everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def adaptive_pool(x: Tensor, to: tuple[int, int]) -> Tensor:
    """Return the adaptive average pool of x, N x C x H x W -> N x C x to; in an export as two fixed matrices."""
    if not torch.onnx.is_in_onnx_export():
        return F.adaptive_avg_pool2d(x, to)
    rows, columns = (pool_matrix(int(n), m) for n, m in zip(x.shape[2:], to, strict=True))
    return torch.matmul(torch.matmul(rows, x), columns.T)


def pool_matrix(n: int, m: int) -> Tensor:
    """Return the m x n matrix that takes n values to the m means of an adaptive average pool."""
    weights = [[0.0] * n for _ in range(m)]  # lists, as a trace would record each assignment to a tensor
    for i, row in enumerate(weights):
        first, end = i * n // m, -(-(i + 1) * n // m)
        row[first:end] = [1 / (end - first)] * (end - first)
    return torch.tensor(weights)


def resize(x: Tensor, to: tuple[int, int]) -> Tensor:
    """Return x resized bilinearly with aligned corners, N x C x H x W -> N x C x to; an export as adaptive_pool's."""
    if not torch.onnx.is_in_onnx_export():
        return F.interpolate(x, to, mode="bilinear", align_corners=True)
    rows, columns = (resize_matrix(int(n), int(m)) for n, m in zip(x.shape[2:], to, strict=True))
    return torch.matmul(torch.matmul(rows, x), columns.T)


def resize_matrix(n: int, m: int) -> Tensor:
    """Return the m x n matrix of a linear resize from n to m values whose first and last values stay in place."""
    weights = [[0.0] * n for _ in range(m)]
    for i, row in enumerate(weights):
        # Whole numbers keep grid points that coincide exact; a single output is the first input, as in PyTorch.
        left, rest = divmod(i * (n - 1), m - 1) if m > 1 else (0, 0)
        row[left] = 1 - rest / max(m - 1, 1)
        if rest:
            row[left + 1] = rest / (m - 1)
    return torch.tensor(weights)


def tap_matrix(n: int, m: int) -> Tensor:
    """Return the m x 3n matrix from n values, once per tap, to a filter of three taps on their resize to m values.

    Zeros are around the resize, as a convolution pads it. Column t n + i is what value i has in tap t's products.
    """
    padded = F.pad(resize_matrix(n, m), (0, 0, 1, 1))
    return torch.cat([padded[t : t + m] for t in range(3)], 1)


class AdaptivePool(nn.Module):
    """An adaptive average pool to size x size means, as a layer."""

    def __init__(self, size: int) -> None:
        """Remember the size of the output."""
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the means, N x C x size x size."""
        return adaptive_pool(x, (self.size, self.size))
