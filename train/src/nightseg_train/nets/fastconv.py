"""Convolutions with fewer products, for bf16 on processors, where products are all that wide convolutions cost.

A filter of k taps gives two neighbouring outputs from 2 k products. With sums of inputs and of taps made beforehand,
fewer do. Rows and columns are treated one after the other, so that the savings multiply:

    kernel 3: 4 products instead of 6, 16 of 36 in two dimensions: Winograd's F(2, 3) (Lavin and Gray, arXiv 1509.09308)
    kernel 4: 3 filters of two taps instead of 4, 9 of 16 in two dimensions (Karatsuba)

The results are those of the convolution but for rounding; in bf16 their error is about twice as large. The gradients of
input and weight take as few products, as the sums are linear maps and the products are convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDE = 128  # input and output channels from which the sums cost less than the products they save
Table = tuple[tuple[float, ...], ...]
Sizes = tuple[int, int]
Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Scheme:
    """How outputs 2m and 2m+1 of a filter come from products m, one per branch, in one dimension.

    Attributes:
        inputs: branch x part: part j is the input at 2m + j.
        filters: branch x tap x tap of the kernel; tap s meets the branch at m + s.
        outputs: output x branch; each output takes branch 1 once, which is where a bias goes.
    """

    inputs: Table
    filters: tuple[Table, ...]
    outputs: Table

    def combined(self, weight: Tensor) -> Tensor:
        """Return the filters of all pairs of branches: K x C x k x k -> branches^2 x K x C x taps x taps."""
        one = torch.tensor(self.filters, dtype=weight.dtype, device=weight.device)
        b, t, k = one.shape
        both = torch.einsum("atk,bsl->abtskl", one, one).reshape(-1, k * k)
        flat = weight.permute(2, 3, 0, 1).reshape(k * k, -1)
        return (both @ flat).view(b * b, t, t, *weight.shape[:2]).permute(0, 3, 4, 1, 2)


SCHEMES = {
    3: Scheme(
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        (((1, 0, 0),), ((0.5, 0.5, 0.5),), ((0.5, -0.5, 0.5),), ((0, 0, 1),)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: Scheme(
        ((1, -1, 0), (0, 1, 0), (0, -1, 1)),
        (((1, 0, 0, 0), (0, 0, 1, 0)), ((1, 1, 0, 0), (0, 0, 1, 1)), ((0, 1, 0, 0), (0, 0, 0, 1))),
        ((1, 1, 0), (0, 1, 1)),
    ),
}


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, pad: int = 0, dilation: int = 1) -> Tensor:
    """Return F.conv2d(x, weight, bias, 1, pad, dilation), N x C x H x W -> N x K x h x w, channels last.

    Args:
        x: N x C x H x W.
        weight: K x C x k x k, float or of the type of x; k is 3, or 4 without dilation.
        bias: K values of the type of x.
        pad: zeros around x, in pixels.
        dilation: distance of the taps in pixels.
    """
    scheme = SCHEMES[weight.shape[2]]
    reach = dilation * (weight.shape[2] - 1)
    size = (x.shape[2] + 2 * pad - reach, x.shape[3] + 2 * pad - reach)
    with torch.autocast(x.device.type, enabled=False):
        filters = scheme.combined(weight.float() if x.dtype == torch.bfloat16 else weight).to(x.dtype).unbind(0)
        branches = Spread.apply(x, scheme, pad, dilation, size)
        centre = len(scheme.inputs) + 1  # branch 1 of both dimensions
        pairs = enumerate(zip(branches, filters, strict=True))
        products = [F.conv2d(v, f, bias if i == centre else None) for i, (v, f) in pairs]
        y: Tensor = Collect.apply(scheme, dilation, size, *products)
    return y


class Conv2d(nn.Conv2d):
    """nn.Conv2d of stride 1 and kernel 3 or 4 that makes fewer products where it may (see mixed); with its keys."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution."""
        if not mixed(x) or self.stride != (1, 1) or min(self.weight.shape[:2]) < WIDE:
            return super().forward(x)
        bias = None if self.bias is None else self.bias.bfloat16()
        return conv2d(x.bfloat16(), self.weight, bias, int(self.padding[0]), self.dilation[0])


class ToFew(nn.Conv2d):
    """nn.Conv2d of stride 1 without padding to so few channels that a vector of the processor would stay half empty.

    Where it may (see mixed) it gives the 2 x 2 outputs of a block as channels of one output, with larger filters.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution, of even height and width."""
        if not mixed(x):
            return super().forward(x)
        moved = [F.pad(self.weight, (j, 1 - j, i, 1 - i)) for i in range(2) for j in range(2)]
        filters = torch.stack(moved, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        return F.pixel_shuffle(F.conv2d(x, filters, bias, 2), 2)


class Mirror(nn.ReflectionPad2d):
    """nn.ReflectionPad2d that autocast does not take to float, as it computes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the padded picture in its own type."""
        if not mixed(x):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)


def mixed(x: Tensor) -> bool:
    """Return whether x is seen in training on a processor under autocast to bf16."""
    on = x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
    return on and torch.get_autocast_dtype("cpu") == torch.bfloat16


# Below, pictures are N x rows x phases x columns x phases x C: with dilation d, d interleaved grids per dimension. A
# tile is what gives two outputs; lists of branches run over rows, then over columns.
ROWS, COLUMNS = 1, 3


def _tiles(size: Sizes, dilation: int) -> Sizes:
    h, w = (-(-n // (2 * dilation)) for n in size)
    return h, w


def _every_other(x: Tensor, dim: int, first: int, count: int) -> Tensor:
    at = [slice(None)] * dim + [slice(first, first + 2 * count - 1, 2)]
    return x[tuple(at)]


def _combine(parts: Sequence[Tensor], factors: Sequence[float], out: Tensor | None = None) -> Tensor:
    """Return the sum of parts times factors, each 0, 1 or -1, as a new tensor or in out."""
    plus = [p for p, f in zip(parts, factors, strict=True) if f > 0]
    minus = [p for p, f in zip(parts, factors, strict=True) if f < 0]
    if len(plus) > 1:
        total = torch.add(plus.pop(), plus.pop(), out=out)
    elif plus and minus:
        total = torch.sub(plus.pop(), minus.pop(), out=out)
    elif minus:
        total = torch.neg(minus.pop(), out=out)
    else:
        total = plus[0].clone(memory_format=torch.contiguous_format) if out is None else out.copy_(plus[0])
        plus.clear()
    for p in plus:
        total += p
    for p in minus:
        total -= p
    return total


def _turned(table: Table) -> list[tuple[float, ...]]:
    return list(zip(*table, strict=True))


def _unspread(branches: Sequence[Tensor], table: Table, dim: int, length: int) -> Tensor:
    """Return the gradient of what the branches of one dimension were made of; it has that length there."""
    count, shape = branches[0].shape[dim], list(branches[0].shape)
    shape[dim] = length
    x = branches[0].new_empty(shape)
    x.narrow(dim, 2 * count, length - 2 * count).zero_()
    for j, factors in enumerate(_turned(table)):
        place = _every_other(x, dim, j, count)
        if j < 2:
            _combine(branches, factors, place)
        else:
            place += _combine(branches, factors)
    return x


class Spread(torch.autograd.Function):
    """The sums of inputs: x, scheme, pad, dilation, size of the output -> a picture per pair of branches."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scheme: Scheme, pad: int, dilation: int, size: Sizes) -> Tensors:  # noqa: ANN401
        """Return the pictures, channels last."""
        (n, c, h, w), d = x.shape, dilation
        parts, more = len(scheme.inputs[0]), len(scheme.filters[0]) - 1
        th, tw = (t + more for t in _tiles(size, d))
        rows, columns = 2 * th + parts - 2, 2 * tw + parts - 2
        spare = (rows * d - h - pad, columns * d - w - pad)
        ctx.scheme, ctx.pad, ctx.shape, ctx.grid = scheme, pad, (h, w), (n, rows, d, columns, d, c)
        around = x.permute(0, 2, 3, 1)
        if pad or any(spare):
            around = F.pad(around, (0, 0, pad, spare[1], pad, spare[0]))
        around, out = around.reshape(ctx.grid), []
        for factors in scheme.inputs:
            row = _combine([_every_other(around, ROWS, j, th) for j in range(parts)], factors)
            for others in scheme.inputs:
                one = _combine([_every_other(row, COLUMNS, j, tw) for j in range(parts)], others)
                out.append(one.view(n, th * d, tw * d, c).permute(0, 3, 1, 2))
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:  # noqa: ANN401
        """Return the gradient of x."""
        n, rows, d, columns, _, c = ctx.grid
        table, b, p, (h, w) = ctx.scheme.inputs, len(ctx.scheme.inputs), ctx.pad, ctx.shape
        each = [g.permute(0, 2, 3, 1) for g in grads]
        each = [g.reshape(n, g.shape[1] // d, d, g.shape[2] // d, d, c) for g in each]
        across = [_unspread(each[i * b : (i + 1) * b], table, COLUMNS, columns) for i in range(b)]
        around = _unspread(across, table, ROWS, rows).view(n, rows * d, columns * d, c)
        return around[:, p : p + h, p : p + w].contiguous().permute(0, 3, 1, 2), None, None, None, None


class Collect(torch.autograd.Function):
    """The sums of products: scheme, dilation, size of the output, a picture per pair of branches -> the output."""

    @staticmethod
    def forward(ctx: Any, scheme: Scheme, dilation: int, size: Sizes, *products: Tensor) -> Tensor:  # noqa: ANN401
        """Return the output, channels last."""
        d, (th, tw), b = dilation, _tiles(size, dilation), len(scheme.inputs)
        n, k = products[0].shape[:2]
        ctx.scheme, ctx.grid, ctx.size = scheme, (n, th, 2, d, tw, 2, d, k), size
        each = [m.permute(0, 2, 3, 1).reshape(n, th, d, tw, d, k) for m in products]
        whole = torch.empty((n, k, 2 * th * d, 2 * tw * d), dtype=each[0].dtype, memory_format=torch.channels_last)
        y = whole.permute(0, 2, 3, 1).view(ctx.grid)
        for p, factors in enumerate(scheme.outputs):
            row = [_combine(each[i::b], factors) for i in range(b)]
            for q, others in enumerate(scheme.outputs):
                _combine(row, others, y[:, :, p, :, :, q])
        if whole.shape[2:] == size:
            return whole
        return whole[:, :, : size[0], : size[1]].clone(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradients of the products."""
        n, th, _, d, tw, _, _, k = ctx.grid
        h, w = ctx.size
        g = F.pad(grads[0].permute(0, 2, 3, 1), (0, 0, 0, 2 * tw * d - w, 0, 2 * th * d - h)).reshape(ctx.grid)
        back: list[Tensor] = []
        for factors in _turned(ctx.scheme.outputs):
            row = _combine([g[:, :, 0], g[:, :, 1]], factors)  # N x th x d x tw x 2 x d x K
            back += [_combine([row[:, :, :, :, 0], row[:, :, :, :, 1]], f) for f in _turned(ctx.scheme.outputs)]
        return None, None, None, *(v.view(n, th * d, tw * d, k).permute(0, 3, 1, 2) for v in back)
