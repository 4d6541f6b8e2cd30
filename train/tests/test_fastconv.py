"""Convolutions with fewer products: their values and gradients are those of PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nightseg_train.nets import fastconv

# Pictures, channels in and out, height, width, kernel, padding, dilation.
CASES = [
    (2, 3, 4, 9, 11, 3, 1, 1), (1, 3, 2, 10, 8, 3, 0, 1), (1, 3, 2, 13, 14, 3, 2, 2), (1, 2, 3, 13, 17, 3, 4, 4),
    (1, 2, 2, 9, 10, 3, 0, 2), (2, 3, 4, 12, 9, 4, 1, 1), (1, 2, 2, 10, 7, 4, 0, 1),
]  # fmt: skip
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5}


def made(case: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, channels last, weight and bias."""
    n, c_in, c_out, h, w, k, _, _ = case
    g = torch.Generator().manual_seed(0)
    sizes = ((n, c_in, h, w), (c_out, c_in, k, k), (c_out,))
    x, weight, bias = (torch.randn(s, generator=g, dtype=torch.float64).to(dtype) for s in sizes)
    return (
        x.contiguous(memory_format=torch.channels_last).requires_grad_(),
        weight.requires_grad_(),
        bias.requires_grad_(),
    )


def error(found: Tensor, exact: Tensor) -> float:
    """Return the root mean squared error as a share of the values."""
    return float((found.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@pytest.mark.parametrize("dtype", list(CLOSE), ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_the_plain_convolution(case: tuple[int, ...], dtype: torch.dtype) -> None:
    inputs, (pad, dilation) = made(case, dtype), case[-2:]
    ours, theirs = fastconv.conv2d(*inputs, pad, dilation), F.conv2d(*inputs, 1, pad, dilation)
    pull = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    found, wanted = torch.autograd.grad(ours, inputs, pull), torch.autograd.grad(theirs, inputs, pull)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip((ours, *found), (theirs, *wanted), strict=True):
        assert a.shape == b.shape and error(a.detach(), b.detach().double()) < CLOSE[dtype]


@pytest.mark.parametrize(("k", "pad", "dilation"), [(3, 1, 1), (3, 2, 2), (3, 4, 4), (4, 1, 1)])
def test_bf16_rounds_little_more_than_the_plain_convolution(k: int, pad: int, dilation: int) -> None:
    inputs = made((1, 64, 32, 15, 18, k, pad, dilation), torch.bfloat16)
    exactly = [v.detach().double().requires_grad_() for v in inputs]
    exact = F.conv2d(exactly[0], exactly[1], exactly[2], 1, pad, dilation)
    pull = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    wanted = (exact, *torch.autograd.grad(exact, exactly, pull.double()))
    for y, most in ((fastconv.conv2d(*inputs, pad, dilation), 1e-2), (F.conv2d(*inputs, 1, pad, dilation), 5e-3)):
        found = (y, *torch.autograd.grad(y, inputs, pull))
        assert [error(a.detach(), b.detach()) < most for a, b in zip(found, wanted, strict=True)] == [True] * 4


def test_only_wide_layers_in_training_under_autocast_make_fewer_products() -> None:
    torch.manual_seed(0)
    wide = fastconv.Conv2d(128, 128, 3, 1, 1)
    plain = nn.Conv2d(128, 128, 3, 1, 1)
    assert plain.load_state_dict(wide.state_dict()).missing_keys == []
    x = torch.randn(1, 128, 6, 7)
    assert torch.equal(wide(x), plain(x))
    with torch.autocast("cpu", torch.bfloat16):
        with torch.inference_mode():
            assert torch.equal(wide(x), plain(x))
        assert not torch.equal(wide(x), plain(x))
        assert wide(x).dtype == torch.bfloat16 and error(wide(x).detach(), plain(x).detach().double()) < 1e-2
        for layer in (fastconv.Conv2d(64, 128, 3), fastconv.Conv2d(128, 128, 3, 2, 1)):
            assert torch.equal(layer(x[:, : layer.in_channels]), nn.Conv2d.forward(layer, x[:, : layer.in_channels]))


@pytest.mark.parametrize("bias", [False, True])
def test_few_channels_come_as_blocks_of_outputs(bias: bool) -> None:
    torch.manual_seed(0)
    layer = fastconv.ToFew(8, 3, 7, bias=bias)
    x = torch.randn(2, 8, 14, 18)
    assert torch.equal(layer(x), nn.Conv2d.forward(layer, x))
    wanted = torch.autograd.grad(layer(x).square().mean(), list(layer.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.shape == (2, 3, 8, 12) and error(y.detach(), layer(x).detach().double()) < 1e-2
    found = torch.autograd.grad(y.float().square().mean(), list(layer.parameters()))
    assert max(error(a, b.double()) for a, b in zip(found, wanted, strict=True)) < 2e-2


def test_a_mirrored_border_keeps_the_type() -> None:
    x = torch.randn(1, 2, 5, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = fastconv.Mirror(2)(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, F.pad(x, (2, 2, 2, 2), mode="reflect"))
