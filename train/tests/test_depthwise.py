"""The depthwise convolution's gradients are those of PyTorch's own."""

from __future__ import annotations

import pytest
import torch

from nightseg_train.nets.depthwise import Depthwise, Filter


@pytest.mark.parametrize(("k", "stride", "size"), [(3, 1, (6, 9)), (3, 2, (8, 7)), (5, 1, (7, 8)), (5, 2, (9, 10))])
def test_gradients_are_those_of_the_plain_layer(k: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(4, 4, k, stride, k // 2, groups=4, bias=False)
    x = torch.randn(2, 4, *size, requires_grad=True)
    weight = plain.weight.detach().clone().requires_grad_()
    ours = Filter.apply(x, weight, stride)
    pull = torch.randn_like(ours)
    found = torch.autograd.grad(ours, (x, weight), pull)
    theirs = plain(x)
    wanted = torch.autograd.grad(theirs, (x, plain.weight), pull)
    assert torch.equal(ours, theirs)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_gradients_in_bf16_are_within_its_rounding() -> None:
    torch.manual_seed(0)
    layer = Depthwise(8, 5, 1)
    x = torch.randn(2, 8, 16, 12)
    (exact,) = torch.autograd.grad(layer(x).square().mean(), [layer.weight])
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    (found,) = torch.autograd.grad(y.float().square().mean(), [layer.weight])
    assert float((found - exact).abs().max() / exact.abs().max()) < 2e-2
