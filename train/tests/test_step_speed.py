"""What `time-step` compares: the plain step is DANNet's, and times and losses come as tables."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nightseg_train import __main__ as cli
from nightseg_train import loop, step_speed, timing
from nightseg_train.methods import dannet
from nightseg_train.nets import pspnet
from nightseg_train.plain_step import Plain

SMALL = dataclasses.replace(dannet.official(), segment="ddrnet-tiny", relight="edge", rate=0.01)
CASE = step_speed.Case(SMALL, (64, 96), 2, (64, 64), (("source", 2), ("day", 1), ("night", 1)), "ddrnet-tiny")
SHARES = (0.2, 0.3, 0.05, 0.45)
KINDS = {"source": 2, "day": 2, "night": 2}


def methods(s: dannet.Settings) -> tuple[dannet.Dannet, dannet.Dannet]:
    """Return a method twice, with the same weights."""
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(dannet.Dannet(s, SHARES, (0, 1, 2)))
    return made[0], made[1]


def both(
    s: dannet.Settings, size: tuple[int, int], precision: str, folder: Path, steps: int = 2
) -> list[list[dict[str, float]]]:
    """Return the losses of the first steps, plain and by the loop."""
    theirs, ours = methods(s)
    port = Plain(theirs)
    run = loop.Run(ours, loop.Loop(precision=precision), folder, 1)
    out: list[list[dict[str, float]]] = [[], []]
    for number in range(steps):
        torch.manual_seed(loop.seed_of(1, number))
        out[0].append(port.step(step_speed.batch(number, KINDS, size, len(SHARES))))
        out[1].append(run.advance(lambda step: step_speed.batch(step, KINDS, size, len(SHARES)), 1.0))
    return out


def test_the_plain_step_and_the_loop_s_train_alike_in_float(tmp_path: Path) -> None:
    plain, ours = both(dataclasses.replace(SMALL, rate=1e-4), (64, 96), "fp32", tmp_path)
    assert set(plain[0]) == set(ours[0]) and len(plain[0]) == 11
    for a, b in zip(plain, ours, strict=True):
        assert max(step_speed.differences(a, b).values()) < 1e-2  # where one logit tips, a label does
    assert min(step_speed.differences(plain[0], plain[1]).values()) > 0
    assert max(step_speed.differences(plain[0], plain[1]).values()) > 0.1


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-3), ("bf16", 0.05)])
def test_steps_of_the_large_networks_have_the_same_losses(
    precision: str, most: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pspnet, "BLOCKS", (1, 1, 1, 1))
    s = dataclasses.replace(SMALL, segment="pspnet", relight="lightnet")
    plain, ours = both(s, (64, 64), precision, tmp_path, 1)
    assert max(step_speed.differences(plain[0], ours[0]).values()) < most


def test_made_up_pictures_are_the_same_again_and_dark_by_night() -> None:
    one, two = (step_speed.batch(3, dict(CASE.kinds), (64, 96), 5) for _ in range(2))
    assert {k: tuple(v.shape) for k, v in one.x.items()} == {
        "source": (2, 3, 64, 96), "day": (1, 3, 64, 96), "night": (1, 3, 64, 96),
    }  # fmt: skip
    assert all(torch.equal(one.x[k], two.x[k]) for k in one.x)
    assert isinstance(one.labels, Tensor) and one.labels.shape == (2, 64, 96) and int(one.labels.max()) < 5
    assert one.soft["night"].shape == (1, 5, 16, 24)
    assert float(one.x["night"].mean()) < float(one.x["day"].mean()) - 1
    assert not torch.equal(one.x["day"], one.x["source"][:1])


def test_table_has_ratio_and_largest_difference() -> None:
    losses = {"static": 1.0, "adv_day": 0.5}
    found = {
        "plain": step_speed.Timed(3, (9.0, 12.0, 10.0), 9000.4, losses),
        "ours": step_speed.Timed(3, (2.5, 2.0, 3.0), 4000.0, losses | {"adv_day": 0.49}),
    }
    text = step_speed.table(found)
    assert "| plain | 10.00 | 9.00 to 12.00 | 0.30 | 9000 |" in text
    assert "ours is 4.00 times as fast as plain." in text
    assert "| adv_day | 0.5 | 0.49 | 2.00 |" in text
    assert text.endswith("The largest difference is 2.00 % (adv_day).\n")
    assert "times as fast" not in step_speed.table({"edge": found["ours"]})


def test_command_times_every_kind_in_its_own_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "busy_cores", lambda: 0.0)
    monkeypatch.setattr(step_speed, "OFFICIAL", CASE)
    assert cli.main(["--threads", "1", "time-step", "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["plain", "ours", "edge"]
    assert [found[k]["images"] for k in found] == [6, 6, 4]
    assert all(len(v["seconds"]) == 1 and v["median"] > 0 and v["memory"] > 50 for v in found.values())
    assert set(found["plain"]["losses"]) == set(found["ours"]["losses"])
    assert set(found["edge"]["losses"]) == {"source", "day", "night", "light"}


def test_command_refuses_a_busy_machine(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(timing, "busy_cores", lambda: 1.5)
    assert cli.main(["--threads", "1", "time-step"]) == 1
    assert "time-step: other programs keep 1.50 cores busy" in caplog.text


def test_a_step_that_fails_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "busy_cores", lambda: 0.0)
    wrong = dataclasses.replace(CASE, segment="none")
    with pytest.raises(ValueError, match="edge failed"):
        step_speed.measure(wrong, ["edge"], 1, 1)
