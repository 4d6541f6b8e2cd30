"""DANNet as a method: its parts against the formulas, what it trains when, and that processes train as one."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F

from nightseg_train import loop, losses, parallel
from nightseg_train.method import Batch
from nightseg_train.methods import dannet

SHARES = (0.2, 0.3, 0.05, 0.45)
STATIC = (0, 1, 3)
SMALL = dataclasses.replace(dannet.official(), segment="ddrnet-tiny", relight="edge", rate=0.01)
LOOP = loop.Loop(steps=4, precision="fp32", threads=1, ema=0.5, score_every=2, log_every=1)


def batch(step: int, n: int = 2) -> Batch:
    g = torch.Generator().manual_seed(step)
    x = {k: torch.randn(n, 3, 64, 96, generator=g) + level for k, level in (("source", 0), ("day", 0.2), ("night", -1))}
    labels = torch.randint(0, 5, (n, 64, 96), generator=g).to(torch.uint8)
    labels[labels == 4] = 255
    return Batch(step, x, labels)


def make(s: dannet.Settings = SMALL) -> dannet.Dannet:
    torch.manual_seed(0)
    return dannet.Dannet(s, SHARES, STATIC)


def parts(method: dannet.Dannet, b: Batch) -> dict[str, float]:
    return {k: float(v.detach()) for part in method.losses(b) for k, v in part.items()}


def test_terms_are_the_formulas_of_the_authors_program() -> None:
    method, b = make(), batch(1)
    for m in method.modules().values():
        m.eval()  # batch norm of a batch would differ between the runs below
    got = parts(method, b)
    up = {}
    for kind, scale in (("day", 1.875), ("night", 1.875), ("source", 1.0)):
        size = (round(64 * scale), round(96 * scale))
        logits = method.segment(b.x[kind] + method.relight.residual(b.x[kind]))
        up[kind] = F.interpolate(logits, size, mode="bilinear", align_corners=True).detach()
    r = method.relight.residual(b.x["source"])
    light = losses.light_loss(r, b.x["source"] + r, b.x["source"], b.x["night"].mean())
    assert b.labels is not None
    assert got["light_source"] == pytest.approx(float(light.detach()), rel=1e-5)
    entropy = F.cross_entropy(up["source"], b.labels.long(), method.weight, ignore_index=255)
    assert got["source"] == pytest.approx(float(entropy), rel=1e-5)
    fooled = method.judge_night(up["night"].softmax(1)).square().mean()
    assert got["adv_night"] == pytest.approx(0.01 * float(fooled.detach()), rel=1e-4)
    label = losses.pseudo_label_official(up["day"], up["night"], method.weight, STATIC)
    static = losses.static_loss(up["night"], label, method.weight, STATIC, 1.0, False)
    assert got["static"] == pytest.approx(float(static), rel=1e-5)
    told = (method.judge_day(up["day"].softmax(1)) - 1).square().mean() / 2
    assert got["judge_day_day"] == pytest.approx(float(told.detach()), rel=1e-4)


def test_presets_differ_where_paper_and_program_do() -> None:
    official, paper = dannet.official(), dannet.paper()
    changed = {f.name for f in dataclasses.fields(official) if getattr(official, f.name) != getattr(paper, f.name)}
    assert changed == {"pseudo", "reweight", "test_std", "neighbourhood", "light_source", "exposure"}
    with pytest.raises(ValueError, match=r"dannet\.pseudo: 'x' is not one of day, mix"):
        dataclasses.replace(official, pseudo="x")


def test_nets_and_judges_learn_from_their_own_parts_only() -> None:
    method = make()
    steps = method.losses(batch(2))
    for _ in range(3):
        torch.stack(list(next(steps).values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in method.judge_day.parameters())
    before = [p.grad.clone() for p in method.segment.parameters() if p.grad is not None]
    assert before
    for part in steps:
        torch.stack(list(part.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in method.judge_night.parameters())
    after = [p.grad for p in method.segment.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("bf16", [False, True])
def test_one_look_of_a_judge_gives_the_gradients_of_two(bf16: bool) -> None:
    method, b = make(dataclasses.replace(SMALL, adversarial=1.0)), batch(4, 1)  # another factor would round otherwise
    for m in method.modules().values():
        m.eval()  # batch norm follows what it sees
    segment, judge = list(method.segment.parameters()), list(method.judge_day.parameters())
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        x = b.x["day"] + method.relight.residual(b.x["day"]).float()
        logits = F.interpolate(method.segment(x).float(), (120, 180), mode="bilinear", align_corners=True)
        fool = method.judge_day(logits.softmax(1)).float().square().mean()
        teach = (method.judge_day(logits.detach().softmax(1)).float() - 1).square().mean() / 2
        terms = {k: v for part in method.losses(b) for k, v in part.items()}
    for one, two, weights in ((terms["adv_day"], fool, segment), (terms["judge_day_day"], teach, judge)):
        assert torch.equal(one.detach(), two.detach())
        found, wanted = (torch.autograd.grad(v, weights, allow_unused=True) for v in (one, two))
        for a, c in zip(found, wanted, strict=True):
            assert (a is None) == (c is None)
            if a is not None and c is not None:
                torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-5 * float(c.abs().max()))


def scores(_: object) -> Mapping[str, float]:
    return {loop.CHOOSE: 1.0}


def test_a_run_goes_on_to_the_same_losses_and_keeps_snapshots(tmp_path: Path) -> None:
    def losses_of(run: loop.Run, count: int) -> list[float]:
        return [sum(run.advance(batch, 0.5).values()) for _ in range(count)]

    whole = losses_of(loop.Run(make(), LOOP, tmp_path / "a", 1), 4)
    first = loop.Run(make(), LOOP, tmp_path / "b", 1)
    values = losses_of(first, 2)
    first.save()
    assert values + losses_of(loop.Run(make(), LOOP, tmp_path / "b", 1), 2) == whole
    assert loop.fit(make(), batch, scores, LOOP, tmp_path / "c", 1) == tmp_path / "c/best.pt"
    assert {p.name for p in (tmp_path / "c").iterdir()} >= {"best.pt", "last.pt", "resume.pt", "log.csv"}
    assert (tmp_path / "c/log.csv").read_text().count("\n") == 5


def test_the_time_that_a_run_waits_for_data_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("nightseg_train.loop.time.monotonic", lambda: now[0])

    def slow(step: int) -> Batch:
        now[0] += 2
        return batch(step)

    loop.fit(make(), slow, scores, LOOP, tmp_path, 1)
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert [row[rows[0].index("wait")] for row in rows[1:]] == ["2", "4", "6", "8"]
    assert json.loads((tmp_path / "done.json").read_text())["wait"] == 8
    assert loop.Run(make(), LOOP, tmp_path, 1).waited == 8


def test_other_settings_do_not_go_on(tmp_path: Path) -> None:
    loop.fit(make(), batch, scores, LOOP, tmp_path, 1, LOOP)
    with pytest.raises(ValueError, match="other settings"):
        loop.fit(make(), batch, scores, LOOP, tmp_path, 1, dataclasses.replace(LOOP, steps=9))


def test_a_loss_that_is_not_finite_keeps_the_batch(tmp_path: Path) -> None:
    def broken(step: int) -> Batch:
        b = batch(step)
        b.x["night"][0, 0, 0, 0] = float("nan")
        return b

    with pytest.raises(loop.NotFiniteError, match="step 0"):
        loop.Run(make(), LOOP, tmp_path, 1).advance(broken, 1.0)
    assert (tmp_path / "bad.pt").exists()


def _freeze_norms(module: nn.Module) -> None:
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()


def _train(rank: int, world: int, port: int, out: Path) -> None:
    """Take two steps with this process's share of batches of two pictures; the first process keeps the weights."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    parallel.start(torch.device("cpu"))

    def share(step: int) -> Batch:
        b = batch(step)
        at = slice(rank * 2 // world, (rank + 1) * 2 // world)
        assert b.labels is not None
        return Batch(step, {k: v[at] for k, v in b.x.items()}, b.labels[at])

    method = make(dataclasses.replace(SMALL, rate=1e-4, rate_d=1e-6))  # large steps would magnify rounding
    for m in method.modules().values():
        _freeze_norms(m)
    run = loop.Run(method, LOOP, out / f"run{world}", 1)
    for _ in range(2):
        run.advance(share, 1.0)
    if rank == 0:
        torch.save({k: m.state_dict() for k, m in method.modules().items()}, out / f"{world}.pt")
    parallel.stop()


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    spawn(_train, (1, port, tmp_path), 1)  # type: ignore[no-untyped-call]
    spawn(_train, (2, port, tmp_path), 2)  # type: ignore[no-untyped-call]
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (1, 2))
    worst = 0.0
    for name, state in one.items():
        for key, value in state.items():
            if value.is_floating_point():
                worst = max(worst, float((value - two[name][key]).abs().max()))
    assert worst < 2e-5


def test_predict_reweights_by_either_rule() -> None:
    method = make()
    for m in method.modules().values():
        m.eval()
    picture = torch.randint(0, 256, (64, 96, 3), generator=torch.Generator().manual_seed(3)).to(torch.uint8).numpy()
    scaled: Tensor = method.predict(picture)
    method.s = dataclasses.replace(SMALL, reweight="probability")
    shifted = method.predict(picture)
    w = method.test_weight.view(1, -1, 1, 1)
    assert torch.allclose(scaled / w, shifted - w.log(), atol=1e-5)
