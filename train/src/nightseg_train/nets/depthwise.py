"""A depthwise convolution whose gradients are quick in bf16 on processors.

PyTorch's own (oneDNN) take up to 30 times as long backwards as forwards where the kernel is 5x5 (gradient of the
weights) or the stride is 2 (gradient of the input). Both can be written as convolutions that are quick.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nightseg_train.nets.fastconv import mixed


class Depthwise(nn.Conv2d):
    """One k x k filter per channel, padded by k // 2; k is 3 or 5, the stride 1 or 2. Same keys as nn.Conv2d."""

    def __init__(self, channels: int, k: int, stride: int) -> None:
        """Make the layer with random weights and no bias."""
        super().__init__(channels, channels, k, stride, k // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered maps: N x C x H x W to N x C x ceil(H / stride) x ceil(W / stride)."""
        if not mixed(x):
            return super().forward(x)
        out: Tensor = Filter.apply(x.bfloat16(), self.weight.bfloat16(), self.stride[0])
        return out


class Filter(torch.autograd.Function):
    """The convolution x, weight, stride -> y with gradients of our own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:  # noqa: ANN401 - PyTorch's own type
        """Return y."""
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # noqa: ANN401
        """Return the gradients of x and of the weight."""
        x, weight = ctx.saved_tensors
        g = grads[0].contiguous(memory_format=torch.channels_last)
        dx = _input(g, x, weight, ctx.stride) if ctx.needs_input_grad[0] else None
        dw = _weight(g, x, weight, ctx.stride) if ctx.needs_input_grad[1] else None
        return dx, dw, None


def _input(g: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient of x: g, with zeros put between its values at stride 2, by the turned filter."""
    if stride > 1:
        spread = torch.empty(x.shape, dtype=g.dtype, memory_format=torch.channels_last).zero_()
        spread[:, :, ::stride, ::stride] = g
        g = spread
    return F.conv2d(g, weight.flip(2, 3), None, 1, weight.shape[2] // 2, 1, weight.shape[0])


def _weight(g: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient of the weight; that of 5x5 at stride 1 is that of four 3x3 filters on shifted pictures."""
    k = weight.shape[2]
    if k != 5:
        return _native(g, x, weight, stride, k // 2)
    if stride > 1:
        return _native(g.float(), x.float(), weight.float(), stride, k // 2).to(weight.dtype)
    h, w = g.shape[2] + 2, g.shape[3] + 2
    around, small, out = F.pad(x, (2, 2, 2, 2)), weight[:, :, :3, :3].contiguous(), torch.empty_like(weight)
    for top in (0, 2):
        for left in (0, 2):
            part = around[:, :, top : top + h, left : left + w].contiguous(memory_format=torch.channels_last)
            out[:, :, top : top + 3, left : left + 3] = _native(g, part, small, 1, 0)
    return out


def _native(g: Tensor, x: Tensor, weight: Tensor, stride: int, pad: int) -> Tensor:
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        g, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], weight.shape[0], (False, True, False)
    )
    return found[1]
