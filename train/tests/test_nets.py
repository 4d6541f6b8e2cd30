"""Networks: ESPNetv2 against the authors' outputs, shapes, and the relight net's start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nightseg_train import scoring
from nightseg_train.nets import espnetv2, lite
from nightseg_train.nets.ddrnet import TINY, WIDTHS, DDRNet
from nightseg_train.nets.espnetv2 import ESPNetv2
from nightseg_train.nets.relight import Enlarge, Relight
from nightseg_train.nets.resize import pool_matrix


@pytest.mark.parametrize("s", [1.0, 2.0])
def test_espnetv2_reproduces_the_golden_outputs(shared: Path, s: float) -> None:
    golden = np.load(shared / f"models/espnetv2_cityscapes/golden_s_{s:.1f}.npz")
    y, x = np.mgrid[0:128, 0:256].astype(np.float32)
    waves = np.stack([np.sin(x / 17 + y / 31), np.cos(x / 23 - y / 11), np.sin((x + 2 * y) / 41)])
    weights = shared / f"models/espnetv2_cityscapes/espnetv2_s_{s:.1f}_city_1024x512.safetensors"
    with torch.inference_mode():
        logits = espnetv2.load_cityscapes(weights, s)(torch.from_numpy(waves[None])).numpy()
    expected = golden["logits_every_8"]
    assert np.abs(logits[:, :, ::8, ::8] - expected).max() < 1e-3 * np.ptp(expected)
    assert (logits.argmax(1) == golden["argmax"]).mean() > 0.9999


def test_teacher_head_starts_at_the_mean_of_its_members() -> None:
    net = ESPNetv2(1.0)
    old = net.bu_dec_l4.merge_layer[3]
    assert isinstance(old, torch.nn.Conv2d)
    road, building = old.weight[0].detach().clone(), old.weight[[2, 3]].detach().mean(0)
    espnetv2.camvid_head(net)
    new = net.bu_dec_l4.merge_layer[3]
    assert isinstance(new, torch.nn.Conv2d) and new.out_channels == 11
    assert torch.allclose(new.weight[3], road)
    assert torch.allclose(new.weight[1], building)
    with pytest.raises(ValueError, match="20 classes"):
        espnetv2.camvid_head(net)


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_ddrnet_gives_logits_at_an_eighth(name: str) -> None:
    net = DDRNet(11, WIDTHS[name]).eval()
    with torch.inference_mode():
        logits, aux = net.both(torch.zeros(1, 3, 96, 160))
    assert logits.shape == aux.shape == (1, 11, 12, 20)


def test_ddrnet_learns_through_every_parameter() -> None:
    net = DDRNet(11, TINY)
    logits, aux = net.both(torch.randn(2, 3, 64, 96))
    (logits.square().mean() + aux.square().mean()).backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert idle == []


def test_lite_starts_without_a_checkerboard() -> None:
    logits = lite.LiteSeg(11, 32, 16).eval()(torch.randn(1, 3, 64, 96))
    cells = logits.unflatten(2, (-1, lite.FINER)).unflatten(4, (-1, lite.FINER))
    torch.testing.assert_close(cells, cells[:, :, :, :1, :, :1].expand_as(cells))


def test_lite_gives_logits_at_a_quarter_and_learns_through_every_parameter() -> None:
    net = lite.LiteSeg(11, 32, 16)
    logits, aux = net.both(torch.randn(2, 3, 64, 96))
    assert (logits.shape, aux.shape) == ((2, 11, 16, 24), (2, 11, 4, 6))
    (logits.square().mean() + aux.square().mean()).backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert idle == []


def test_lite_starts_from_the_published_weights_and_their_normalisation() -> None:
    published = lite.imagenet()
    encoder = lite.Encoder().eval()
    lite.start_from(encoder, published)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        got = encoder.stem[:2](scoring.normalise(pixels))
        theirs = (255 * pixels - 127) / 128
        raw = torch.nn.functional.conv2d(theirs, published["_conv_stem.weight"], stride=2, padding=1)
        mean, var = published["_bn0.running_mean"], published["_bn0.running_var"]
        norm = torch.nn.functional.batch_norm(
            raw, mean, var, published["_bn0.weight"], published["_bn0.bias"], eps=1e-3
        )
    assert torch.allclose(got[:, :, 1:, 1:], norm[:, :, 1:, 1:], atol=1e-4)
    last = encoder.state_dict()["stages.6.0.project.0.weight"]
    assert torch.equal(last, published["_blocks.15._project_conv.weight"])


def test_lite_names_the_weight_that_does_not_fit() -> None:
    published = lite.imagenet()
    with pytest.raises(ValueError, match=r"_blocks\.99"):
        lite.start_from(lite.Encoder(), published | {"_blocks.99._bn0.weight": torch.zeros(1)})
    del published["_blocks.3._project_conv.weight"]
    with pytest.raises(ValueError, match=r"stages\.2\.0\.project\.0\.weight"):
        lite.start_from(lite.Encoder(), published)


def test_relight_starts_as_the_identity_and_stays_within_one() -> None:
    net = Relight(8).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(net(x), x)
        torch.nn.init.normal_(net.gain.weight, 0, 5)
        r = net.residual(x)
    assert r.shape == x.shape
    assert 0 < float(r.abs().max()) <= 1


def test_enlarge_is_a_half_pixel_resize() -> None:
    x = torch.randn(1, 1, 6, 7)
    with torch.inference_mode():
        got = Enlarge()(x)
    expected = torch.nn.functional.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)
    assert torch.allclose(got[:, :, 8:-8, 8:-8], expected[:, :, 8:-8, 8:-8], atol=1e-5)


@pytest.mark.parametrize(("n", "m"), [(90, 60), (45, 30), (60, 6), (7, 5), (4, 4)])
def test_pool_matrix_is_the_adaptive_pool(n: int, m: int) -> None:
    x = torch.randn(1, 2, n)
    torch.testing.assert_close(x @ pool_matrix(n, m).T, torch.nn.functional.adaptive_avg_pool1d(x, m))
