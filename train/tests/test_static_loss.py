"""DANNet's static loss and its two kinds of pseudo label."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nightseg_train import losses
from nightseg_train.classes import CAMVID, IGNORE

STATIC = tuple(range(11))  # of Cityscapes' 19
CAMVID_STATIC = tuple(k for k, c in enumerate(CAMVID) if c.static)
GAPS = (1, 3, 4)  # of five classes


def logits(*values: float) -> Tensor:
    """Return 1 x C x 1 x 1."""
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def focal(p: float, gamma: float = 1.0) -> float:
    return -math.pow(1 - p, gamma) * math.log(p)


def test_paper_label_weighs_probabilities_of_the_day() -> None:
    even = torch.ones(5, dtype=torch.float64)
    assert losses.pseudo_label_paper(logits(0, 2, 0, 1, 0), even, GAPS).item() == 1
    assert losses.pseudo_label_paper(logits(3, 2, 0, 1, 0), even, GAPS).item() == IGNORE  # class 0 moves
    heavy = torch.tensor([1, 1, 1, 3, 1], dtype=torch.float64)
    assert losses.pseudo_label_paper(logits(0, 2, 0, 1, 0), heavy, GAPS).item() == 3  # 3 e > e^2
    # all logits below 0: a weight above 1 helps a probability, where it would hurt a logit
    assert losses.pseudo_label_paper(logits(-9, -2.0, -9, -2.1, -9), heavy, GAPS).item() == 3


def test_official_label_mixes_static_logits_by_the_day() -> None:
    even = torch.ones(5, dtype=torch.float64)
    day, night = logits(9, 1.0, 0, 0.3, 0), logits(0, 0.0, 0, 0.9, 0)
    # class 1: 0.8 * 1 + 0.2 * 0 = 0.80; class 3: 0.2 * 0.3 + 0.8 * 0.9 = 0.78; class 0 by day does not matter
    assert losses.pseudo_label_official(day, night, even, GAPS).item() == 1
    day, night = logits(0, 0.4, 0, 0.0, 0), logits(0, 0.0, 0, 0.2, 0)
    # the day logit 0.4 is not above the threshold: 0.08 of class 1 against 0.16 of class 3
    assert losses.pseudo_label_official(day.float(), night.float(), even.float(), GAPS).item() == 3
    night = logits(2, 0.0, 0, 0.2, 0)
    assert losses.pseudo_label_official(day, night, even, GAPS).item() == IGNORE


def test_official_label_weighs_logits() -> None:
    day = night = logits(-9, -1.0, -9, -1.1, -9)
    weight = torch.tensor([1, 2, 1, 1, 1], dtype=torch.float64)
    assert losses.pseudo_label_official(day, night, torch.ones_like(weight), GAPS).item() == 1
    assert losses.pseudo_label_official(day, night, weight, GAPS).item() == 3  # -2 is below -1.1


def test_pseudo_labels_of_camvid() -> None:
    day, night, even = noise(2, 11, 7, 9), noise(2, 11, 7, 9, seed=1), torch.ones(11, dtype=torch.float64)
    for got, best in (
        (losses.pseudo_label_paper(day, even, CAMVID_STATIC), day.argmax(1)),
        (losses.pseudo_label_official(day, day, even, CAMVID_STATIC), day.argmax(1)),
    ):
        assert got.dtype == torch.uint8
        moves = best >= 8
        assert bool(moves.any()) and bool((got[moves] == IGNORE).all())
        assert torch.equal(got[~moves].long(), best[~moves])
    label = losses.pseudo_label_official(day.requires_grad_(), night, even, CAMVID_STATIC)
    assert not label.requires_grad


def test_order_and_gaps_of_static_ids_do_not_matter() -> None:
    x, even = noise(2, 5, 6, 8), torch.tensor([9, 1.02, 9, 0.97, 1.01], dtype=torch.float64)
    label = losses.pseudo_label_paper(x, torch.ones_like(even), GAPS)
    got = [losses.static_loss(x, label, even, ids) for ids in (GAPS, (4, 1, 3))]
    table = torch.full((256,), IGNORE)
    table[torch.tensor(GAPS)] = torch.arange(3)
    ids = list(GAPS)
    packed = losses.static_loss(x[:, ids], table[label.long()], even[ids], (0, 1, 2))
    assert float(got[0]) == pytest.approx(float(packed), rel=1e-12)
    assert float(got[1]) == pytest.approx(float(packed), rel=1e-12)


def test_window_of_two_classes_takes_the_better_one() -> None:
    x = noise(1, 19, 5, 5)
    label = torch.full((1, 5, 5), IGNORE)
    label[0, 2, 2], label[0, 1, 1] = 4, 7  # the windows of both hold both
    w = torch.linspace(0.9, 1.1, 19, dtype=torch.float64)
    prob = x[:, :11].softmax(1)[0]
    best = [max(float(w[4] * prob[4, i, i]), float(w[7] * prob[7, i, i])) for i in (1, 2)]
    got = losses.static_loss(x, label, w, STATIC)
    assert float(got) == pytest.approx((focal(best[0]) + focal(best[1])) / 2)
    own = [float(w[7] * prob[7, 1, 1]), float(w[4] * prob[4, 2, 2])]
    got = losses.static_loss(x, label, w, STATIC, neighbourhood=False)
    assert float(got) == pytest.approx((focal(own[0]) + focal(own[1])) / 2)


def test_one_class_all_over_makes_the_window_idle() -> None:
    x, w = noise(2, 19, 6, 7), torch.ones(19, dtype=torch.float64)
    label = torch.full((2, 6, 7), 3, dtype=torch.uint8)
    assert torch.equal(*(losses.static_loss(x, label, w, STATIC, neighbourhood=v) for v in (True, False)))


def test_void_neighbours_have_no_say() -> None:
    x, w = noise(1, 19, 3, 3), torch.ones(19, dtype=torch.float64)
    label = torch.full((1, 3, 3), IGNORE, dtype=torch.uint8)
    label[0, 0, 0] = 10
    p = float(x[:, :11].softmax(1)[0, 10, 0, 0])
    for near in (True, False):
        assert float(losses.static_loss(x, label, w, STATIC, neighbourhood=near)) == pytest.approx(focal(p))


def test_gamma_of_nought_is_the_plain_logarithm() -> None:
    x, w = noise(1, 19, 4, 4), torch.ones(19, dtype=torch.float64)
    label = losses.pseudo_label_paper(x[:, :11], w[:11], STATIC)
    p = x[:, :11].softmax(1).gather(1, label[:, None].long())
    got = losses.static_loss(x, label, w, STATIC, gamma=0, neighbourhood=False)
    assert float(got) == pytest.approx(float(-p.log().mean()))


def test_dynamic_logits_have_no_part() -> None:
    x, w = noise(1, 19, 4, 4), torch.ones(19, dtype=torch.float64)
    label = torch.zeros(1, 4, 4, dtype=torch.uint8)
    x.requires_grad_()
    losses.static_loss(x, label, w, STATIC).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert bool((x.grad[:, 11:] == 0).all()) and bool((x.grad[:, :11] != 0).all())


def test_a_weighted_probability_above_one_has_no_gradient() -> None:
    x = torch.zeros(1, 19, 1, 2, dtype=torch.float64)
    x[0, 6, 0, 0] = 12.0  # p almost 1, times 1.05; the other pixel is undecided
    x.requires_grad_()
    w = torch.ones(19, dtype=torch.float64)
    w[6] = 1.05
    loss = losses.static_loss(x, torch.full((1, 1, 2), 6), w, STATIC)
    loss.backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert bool((x.grad[..., 0] == 0).all()) and bool((x.grad[:, :11, 0, 1] != 0).all())
    assert float(loss.detach()) == pytest.approx((focal(1.05 / 11) + focal(1 - 1e-7)) / 2)


def test_no_labelled_pixel_gives_nought_with_a_graph() -> None:
    x = noise(1, 19, 4, 4).requires_grad_()
    loss = losses.static_loss(x, torch.full((1, 4, 4), IGNORE), torch.ones(19, dtype=torch.float64), STATIC)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert x.grad is not None and bool((x.grad == 0).all())


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_gradients(near: bool, gamma: float) -> None:
    x = noise(1, 5, 4, 4).requires_grad_()
    label = losses.pseudo_label_paper(noise(1, 5, 4, 4, seed=2), torch.ones(5, dtype=torch.float64), GAPS)
    w = torch.tensor([1, 0.9, 1, 0.95, 1.1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: losses.static_loss(v, label, w, GAPS, gamma, near), (x,))


def test_half_precision_is_computed_in_single() -> None:
    x = noise(1, 19, 4, 4).to(torch.bfloat16)
    label = torch.zeros(1, 4, 4, dtype=torch.uint8)
    got = losses.static_loss(x, label, torch.ones(19), STATIC)
    assert got.dtype == torch.float32
    assert torch.equal(got, losses.static_loss(x.float(), label, torch.ones(19), STATIC))


def test_refuses_what_does_not_fit() -> None:
    x, w, label = torch.zeros(1, 5, 2, 2), torch.ones(5), torch.full((1, 2, 2), 1)
    with pytest.raises(ValueError, match="label 2 is neither"):
        losses.static_loss(x, torch.full((1, 2, 2), 2), w, GAPS)
    with pytest.raises(ValueError, match="label is"):
        losses.static_loss(x, label[:, :1], w, GAPS)
    with pytest.raises(ValueError, match="weight is"):
        losses.static_loss(x, label, torch.ones(3), GAPS)
    for ids in ((), (1, 1), (1, 5), (-1, 2)):
        with pytest.raises(ValueError, match="different ids"):
            losses.pseudo_label_paper(x, w, ids)
    with pytest.raises(ValueError, match="day logits"):
        losses.pseudo_label_official(x, x[:, :, :1], w, GAPS)
