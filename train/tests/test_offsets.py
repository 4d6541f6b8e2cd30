"""Offsets of logits: chosen by the score, one class after the other, and folded into the last layer of a net."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nightseg_train import data, loop, offsets, scoring
from nightseg_train.fit import Score
from nightseg_train.nets import registry

PICTURES = [np.full((2, 2, 3), i, np.uint8) for i in range(3)]


class Net:
    """Gives logits of three classes and counts how often it is asked."""

    def __init__(self) -> None:
        """Start at nought."""
        self.asked = 0

    def __call__(self, picture: data.Picture) -> Tensor:
        """Return the first byte, thrice."""
        self.asked += 1
        return torch.full((1, 3, 1, 1), float(picture[0, 0, 0]))


def likes(best: tuple[float, ...]) -> Score:
    """Return a score that is best when the logits of picture 0 are those given, and asks for all pictures."""

    def score(predict: scoring.Predict) -> Mapping[str, float]:
        at = [predict(p) for p in PICTURES]
        assert torch.equal(at[1] - at[0], torch.ones(1, 3, 1, 1))
        return {loop.CHOOSE: -float((at[0].flatten() - torch.tensor(best)).abs().sum())}

    return score


def test_the_best_offset_of_each_class_is_found_and_the_others_stay() -> None:
    net = Net()
    found, rows = offsets.choose(net, likes((9.0, 0.6, -1.0)), ("a", "b", "c"), ("b", "c"), (0.5, 1.0))
    assert found.tolist() == [0.0, 0.5, 0.0]
    assert net.asked == len(PICTURES)
    assert [(r["class"], r["offset"]) for r in rows] == [(n, v) for n in "bc" for v in (0.0, 0.5, 1.0)]
    assert rows[1][loop.CHOOSE] == max(float(str(r[loop.CHOOSE])) for r in rows)


def test_of_equal_offsets_none_is_taken() -> None:
    found, _ = offsets.choose(Net(), lambda _: {loop.CHOOSE: 1.0}, ("a", "b", "c"), ("a",), (0.5, 1.0))
    assert found.tolist() == [0.0, 0.0, 0.0]


def test_an_offset_that_costs_a_part_is_not_taken() -> None:
    def score(predict: scoring.Predict) -> Mapping[str, float]:
        at = float(predict(PICTURES[0])[0, 0])
        return {"day": -max(at - 0.5, 0.0), "night": at, loop.CHOOSE: at}

    found, rows = offsets.choose(Net(), score, ("a", "b", "c"), ("a",), (0.25, 0.5, 1.0))
    assert found.tolist() == [0.5, 0.0, 0.0]
    assert rows[-1][loop.CHOOSE] == 1.0


def test_a_class_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="raised: 'tram' is none of the classes a, b, c"):
        offsets.choose(Net(), likes((0.0, 0.0, 0.0)), ("a", "b", "c"), ("tram",), (0.5,))


@pytest.mark.parametrize("name", ["lite0", "ddrnet-tiny"])
@torch.no_grad()
def test_folded_offsets_are_added_to_every_logit(name: str) -> None:
    torch.manual_seed(1)
    net, x = registry.segment(name, 4).eval(), torch.randn(1, 3, 64, 96)
    before, added = net(x), torch.tensor([0.0, 0.5, -1.0, 2.0])
    offsets.fold(net, added)
    torch.testing.assert_close(net(x), before + added.view(1, -1, 1, 1))


def test_the_logits_of_other_nets_cannot_be_raised() -> None:
    with pytest.raises(ValueError, match="Identity cannot be raised"):
        offsets.fold(nn.Identity(), torch.zeros(3))
