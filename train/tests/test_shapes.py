"""Further shapes of a bundle: the rule for sizes, and networks that it does not hold for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nightseg_train import shapes
from nightseg_train.bundle import Decision, Nets
from nightseg_train.classes import CAMVID
from nightseg_train.nets import registry
from nightseg_train.nets.relight import Relight

SIZE = (64, 96)
DECISION = Decision(CAMVID, (1 / 11,) * 11, SIZE, False, "probability", 0.0)


@pytest.mark.parametrize(
    ("sizes", "to", "want"),
    [
        ([1, 8, 4, 6], (128, 96), [1, 8, 8, 6]),
        ([1, 8, 2, 3], (33, 65), [1, 8, 2, 3]),
        ([1, 8, 2, 3], (65, 97), [1, 8, 3, 4]),
    ],
)
def test_a_size_is_the_same_part_rounded_up(sizes: list[int], to: tuple[int, int], want: list[int]) -> None:
    assert shapes.sized(sizes, SIZE, to) == want


def test_a_size_that_is_no_part_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole part"):
        shapes.sized([1, 8, 5, 6], SIZE, (128, 96))


def test_the_nets_that_ship_take_other_sizes(tmp_path: Path) -> None:
    nets = Nets(registry.segment("lite0", 11).eval(), Relight().eval(), DECISION)
    shapes.export_at(nets, SIZE, tmp_path)
    shapes.check(nets, tmp_path, [(48, 80), (112, 160)])
    with pytest.raises(ValueError, match="networks take no pictures of 90x72"):
        shapes.check(nets, tmp_path, [(72, 90)])


class Pinned(nn.Module):
    """Brings a quarter back to half of the picture, of whatever size that is."""

    def __init__(self, to: tuple[int, int] | None) -> None:
        """Take the size to bring it to; None: a little less than half."""
        super().__init__()
        self.first, self.size = nn.Conv2d(3, 11, 3, 2, 1), to

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the half."""
        half = F.avg_pool2d(self.first(x), 2)
        return F.interpolate(half, self.size or (x.shape[2] // 2 - 4, x.shape[3] // 2 - 4), mode="bilinear")


@pytest.mark.parametrize("to", [(32, 48), None])
def test_a_net_that_the_rule_does_not_hold_for_is_refused(tmp_path: Path, to: tuple[int, int] | None) -> None:
    nets = Nets(Pinned(to).eval(), None, DECISION)
    shapes.export_at(nets, SIZE, tmp_path)
    with pytest.raises(ValueError, match="shapes: "):
        shapes.check(nets, tmp_path, [(128, 96)])
