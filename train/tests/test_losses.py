"""Light, labelled and distillation losses against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nightseg_train import losses

# Shares of the 19 Cityscapes classes in the training labels, and their weights at three spreads.
CITYSCAPES = (
    (0.36869696, 0.90414, 0.80828, 0.69324), (0.06084986, 0.95424, 0.90849, 0.85358),
    (0.22824049, 0.91748, 0.83495, 0.73592), (0.00655399, 1.01622, 1.03244, 1.05190),
    (0.00877272, 1.00811, 1.01622, 1.02595), (0.01227341, 0.99877, 0.99754, 0.99606),
    (0.00207795, 1.04817, 1.09633, 1.15413), (0.00551270, 1.02103, 1.04206, 1.06729),
    (0.15928651, 0.92748, 0.85496, 0.76793), (0.01157818, 1.00039, 1.00078, 1.00125),
    (0.04018982, 0.96578, 0.93156, 0.89049), (0.01218957, 0.99896, 0.99792, 0.99667),
    (0.00135122, 1.06013, 1.12027, 1.19243), (0.06994545, 0.95037, 0.90074, 0.84118),
    (0.00267456, 1.04115, 1.08229, 1.13166), (0.00235192, 1.04472, 1.08944, 1.14311),
    (0.00232904, 1.04499, 1.08999, 1.14398), (0.00098658, 1.06888, 1.13776, 1.22042),
    (0.00413907, 1.02900, 1.05800, 1.09280),
)  # fmt: skip


def doubles(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def test_total_variation_of_a_unit_ramp_is_two() -> None:
    ramp = torch.arange(40.0).expand(2, 1, 30, 40)
    assert float(losses.total_variation(ramp)) == pytest.approx(2)
    assert float(losses.total_variation(ramp.transpose(2, 3))) == pytest.approx(2)
    assert float(losses.total_variation(ramp.expand(2, 3, 30, 40))) == pytest.approx(6)


def test_ssim_has_means_of_3_x_3_pixels() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 20, 24, generator=g)
    for a in (0.3 * torch.randn(x.shape, generator=g) + x, x + 0.5, 2 * x):
        a.requires_grad_()
        (p, q), pool = (F.pad(v, (1, 1, 1, 1), mode="reflect") for v in (a, x)), torch.nn.AvgPool2d(3, 1)
        m, n = pool(p), pool(q)
        spread = pool(p**2) - m**2 + pool(q**2) - n**2
        ssim = (2 * m * n + 1e-4) * (2 * (pool(p * q) - m * n) + 9e-4) / ((m**2 + n**2 + 1e-4) * (spread + 9e-4))
        wanted, found = ((1 - ssim) / 2).clamp(0, 1).mean(), losses.ssim_loss(a, x)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
        one, other = (torch.autograd.grad(v, a)[0] for v in (wanted, found))
        assert float((one - other).norm() / one.norm()) < 1e-5


def test_ssim_of_a_picture_with_itself_is_nought() -> None:
    x = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    assert float(losses.ssim_loss(x, x)) == pytest.approx(0, abs=1e-6)
    # of two constants a and b only the term of the means is left: (2ab + c1) / (a^2 + b^2 + c1)
    one = torch.ones(1, 1, 16, 16)
    ssim = (2 * 0.5 + 1e-4) / (1 + 0.25 + 1e-4)
    assert float(losses.ssim_loss(one, 0.5 * one)) == pytest.approx((1 - ssim) / 2, abs=1e-4)


def test_exposure_of_a_constant_picture_is_its_squared_distance() -> None:
    e = torch.tensor(-0.75)
    assert float(losses.exposure_loss(torch.full((2, 3, 64, 96), -0.75), e)) == pytest.approx(0)
    assert float(losses.exposure_loss(torch.full((2, 3, 64, 96), 0.25), e)) == pytest.approx(1)


def test_light_loss_adds_its_parts_with_ten_for_the_variation() -> None:
    x = torch.zeros(1, 3, 64, 64)
    r = 0.01 * torch.arange(64.0).expand(1, 3, 64, 64)
    e = torch.tensor(0.2)
    parts = 10 * losses.total_variation(r) + losses.ssim_loss(x + r, x) + losses.exposure_loss(x + r, e)
    assert float(losses.light_loss(r, x + r, x, e)) == pytest.approx(float(parts))
    assert float(10 * losses.total_variation(r)) == pytest.approx(10 * 3 * 2 * 1e-4, rel=1e-4)


def test_class_weights_have_mean_one_and_the_std_asked_for() -> None:
    w = losses.class_weights([0.5, 0.3, 0.15, 0.05], 0.05)
    raw = [-math.log(a) for a in (0.5, 0.3, 0.15, 0.05)]
    mean = sum(raw) / 4
    sd = math.sqrt(sum((v - mean) ** 2 for v in raw) / 3)
    assert w.tolist() == pytest.approx([(v - mean) / sd * 0.05 + 1 for v in raw])
    assert float(w.std(unbiased=True)) == pytest.approx(0.05)
    assert losses.class_weights([0.25] * 4, 0.3).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(("column", "std"), [(1, 0.05), (2, 0.10), (3, 0.16)])
def test_class_weights_of_cityscapes(column: int, std: float) -> None:
    w = losses.class_weights([row[0] for row in CITYSCAPES], std)
    assert w.tolist() == pytest.approx([row[column] for row in CITYSCAPES], abs=5.1e-6)


def test_weights_may_move_into_the_classifier() -> None:
    g = torch.Generator().manual_seed(5)
    w = losses.class_weights([row[0] for row in CITYSCAPES], 0.16)
    x = torch.randn(1, 8, 9, 12, dtype=torch.float64, generator=g)
    kernel = torch.randn(19, 8, 1, 1, dtype=torch.float64, generator=g)
    bias = torch.randn(19, dtype=torch.float64, generator=g)
    after = F.conv2d(x, kernel, bias) * w.view(1, -1, 1, 1)
    within = F.conv2d(x, kernel * w.view(-1, 1, 1, 1), bias * w)
    assert torch.equal(after.argmax(1), within.argmax(1))
    up = [F.interpolate(v, (33, 45), mode="bilinear", align_corners=True).argmax(1) for v in (after, within)]
    assert torch.equal(*up)


def test_gradients_of_the_light_losses() -> None:
    r, x = doubles(1, 2, 4, 4), doubles(1, 2, 4, 4, seed=1).detach()
    e = torch.tensor(-0.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(losses.total_variation, (r,))
    # a small residual: where 1 - SSIM leaves 0..2 the loss has a kink
    assert torch.autograd.gradcheck(lambda v: losses.ssim_loss(x + 0.1 * v, x), (r,))
    assert torch.autograd.gradcheck(lambda v: losses.exposure_loss(x + v, e, 2), (r,))


def test_class_weights_refuse_what_makes_no_sense() -> None:
    for shares, std in (([1.0], 0.1), ([0.5, 1.5], 0.1), ([0.9, 0.05, 0.05], 5.0)):
        with pytest.raises(ValueError, match="class_weights"):
            losses.class_weights(shares, std)


def test_cross_entropy_of_even_logits_is_log_n_and_ignores_255() -> None:
    labels = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    logits = torch.zeros(1, 11, 4, 4, requires_grad=True)
    assert float(losses.cross_entropy(logits, labels).detach()) == 0
    labels[0, 0, 0] = 3
    assert float(losses.cross_entropy(logits, labels).detach()) == pytest.approx(math.log(11))


def test_easy_pixels_do_not_count() -> None:
    labels = torch.zeros(1, 4, 8, dtype=torch.uint8)
    logits = torch.zeros(1, 2, 4, 8)
    logits[:, 0, :, :4] = 5.0  # sure and right; the other half is undecided
    hard = float(losses.cross_entropy(logits, labels, None, 0.9))
    assert hard == pytest.approx(math.log(2))
    assert float(losses.cross_entropy(logits, labels)) == pytest.approx((math.log(2) + math.log1p(math.exp(-5))) / 2)
    logits[:, 0] = 5.0  # all sure: the mean is over a sixteenth, of nothing
    assert float(losses.cross_entropy(logits, labels, torch.ones(2), 0.9)) == 0


def test_the_jaccard_loss_of_even_and_of_sure_logits() -> None:
    labels = torch.zeros(2, 4, 8, dtype=torch.uint8)
    labels[:, :, 4:] = 1
    labels[1, 0] = 255
    even, right = torch.zeros(2, 3, 4, 8), torch.zeros(2, 3, 4, 8)
    # half of the pixels of a class are said, at a third each: (1/3 n) / (n + 2/3 n - 1/3 n); nothing is labelled 2
    assert float(losses.jaccard(even, labels)) == pytest.approx(1 - (1 / 3) / (1 + 2 / 3 - 1 / 3))
    right[:, 0, :, :4], right[:, 1, :, 4:] = 50.0, 50.0
    assert float(losses.jaccard(right, labels)) == pytest.approx(0, abs=1e-6)
    wrong = right.clone()
    wrong[1, :, 0] = torch.tensor([0.0, 0.0, 50.0])[:, None]  # where there is no label
    assert float(losses.jaccard(wrong, labels)) == pytest.approx(0, abs=1e-6)
    assert float(losses.jaccard(even, torch.full_like(labels, 255))) == 0


def test_the_gradient_of_the_jaccard_loss_is_that_of_one_minus_iou() -> None:
    g = torch.Generator().manual_seed(4)
    logits = torch.randn(2, 4, 6, 6, generator=g, requires_grad=True)
    labels = torch.randint(0, 3, (2, 6, 6), generator=g)  # class 3 is not labelled
    labels[0, :2] = 255
    p, y = logits.softmax(1), F.one_hot(labels.where(labels < 255, torch.tensor(4)), 5)[..., :4].permute(0, 3, 1, 2)
    p = p * (labels < 255)[:, None]
    iou = (p * y).sum((0, 2, 3)) / (p + y - p * y).sum((0, 2, 3))
    expected = 1 - iou[:3].mean()
    got = losses.jaccard(logits, labels)
    assert float(got.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    (a,), (b,) = torch.autograd.grad(expected, logits), torch.autograd.grad(got, logits)
    assert float(a.norm()) > 0
    torch.testing.assert_close(a, b)


def test_distillation_counts_sure_pixels_over_all() -> None:
    target = torch.zeros(1, 2, 2, 2)
    target[:, 0] = torch.tensor([[0.9, 0.9], [0.6, 0.6]])
    target[:, 1] = 1 - target[:, 0]
    logits = torch.zeros(1, 2, 2, 2)
    assert float(losses.distillation(logits, target, 0.7)) == pytest.approx(math.log(2) / 2)
    assert float(losses.distillation(logits, target, 0.0)) == pytest.approx(math.log(2))


def test_distillation_is_least_at_the_target() -> None:
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.dirichlet(np.ones(4), (1, 3, 3))).permute(0, 3, 1, 2).float()
    best = float(losses.distillation(target.log(), target, 0.0))
    assert best < float(losses.distillation(target.log() * 0.5, target, 0.0))
    assert best < float(losses.distillation(target.log() * 2, target, 0.0))
