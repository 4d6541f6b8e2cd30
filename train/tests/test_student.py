"""The student's training: batches and losses are repeatable, also after a stop."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from nightseg_train import checkpoint, config, losses, student

SMALL = config.Student(
    segment="ddrnet-tiny", relight_width=8, steps=4, labelled=2, synth=1, day=1, real_night=2, small_steps=0,
    crop=(64, 96), warm_up=2,
)  # fmt: skip
SETTINGS = dataclasses.replace(config.Config(), student=SMALL)
WEIGHT = losses.class_weights([0.05, 0.1, 0.15, 0.7], 0.05).new_ones(11).float()


def steps(run: student.Run, pools: student.Pools, count: int) -> list[float]:
    out = []
    for _ in range(count):
        b = student.batch(pools, SMALL, 1, run.step)
        out.append(run.advance(b, SMALL, WEIGHT, 0.5)["loss"])
    return out


def test_batches_depend_on_seed_and_step_alone(small_pools: student.Pools) -> None:
    first, again = student.batch(small_pools, SMALL, 1, 3), student.batch(small_pools, SMALL, 1, 3)
    other = student.batch(small_pools, SMALL, 1, 4)
    assert torch.equal(first.x, again.x) and torch.equal(first.labels, again.labels)
    assert not torch.equal(first.x, other.x)
    assert first.x.shape == (6, 3, 64, 96)
    assert first.labels.shape == (3, 32, 48)
    assert first.soft.shape == (3, 11, 16, 24)
    assert first.x.is_contiguous(memory_format=torch.channels_last)


def test_prepared_batches_come_in_order(small_pools: student.Pools) -> None:
    stream = student.batches(small_pools, SMALL, 1, 5)
    for step in (5, 6, 7):
        assert torch.equal(next(stream).x, student.batch(small_pools, SMALL, 1, step).x)
    stream.close()


def test_a_run_goes_on_with_the_same_losses(small_pools: student.Pools, tmp_path: Path) -> None:
    whole = steps(student.Run(SETTINGS, tmp_path / "a"), small_pools, 4)
    stopped = student.Run(SETTINGS, tmp_path / "b")
    first = steps(stopped, small_pools, 2)
    stopped.save()
    resumed = student.Run(SETTINGS, tmp_path / "b")
    assert resumed.step == 2
    assert first + steps(resumed, small_pools, 2) == whole
    assert whole[-1] != whole[0]


def test_each_part_of_the_loss_is_there(small_pools: student.Pools, tmp_path: Path) -> None:
    run = student.Run(SETTINGS, tmp_path)
    parts = student.terms(run.nets, student.batch(small_pools, SMALL, 1, 0), SMALL, WEIGHT)
    values = [float(v.detach()) for v in (parts.labelled, parts.distil, parts.night, parts.light)]
    assert all(v > 0 for v in values)
    assert float(parts.total().detach()) == pytest.approx(sum(values), rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run(small_pools: student.Pools, tmp_path: Path) -> None:
    run = student.Run(SETTINGS, tmp_path)
    b = student.batch(small_pools, SMALL, 1, 0)
    b.x[0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="step 1"):
        run.advance(b, SMALL, WEIGHT, 1.0)


def test_missing_drives_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make synth-train"):
        student.read_pools(SETTINGS, tmp_path)


def test_log_is_cut_back_to_the_step(tmp_path: Path) -> None:
    log = checkpoint.Log(tmp_path / "log.csv", ("step", "loss"), 0)
    for step in (1, 2, 3):
        log.row(step=step, loss=0.5 / step)
    checkpoint.Log(tmp_path / "log.csv", ("step", "loss"), 2).row(step=3, loss=9.0)
    assert (tmp_path / "log.csv").read_text().split() == ["step,loss", "1,0.5", "2,0.25", "3,9"]
