"""The loop on a method of two numbers: its averages, and what it says of settings that are not those of the run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import made
from nightseg_train import checkpoint, fit, loop
from nightseg_train.method import Batch, Method
from nightseg_train.windows import Windows

LOOP = loop.Loop(steps=2, precision="fp32", threads=1, score_every=1, log_every=1)


class Line(made.Seer):
    """A method that learns a line; it sees what the seer sees."""

    def __init__(self) -> None:
        """Start at nought."""
        self.net = nn.Linear(1, 1)
        nn.init.zeros_(self.net.weight)

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the line."""
        return {"line": self.net}

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return plain descent."""
        return {"line": torch.optim.SGD(self.net.parameters(), 0.1)}

    def losses(self, _: Batch) -> Iterator[Mapping[str, Tensor]]:
        """Yield the squared distance to one."""
        yield {"far": (self.net(torch.ones(1, 1)) - 1).square().mean()}


def batch(step: int) -> Batch:
    return Batch(step, {})


def score(_: Method) -> Mapping[str, float]:
    return {loop.CHOOSE: 1.0}


def state(file: Path) -> dict[str, object]:
    found = checkpoint.load(file)
    assert found is not None
    return found


def test_averages_are_kept_where_they_are_wanted_only(tmp_path: Path) -> None:
    for ema, names in ((0.0, ""), (0.5, "line")):
        folder, method = tmp_path / f"{ema}", Line()
        loop.fit(method, batch, score, dataclasses.replace(LOOP, ema=ema), folder, 1)
        averages = state(folder / "resume.pt")["averages"]
        assert isinstance(averages, dict) and list(averages) == names.split()
        best = state(folder / "best.pt")["modules"]
        assert isinstance(best, dict)
        assert torch.equal(best["line"]["weight"], method.net.weight) == (ema == 0)
        assert loop.Run(Line(), dataclasses.replace(LOOP, ema=ema), folder, 1).step == 2


def test_averages_of_an_older_run_that_needs_none_are_left_alone(tmp_path: Path) -> None:
    run = loop.Run(Line(), dataclasses.replace(LOOP, ema=0.5), tmp_path, 1)
    run.advance(batch, 1.0)
    run.save()
    assert loop.Run(Line(), LOOP, tmp_path, 1).averages == {}


def test_other_settings_are_named_with_a_remedy(tmp_path: Path) -> None:
    s = dataclasses.replace(made.settings("source", Windows()), start=("segment=a.pt",), loop=LOOP)
    other = dataclasses.replace(s, start=(), loop=dataclasses.replace(LOOP, steps=9))
    loop.fit(Line(), batch, score, LOOP, tmp_path, 1, s)
    loop.fit(Line(), batch, score, LOOP, tmp_path, 1, s)
    with pytest.raises(ValueError, match="other settings") as told:
        loop.fit(Line(), batch, score, LOOP, tmp_path, 1, other)
    assert str(told.value) == (
        f"fit: {tmp_path} holds a run with other settings: loop.steps was 2 and is 9, start was ['segment=a.pt'] and "
        f"is []; give the run another name, or delete that folder"
    )


def test_settings_of_another_version_are_named_with_a_remedy(tmp_path: Path) -> None:
    s = fit.Fit("x")
    loop.fit(Line(), batch, score, LOOP, tmp_path, 1, s)
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"colour": 1}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"settings\.json was written by .*: colour: unknown key.*another name, or"):
        loop.fit(Line(), batch, score, LOOP, tmp_path, 1, s)
