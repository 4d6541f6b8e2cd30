"""The method `source` and the pair of networks that it trains, and that most methods share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import made
from nightseg_train import loop, losses, windows
from nightseg_train.method import Batch, Needs, View
from nightseg_train.methods import source
from nightseg_train.methods.source import Source
from nightseg_train.nets.lite import LiteSeg
from nightseg_train.nets.pair import Pair

SHARES = (0.3, 0.2, 0.02, 0.18, *[0.3 / 7] * 7)
TINY = source.Settings(segment="ddrnet-tiny", rate=0.003)
LOOP = loop.Loop(precision="fp32", threads=1)


def make(s: source.Settings = TINY) -> Source:
    torch.manual_seed(0)
    return Source(s, SHARES)


def terms(method: Source, b: Batch) -> dict[str, float]:
    return {k: float(v.detach()) for part in method.losses(b) for k, v in part.items()}


def up(logits: Tensor, labels: Tensor) -> Tensor:
    return F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("relight", ["none", "edge"])
def test_the_loss_is_the_weighted_cross_entropy_of_both_heads(relight: str) -> None:
    method, b = make(dataclasses.replace(TINY, relight=relight, aux=0.3, std=0.2)), made.batch()
    for m in method.modules().values():
        m.eval()  # batch norm of a batch would differ between the runs below
    x = b.x["source"]
    if method.pair.relight is not None:
        torch.nn.init.normal_(method.pair.relight.gain.weight, 0, 0.5)  # type: ignore[arg-type, union-attr]
        x = method.pair.relight(x)
    logits, aux = method.pair.heads(x)
    assert aux is not None and b.labels is not None
    labels, small = b.labels.long(), b.labels[:, ::2, ::2].long()
    weight = losses.class_weights(SHARES, 0.2).float()
    expected = F.cross_entropy(up(logits, labels), labels, weight, ignore_index=255)
    expected = expected + 0.3 * F.cross_entropy(up(aux, small), small, weight, ignore_index=255)
    assert terms(method, b) == {"source": pytest.approx(float(expected.detach()), rel=1e-5)}
    assert float(expected.detach()) > 0


def test_the_jaccard_loss_of_the_logits_is_added() -> None:
    b = made.batch()
    assert b.labels is not None
    plain, both = make(), make(dataclasses.replace(TINY, jaccard=0.7))
    for m in [*plain.modules().values(), *both.modules().values()]:
        m.eval()
    logits, _ = both.pair.heads(b.x["source"])
    added = 0.7 * float(losses.jaccard(logits, b.labels).detach())
    assert added > 0
    assert terms(both, b)["source"] == pytest.approx(terms(plain, b)["source"] + added, rel=1e-5)


def test_easy_pixels_can_leave_the_loss() -> None:
    hard = make(dataclasses.replace(TINY, easy=0.5))
    b = made.batch()
    assert b.labels is not None
    full, part = (terms(m, b)["source"] for m in (make(), hard))
    assert part > full  # the easy ones are those of small loss


def test_it_needs_labelled_pictures_and_no_others() -> None:
    assert make().needs == Needs(labelled=True)
    b = made.batch()
    with pytest.raises(ValueError, match="source: the batch holds no labels"):
        next(make().losses(Batch(0, b.x, None, b.soft)))
    assert b.labels is not None
    assert terms(make(), Batch(0, {"source": b.x["source"]}, b.labels)) == terms(make(), b)


def test_two_steps_lower_the_loss(tmp_path: Path) -> None:
    run = loop.Run(make(), LOOP, tmp_path, 1)
    values = [sum(run.advance(lambda _: made.batch(), 1.0).values()) for _ in range(3)]
    assert values[2] < values[0]


def test_every_network_learns() -> None:
    method = make(dataclasses.replace(TINY, relight="edge"))
    for part in method.losses(made.batch()):
        torch.stack(list(part.values())).sum().backward()  # type: ignore[no-untyped-call]
    for name, module in method.modules().items():
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters()), name


def test_an_imagenet_encoder_learns_at_its_share_of_the_rate_and_biases_do_not_decay() -> None:
    s = dataclasses.replace(TINY, segment="lite0", relight="edge", rate=0.01, encoder_rate=0.25, weight_decay=0.1)
    method = make(s)
    net = method.pair.segment
    assert isinstance(net, LiteSeg)
    encoder = {id(p) for p in net.encoder.parameters()}
    optimiser = method.optimisers()["nets"]
    seen = set()
    for group in optimiser.param_groups:
        for p in group["params"]:
            assert group["lr"] == pytest.approx(0.0025 if id(p) in encoder else 0.01)
            assert group["weight_decay"] == (0.1 if p.ndim > 1 else 0.0)
            seen.add(id(p))
    assert seen == {id(p) for m in method.modules().values() for p in m.parameters()}
    assert len(optimiser.param_groups) == 4


def test_a_net_without_such_an_encoder_learns_at_the_rate() -> None:
    groups = make(dataclasses.replace(TINY, encoder_rate=0.1)).optimisers()["nets"].param_groups
    assert [g["lr"] for g in groups] == [0.003, 0.003]


def test_the_schedule_scales_every_group(tmp_path: Path) -> None:
    run = loop.Run(make(dataclasses.replace(TINY, segment="lite0", encoder_rate=0.5, rate=0.01)), LOOP, tmp_path, 1)
    run.advance(lambda _: made.batch(), 0.1)
    assert sorted({round(g["lr"], 9) for g in run.optimisers["nets"].param_groups}) == [0.0005, 0.001]


def test_class_weights_and_relight_net_can_be_left_out_of_a_prediction() -> None:
    method = make(dataclasses.replace(TINY, relight="edge", test_std=0.16))
    for m in method.modules().values():
        m.eval()
    torch.nn.init.normal_(method.pair.relight.gain.weight, 0, 0.5)  # type: ignore[arg-type, union-attr]
    picture = made.street(1)
    whole, plain = method.predict(picture), method.predict(picture, View(reweight=False))
    assert whole.shape == (1, 11, 12, 16) and whole.dtype == torch.float32
    expected = losses.class_weights(SHARES, 0.16).float().log().view(1, -1, 1, 1)
    assert torch.allclose(whole - plain, expected.expand_as(whole), atol=1e-4)
    past = method.predict(picture, View(relight=False))
    assert not torch.equal(past, whole)
    bare = make(dataclasses.replace(TINY, test_std=0.16))
    bare.pair.segment.load_state_dict(method.pair.segment.state_dict())
    bare.pair.segment.eval()
    assert torch.equal(bare.predict(picture), past)


@pytest.mark.parametrize(
    ("name", "part", "has_aux"), [("ddrnet-tiny", 8, True), ("lite0", 4, True), ("espnetv2", 2, False)]
)
def test_heads_of_each_kind_of_net(name: str, part: int, has_aux: bool) -> None:
    pair = Pair(name, "none", 11)
    assert set(pair.modules()) == {"segment"}
    with torch.inference_mode():
        logits, aux = pair.heads(torch.zeros(2, 3, 64, 96))
    assert logits.shape == (2, 11, 64 // part, 96 // part)
    assert (aux is not None) == has_aux


@pytest.mark.parametrize(
    ("segment", "relight", "message"), [("x", "none", "segment: 'x'"), ("lite0", "x", "relight: 'x'")]
)
def test_unknown_networks_are_refused(segment: str, relight: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pair(segment, relight, 11)


def test_a_run_goes_on_to_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = made.settings("source", made.town(tmp_path))
    whole = made.run(tmp_path, made.long(s, "whole"))
    stopped = made.long(s, "stopped")
    with monkeypatch.context() as patch, pytest.raises(made.StoppedError):
        patch.setattr(windows.Reader, "__call__", made.stop_at(2))
        made.run(tmp_path, stopped)
    assert not (tmp_path / "runs/stopped/done.json").exists()
    assert [row["step"] for row in made.losses_of(tmp_path / "runs/stopped")] == ["1", "2"]
    made.run(tmp_path, stopped)
    assert made.losses_of(tmp_path / "runs/stopped") == made.losses_of(whole)
    assert made.same_snapshot(tmp_path / "runs/stopped", whole)
