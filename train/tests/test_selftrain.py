"""The method `selftrain`: the parts of its loss, and what it asks for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from nightseg_train.method import Batch, View
from nightseg_train.methods import selftrain
from nightseg_train.methods.selftrain import SelfTrain, Settings
from nightseg_train.nets.relight import Relight

SHARES = (0.05, 0.1, 0.15, *[0.0875] * 8)
SMALL = Settings(segment="ddrnet-tiny", std=0.05)


def make(s: Settings = SMALL) -> SelfTrain:
    torch.manual_seed(1)
    return SelfTrain(s, SHARES, 0.1)


def batch() -> Batch:
    """Return a batch of made-up pictures: two with labels, one by day and two by night with soft targets."""
    g = torch.Generator().manual_seed(2)
    x = {k: torch.randn(n, 3, 64, 96, generator=g) for k, n in (("source", 2), ("day", 1), ("night", 2))}
    soft = {k: torch.randn(len(x[k]), 11, 16, 24, generator=g).mul(9).softmax(1) for k in ("day", "night")}
    return Batch(0, x, torch.randint(0, 11, (2, 32, 48), generator=g, dtype=torch.uint8), soft)


def test_each_part_of_the_loss_is_there_and_teaches_both_nets() -> None:
    method = make()
    (terms,) = method.losses(batch())
    assert set(terms) == {"source", "day", "night", "light"}
    assert all(float(v.detach()) > 0 for v in terms.values())
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    for net in method.modules().values():
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())


@pytest.mark.parametrize(("off", "kind"), [("distil", "day"), ("self_train", "night")])
def test_a_part_without_weight_needs_no_pictures(off: str, kind: str) -> None:
    method = make(dataclasses.replace(SMALL, **{off: 0.0}))  # type: ignore[arg-type]
    assert kind not in method.needs.unlabelled and len(method.needs.unlabelled) == 1
    b = batch()
    (terms,) = method.losses(Batch(0, {k: v for k, v in b.x.items() if k != kind}, b.labels, b.soft))
    assert kind not in terms


def test_night_pixels_that_the_teacher_is_not_sure_of_do_not_count() -> None:
    b = batch()
    unsure = {k: torch.full_like(v, 1 / 11) for k, v in b.soft.items()}
    (terms,) = make().losses(dataclasses.replace(b, soft=unsure))
    assert float(terms["night"].detach()) == 0
    assert float(terms["day"].detach()) > 0


def test_class_weights_and_relight_net_can_be_left_out() -> None:
    method = make(dataclasses.replace(SMALL, test_std=0.1))
    relight = method.modules()["relight"]
    assert isinstance(relight, Relight)
    torch.nn.init.normal_(relight.gain.weight, 0, 0.3)
    for net in method.modules().values():
        net.eval()
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    whole, plain = method.predict(picture), method.predict(picture, View(reweight=False))
    assert torch.allclose(whole - plain, method.log_weight.expand_as(plain), atol=1e-5)
    assert not torch.equal(plain, method.predict(picture, View(relight=False, reweight=False)))


def test_labels_are_needed() -> None:
    with pytest.raises(ValueError, match="no labels"):
        next(make().losses(dataclasses.replace(batch(), labels=None)))
    assert selftrain.Settings().relight == "edge"
