"""Paired streams: which night goes with which day, part by part, and pictures that are held out."""

from __future__ import annotations

from pathlib import Path

import pytest

import made
import trees
from nightseg_train import streams
from nightseg_train.method import Needs
from nightseg_train.streams import Part, Reader, Streams

NEEDS = Needs(labelled=False, unlabelled=("day", "night"), pairs=True)


def drive(base: Path, name: str, count: int) -> Part:
    return made.wild(base, name, {f"{name}{i}": made.street(i) for i in range(count)})


def small(
    day: tuple[Part, ...], night: tuple[Part, ...], held_out: tuple[Part, ...] = (), pairs: str = "order"
) -> Streams:
    return Streams((), day, night, held_out, pairs, 2, 32, (0.75, 1.0), 32, 32, (0.9, 1.1))


def names(reader: Reader) -> list[tuple[str, str]]:
    return [(p.dark.stem, p.day.stem) for p in reader.pairs]


def test_pairs_by_order_stay_within_their_parts(tmp_path: Path) -> None:
    day = (drive(tmp_path, "a", 4), drive(tmp_path, "b", 1))
    night = (drive(tmp_path, "x", 2), drive(tmp_path, "y", 2))
    reader = Reader(small(day, night), NEEDS, tmp_path, 1)
    assert names(reader) == [("x0", "a1"), ("x1", "a3"), ("y0", "b0"), ("y1", "b0")]
    assert reader(0).x["night"].shape == (2, 3, 32, 32)


def test_order_needs_as_many_parts_by_night_as_by_day(tmp_path: Path) -> None:
    day, night = (drive(tmp_path, "a", 2), drive(tmp_path, "b", 2)), (drive(tmp_path, "x", 2),)
    with pytest.raises(ValueError, match=r"as many parts of night \(1\) as of day \(2\)"):
        Reader(small(day, night), NEEDS, tmp_path, 1)


@pytest.mark.parametrize("pairs", ["order", "none"])
def test_pictures_that_are_held_out_are_in_no_batch(tmp_path: Path, pairs: str) -> None:
    day, night = (drive(tmp_path, "a", 3),), (drive(tmp_path, "x", 3),)
    held = made.wild(tmp_path, "held", {"x1": made.street(1), "a0": made.street(2)})
    reader = Reader(small(day, night, (held,), pairs), NEEDS, tmp_path, 1)
    assert [p.stem for p in reader.night] == ["x0", "x2"]
    assert [p.stem for p in reader.day] == ["a1", "a2"]
    assert names(reader) == ([("x0", "a1"), ("x2", "a2")] if pairs == "order" else [])


def test_pictures_that_are_held_out_are_in_no_published_pair(tmp_path: Path) -> None:
    trees.dark_zurich(tmp_path / "dz", 3)
    day, night = (Part("dark-zurich", "dz", f"train/{t}") for t in ("day", "night"))
    held = made.wild(tmp_path, "held", {"GOPR0351_frame_000002_rgb_anon": made.street(1)})
    whole = Reader(small((day,), (night,), pairs="correspondences"), NEEDS, tmp_path, 1)
    part = Reader(small((day,), (night,), (held,), "correspondences"), NEEDS, tmp_path, 1)
    assert len(names(whole)) == 3
    assert names(part) == [names(whole)[0], names(whole)[2]]


@pytest.mark.parametrize(
    ("root", "remedy"),
    [
        (".cache/synth/train", "`make synth-train`"),
        (".cache/synth/wide", "`make synth-wide`"),
        ("drives", "`bin/nightseg synth --out drives`"),
    ],
)
def test_drives_that_are_not_there_name_what_renders_them(tmp_path: Path, root: str, remedy: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"no synthetic drives in {tmp_path / root}; {remedy} renders them"):
        streams.read([Part("synth", root, "train/day")], tmp_path)
