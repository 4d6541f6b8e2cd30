"""Least-squares adversarial losses."""

from __future__ import annotations

import pytest
import torch

from nightseg_train import losses


def test_least_squares_by_hand() -> None:
    out = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    assert float(losses.least_squares(out, losses.SOURCE)) == pytest.approx(6 / 4)
    assert float(losses.least_squares(out, losses.TARGET)) == pytest.approx((1 + 0 + 1 + 4) / 4)


def test_the_two_sides_pull_against_each_other() -> None:
    out = torch.full((4,), 0.5, requires_grad=True)
    (as_net,) = torch.autograd.grad(losses.least_squares(out, losses.SOURCE), out)
    (as_judge,) = torch.autograd.grad(losses.least_squares(out, losses.TARGET), out)
    assert bool((as_net > 0).all()) and bool((as_judge < 0).all())


def test_gradients() -> None:
    g = torch.Generator().manual_seed(0)
    out = torch.randn(2, 1, 3, 3, dtype=torch.float64, generator=g, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: losses.least_squares(v, losses.SOURCE), (out,))
