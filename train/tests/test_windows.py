"""Batches of windows from pictures in memory: what decides them, and the soft targets they come with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import trees
from nightseg_train import checkpoint, windows
from nightseg_train.method import Needs
from nightseg_train.streams import Part
from nightseg_train.windows import Windows

NEEDS = Needs(labelled=True, unlabelled=("day", "night"), soft=True)


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """Return a folder with three labelled pictures, three without labels of each kind, drives, and soft targets."""
    for i in range(3):
        for split in ("labelled", "day", "night"):
            trees.colour(tmp_path / f"town/{split}/images/{i}.png", (48, 64), seed=10 * len(split) + i)
        trees.ids(tmp_path / f"town/labelled/labels/{i}.png", i, (48, 64))
        for time in ("day", "night"):
            stem = f"street_frame_{i:06d}"
            trees.colour(tmp_path / f"drives/rgb_anon/train/{time}/street/{stem}_rgb_anon.png", (48, 64), seed=i)
            trees.ids(tmp_path / f"drives/gt/train/{time}/street/{stem}_gt_labelTrainIds.png", i, (48, 64))
    pictures = windows.unlabelled(settings(), tmp_path)
    soft = {k: [np.full((120, 160, 11), 20, np.uint8) for _ in getattr(pictures, k)] for k in ("day", "night")}
    checkpoint.save(tmp_path / "targets.pt", {"soft": soft, "pictures": pictures.digest()})
    return tmp_path


def settings(**changes: object) -> Windows:
    s = Windows(
        labelled=(Part("camvid", "town", "labelled"),),
        rendered=tuple(Part("synth", "drives", f"train/{t}") for t in ("day", "night")),
        day=(Part("camvid", "town", "day"),),
        night=(Part("camvid", "town", "night"),),
        targets="targets.pt",
        labelled_count=2, rendered_count=2, day_count=2, night_count=4, crop=(64, 96), rare_from=2,
    )  # fmt: skip
    return dataclasses.replace(s, **changes)  # type: ignore[arg-type]


def test_batches_depend_on_seed_and_step_alone(town: Path) -> None:
    reader = windows.Reader(settings(), NEEDS, town, 1)
    first, again = reader(3), windows.Reader(settings(), NEEDS, town, 1)(3)
    assert first.labels is not None and again.labels is not None
    assert all(torch.equal(first.x[k], again.x[k]) for k in ("source", "day", "night"))
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.x["source"], reader(4).x["source"])
    assert not torch.equal(first.x["source"], windows.Reader(settings(), NEEDS, town, 2)(3).x["source"])
    assert {k: tuple(v.shape) for k, v in first.x.items()} == {
        "source": (4, 3, 64, 96), "day": (2, 3, 64, 96), "night": (4, 3, 64, 96),
    }  # fmt: skip
    assert first.labels.shape == (4, 32, 48)
    assert first.soft["night"].shape == (4, 11, 16, 24)
    assert first.x["source"].is_contiguous(memory_format=torch.channels_last)


def test_processes_share_one_batch(town: Path) -> None:
    whole = windows.Reader(settings(), NEEDS, town, 1)(5)
    for rank in range(2):
        reader = windows.Reader(settings(), NEEDS, town, 1)
        reader.rank, reader.world = rank, 2
        assert torch.equal(reader(5).x["night"], whole.x["night"][2 * rank : 2 * rank + 2])


def test_only_what_the_method_needs_is_read(town: Path) -> None:
    batch = windows.Reader(settings(targets=""), Needs(labelled=True), town, 1)(0)
    assert set(batch.x) == {"source"} and not batch.soft


def test_pictures_held_out_are_left_out(town: Path) -> None:
    trees.colour(town / "town/dev/images/1.png", (48, 64))
    found = windows.unlabelled(settings(held_out=(Part("camvid", "town", "dev"),)), town)
    assert (len(found.day), len(found.night)) == (2, 2)


def test_soft_targets_belong_to_their_pictures(town: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the command `targets` makes them"):
        windows.Reader(settings(targets="none.pt"), NEEDS, town, 1)
    trees.colour(town / "town/night/images/2.png", (48, 64), seed=99)
    with pytest.raises(ValueError, match="belongs to other pictures"):
        windows.Reader(settings(), NEEDS, town, 1)


def test_what_is_missing_is_named(town: Path) -> None:
    with pytest.raises(ValueError, match=r"windows\.night: the method needs it"):
        windows.Reader(settings(night=()), NEEDS, town, 1)
    with pytest.raises(ValueError, match="drives2 has no part train/day"):
        windows.Reader(settings(rendered=(Part("synth", "drives2", "train/day"),)), NEEDS, town, 1)
