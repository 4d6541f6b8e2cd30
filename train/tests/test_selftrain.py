"""The method `selftrain`: its terms against the formulas, what each setting leaves out, and a run that goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import made
from nightseg_train import fit, loop, losses, scoring, windows
from nightseg_train.method import Batch, Needs, View
from nightseg_train.methods import selftrain
from nightseg_train.methods.selftrain import SelfTrain

SHARES = (0.3, 0.2, 0.02, 0.18, *[0.3 / 7] * 7)
TINY = selftrain.Settings(segment="ddrnet-tiny", rate=0.003, skip_relight=0.0)
EXPOSURE = -0.4


def make(s: selftrain.Settings = TINY) -> SelfTrain:
    """Return the method in evaluation mode, as batch norms would tie pictures together, and not at the identity."""
    torch.manual_seed(0)
    method = SelfTrain(s, SHARES, EXPOSURE)
    for m in method.modules().values():
        m.eval()
    if method.pair.relight is not None:
        gain = method.pair.relight.gain
        assert isinstance(gain, nn.Conv2d)
        nn.init.normal_(gain.weight, 0, 0.5, generator=torch.Generator().manual_seed(1))
    return method


def terms(method: SelfTrain, b: Batch) -> dict[str, float]:
    (part,) = list(method.losses(b))  # all at once
    return {k: float(v.detach()) for k, v in part.items()}


def with_soft(b: Batch, **soft: Tensor) -> Batch:
    return dataclasses.replace(b, soft={**b.soft, **soft})


def taught(method: SelfTrain, b: Batch, kind: str, floor: float) -> float:
    """Return the loss on soft targets pixel by pixel."""
    x = b.x[kind] if method.pair.relight is None else method.pair.relight(b.x[kind])
    total, soft = 0.0, b.soft[kind]
    for share, logits in zip((1.0, method.s.aux), method.pair.heads(x), strict=True):
        assert logits is not None
        up = F.interpolate(logits, soft.shape[2:], mode="bilinear", align_corners=False)
        each = -(soft * up.log_softmax(1)).sum(1)
        total += share * float(each[soft.amax(1) > floor].sum()) / each.numel()
    return total


def test_every_term_is_there_and_positive() -> None:
    got = terms(make(), made.batch())
    assert set(got) == {"source", "day", "night", "light"}
    assert all(v > 0 for v in got.values())


def test_the_labelled_term_is_that_of_source() -> None:
    method, b = make(dataclasses.replace(TINY, easy=0.9)), made.batch()
    assert method.pair.relight is not None and b.labels is not None
    logits, aux = method.pair.heads(method.pair.relight(b.x["source"]))
    expected = losses.cross_entropy(logits, b.labels, method.weight, 0.9)
    assert aux is not None
    expected = expected + 0.4 * losses.cross_entropy(aux, b.labels[:, ::2, ::2], method.weight, 0.9)
    assert terms(method, b)["source"] == pytest.approx(float(expected.detach()), rel=1e-5)


@torch.no_grad()
def test_night_counts_only_what_is_sure_and_day_all() -> None:
    s = dataclasses.replace(TINY, sure=0.8, distil=0.5, self_train=2.0)
    method, b = make(s), made.batch()
    got = terms(method, b)
    assert got["night"] == pytest.approx(2 * taught(method, b, "night", 0.8), rel=1e-4)
    assert got["day"] == pytest.approx(0.5 * taught(method, b, "day", 0.0), rel=1e-4)
    unsure = b.soft["night"].amax(1, keepdim=True) <= 0.8
    assert 0.1 < float(unsure.float().mean()) < 0.9
    other = torch.where(unsure, b.soft["night"].roll(1, 1), b.soft["night"])
    assert terms(method, with_soft(b, night=other))["night"] == got["night"]
    other = torch.where(unsure, b.soft["night"], b.soft["night"].roll(1, 1))
    assert terms(method, with_soft(b, night=other))["night"] != got["night"]
    even = torch.full_like(b.soft["night"], 1 / 11)
    assert terms(method, with_soft(b, night=even))["night"] == 0
    assert terms(method, with_soft(b, day=even))["day"] > 0


def test_pictures_past_the_relight_net_are_as_without_one() -> None:
    b = made.batch()
    past, none, through = (
        terms(make(dataclasses.replace(TINY, relight=relight, skip_relight=skip)), b)
        for relight, skip in (("edge", 1.0), ("none", 0.0), ("edge", 0.0))
    )
    for kind in ("source", "day", "night"):
        assert past[kind] == pytest.approx(none[kind], rel=1e-6)
        assert through[kind] != pytest.approx(none[kind], rel=1e-3)
    assert past["light"] == through["light"]  # the relight net learns from all the same


@torch.no_grad()
def test_a_share_of_the_pictures_goes_past_the_relight_net() -> None:
    b = made.batch(n=1)
    b = dataclasses.replace(b, x={"source": b.x["source"]})
    past, through, mixed = (make(dataclasses.replace(TINY, light=0.0, skip_relight=s)) for s in (1.0, 0.0, 0.25))
    known = [terms(past, b)["source"], terms(through, b)["source"]]
    found = [terms(mixed, b)["source"] for _ in range(32)]  # draws go on from those of make
    assert {known.index(v) for v in found} == {0, 1}
    assert 3 <= sum(v == known[0] for v in found) <= 14


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2])
def test_the_light_loss_is_on_some_labelled_and_night_pictures(count: int) -> None:
    method, b = make(dataclasses.replace(TINY, light=0.3, light_pictures=count)), made.batch(n=3)
    assert method.pair.relight is not None
    expected = 0.0
    for kind in ("source", "night"):
        x = b.x[kind][:count]
        r = method.pair.relight.residual(x)
        expected += 0.3 * float(losses.light_loss(r, x + r, x, torch.tensor(EXPOSURE)))
    assert terms(method, b)["light"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("changes", [{"relight": "none"}, {"light": 0.0}])
def test_without_relight_net_or_weight_there_is_no_light_loss(changes: dict[str, object]) -> None:
    got = terms(make(dataclasses.replace(TINY, **changes)), made.batch())  # type: ignore[arg-type]
    assert set(got) == {"source", "day", "night"}


@pytest.mark.parametrize(
    ("distil", "self_train", "kinds"),
    [(1.0, 1.0, ("day", "night")), (0.0, 0.5, ("night",)), (0.5, 0.0, ("day",)), (0, 0, ())],
)
def test_a_kind_of_no_weight_is_not_needed(distil: float, self_train: float, kinds: tuple[str, ...]) -> None:
    method = make(dataclasses.replace(TINY, distil=distil, self_train=self_train))
    assert method.needs.labelled and method.needs.unlabelled == kinds
    b = made.batch()
    b = dataclasses.replace(b, x={k: v for k, v in b.x.items() if k in ("source", *kinds)})
    assert set(terms(method, b)) == {"source", *kinds, "light"}


def test_it_needs_soft_targets_only_with_pictures_that_they_are_for() -> None:
    assert make().needs.soft
    assert make(dataclasses.replace(TINY, distil=0.0, self_train=0.0)).needs == Needs(labelled=True)


def test_labels_are_needed() -> None:
    with pytest.raises(ValueError, match="selftrain: the batch holds no labels"):
        next(make().losses(dataclasses.replace(made.batch(), labels=None)))


def test_the_relight_net_is_trained_with_the_other() -> None:
    method = make(dataclasses.replace(TINY, rate=0.01, weight_decay=0.2))
    groups = method.optimisers()["nets"].param_groups
    trained = {id(p) for g in groups for p in g["params"]}
    assert trained == {id(p) for m in method.modules().values() for p in m.parameters()}
    assert all(g["weight_decay"] == (0.2 if p.ndim > 1 else 0.0) for g in groups for p in g["params"])
    assert {g["lr"] for g in groups} == {0.01}


def test_both_networks_learn_from_a_batch() -> None:
    method = make()
    for part in method.losses(made.batch()):
        torch.stack(list(part.values())).sum().backward()  # type: ignore[no-untyped-call]
    for name, module in method.modules().items():
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters()), name


def test_two_steps_lower_the_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = SelfTrain(TINY, SHARES, EXPOSURE)
    run = loop.Run(method, loop.Loop(precision="fp32", threads=1), tmp_path, 1)
    steps = [run.advance(lambda _: made.batch(), 1.0) for _ in range(3)]
    assert set(steps[0]) == {"source", "day", "night", "light"}
    assert sum(steps[2].values()) < sum(steps[0].values())


def test_a_prediction_has_the_class_weights_of_the_test() -> None:
    method = make(dataclasses.replace(TINY, test_std=0.1))
    whole, plain = (method.predict(made.street(2), View(reweight=r)) for r in (True, False))
    expected = losses.class_weights(SHARES, 0.1).float().log().view(1, -1, 1, 1)
    assert torch.allclose(whole - plain, expected.expand_as(whole), atol=1e-4)
    assert not torch.equal(method.predict(made.street(2), View(relight=False)), whole)


def test_relit_pictures_are_drawn_to_the_light_of_the_labelled_days(tmp_path: Path) -> None:
    """Every eighth picture is measured: here one of the days and one of the rendered nights."""
    label = made.ids(1)
    day = made.labelled(tmp_path, "train/day", [(made.flat(150), label)] * 8)
    night = made.labelled(tmp_path, "train/night", [(made.flat(5), label)])
    s = dataclasses.replace(made.town(tmp_path / "other"), labelled=(day,), rendered=(night,))
    method, _ = fit.make(made.settings("selftrain", s), tmp_path)
    assert isinstance(method, SelfTrain)
    grey = scoring.to_tensor(made.flat(150)).mean()
    assert float(method.exposure) == pytest.approx(float(grey), abs=1e-4)


def test_a_run_goes_on_to_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = made.settings("selftrain", made.town(tmp_path))
    made.teach(tmp_path, s.windows)
    whole = made.run(tmp_path, made.long(s, "whole"))
    stopped = made.long(s, "stopped")
    with monkeypatch.context() as patch, pytest.raises(made.StoppedError):
        patch.setattr(windows.Reader, "__call__", made.stop_at(2))
        made.run(tmp_path, stopped)
    assert [row["step"] for row in made.losses_of(tmp_path / "runs/stopped")] == ["1", "2"]
    made.run(tmp_path, stopped)
    rows = made.losses_of(whole)
    assert made.losses_of(tmp_path / "runs/stopped") == rows
    assert {"source", "day", "night", "light"} < set(rows[0])
    assert made.same_snapshot(tmp_path / "runs/stopped", whole)


def test_relight_alone_leaves_the_segmentation_net_as_it_is(tmp_path: Path) -> None:
    method = SelfTrain(dataclasses.replace(TINY, relight_alone=True), SHARES, EXPOSURE)
    with loop.Averaged(loop.Run(method, loop.Loop(precision="fp32"), tmp_path, seed=1)):
        pass  # as after each snapshot
    before = {k: {n: v.clone() for n, v in m.state_dict().items()} for k, m in method.modules().items()}
    (optimiser,) = method.optimisers().values()
    (part,) = list(method.losses(made.batch()))
    torch.autograd.backward(list(part.values()))
    optimiser.step()
    after = {k: m.state_dict() for k, m in method.modules().items()}
    assert all(torch.equal(v, after["segment"][n]) for n, v in before["segment"].items())
    assert not torch.equal(before["relight"]["gain.weight"], after["relight"]["gain.weight"])
    assert not torch.equal(before["relight"]["enter.1.running_mean"], after["relight"]["enter.1.running_mean"])


def test_relight_alone_needs_a_relight_net() -> None:
    with pytest.raises(ValueError, match=r"selftrain\.relight_alone"):
        selftrain.Settings(relight="none", relight_alone=True)
