"""Pairs of night and day: lists, positions, times, order; and made-up streets from the list to the crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import trees
from nightseg_train import data
from nightseg_train.data import paired_crops, pairs, sets


def paths(letter: str, n: int) -> list[Path]:
    return [Path(f"{letter}{i}_rgb_anon.png") for i in range(n)]


def test_published_pairs(tmp_path: Path) -> None:
    trees.dark_zurich(tmp_path)
    night = pairs.from_correspondences(tmp_path)
    assert [(p.dark.name, p.day.name) for p in night] == [
        (f"GOPR0351_frame_00000{i}_rgb_anon.png", f"GOPR0345_frame_00000{i}_rgb_anon.png") for i in (1, 2)
    ]
    twilight = pairs.from_correspondences(tmp_path, "twilight")
    assert len({p.day for p in twilight}) == 1
    with pytest.raises(FileNotFoundError, match=r"no \*_ref_day\.csv"):
        pairs.from_correspondences(tmp_path, "dusk")


def test_one_list_is_written_and_read(tmp_path: Path) -> None:
    trees.dark_zurich(tmp_path)
    night, file = pairs.from_correspondences(tmp_path), tmp_path / "lists/pairs.csv"
    pairs.write_list(night, file, tmp_path / "rgb_anon")
    first = "train/night/GOPR0351/GOPR0351_frame_000001,train/day/GOPR0345/GOPR0345_frame_000001"
    assert file.read_text(encoding="utf-8").splitlines()[0] == first
    assert pairs.from_list(file, tmp_path / "rgb_anon") == night
    with pytest.raises(ValueError, match="cannot be listed"):
        pairs.write_list(night, file, tmp_path / "gt")


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    for text, kind, said in (
        ("a,b\nc\n", ValueError, r"pairs\.csv:2: `dark,day` is needed"),
        ("\na,b\n", FileNotFoundError, r"pairs\.csv:2: no picture .*a_rgb_anon\.png"),
        ("\n", ValueError, "names no pair"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(kind, match=said):
            pairs.from_list(file, tmp_path)


def test_haversine_on_known_distances() -> None:
    points = np.array([[0.0, 0.0], [0.0, 1.0], [90.0, 0.0], [0.0, 180.0]])
    got = pairs.haversine(points[:1], points)[0]
    degree = np.pi / 180 * pairs.EARTH
    assert np.allclose(got, [0, degree, 90 * degree, 180 * degree])
    zurich = pairs.haversine(np.array([[47.0, 8.0]]), np.array([[47.0, 9.0]]))[0, 0]
    assert zurich == pytest.approx(degree * np.cos(np.radians(47)), rel=1e-4)


def test_nearest_by_position(tmp_path: Path) -> None:
    file = tmp_path / "gps.csv"
    file.write_text(
        "stem,latitude,longitude\nn0,47,8\nn1,47.001,8\nn2,48,8\nd0,47.00001,8\nd1,47.00101,8\n", encoding="utf-8"
    )
    positions = pairs.read_gps(file)
    night, day = paths("n", 4), paths("d", 3)
    assert pairs.from_gps(night, day, positions, 5) == [pairs.Pair(night[0], day[0]), pairs.Pair(night[1], day[1])]
    with pytest.raises(ValueError, match=r"within 1 m"):
        pairs.from_gps(night, day, positions, 1)
    with pytest.raises(ValueError, match="not above 0"):
        pairs.from_gps(night, day, positions, 0)
    for text, said in (
        ("n0,47\n", r"gps\.csv:1: `stem,latitude,longitude`"),
        ("n0,47,8\nn1,x,8\n", r"gps\.csv:2: could not convert"),
        ("n0,nan,8\n", "not finite"),
        ("n0,1,1\nn0,1,1\n", "comes twice"),
        ("n0,100,8\n", "nowhere"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=said):
            pairs.read_gps(file)


def test_by_order_and_by_time() -> None:
    night, day = paths("n", 4), paths("d", 2)
    assert [p.day for p in pairs.from_order(night, day)] == [day[0], day[0], day[1], day[1]]
    assert [p.day for p in pairs.from_order(day, night)] == [night[1], night[3]]
    assert [p.day for p in pairs.from_order(night, night)] == night
    times = {"n0": (100.0,), "n1": (101.0,), "n2": (109.0,), "n3": (110.0,), "d0": (0.0,), "d1": (1.0,)}
    assert [p.day for p in pairs.from_time(night, day, times)] == [day[0], day[0], day[1], day[1]]
    with pytest.raises(ValueError, match="no time of n0"):
        pairs.from_time(night, day, {})
    with pytest.raises(ValueError, match="no pair can be made"):
        pairs.from_order(night, [])


def test_made_up_streets_from_list_to_crop(tmp_path: Path) -> None:
    for time in ("day", "night"):
        for i in (1, 2, 3):
            stem = f"synth1_frame_{i:06d}"
            trees.colour(tmp_path / f"rgb_anon/train/{time}/synth1/{stem}_rgb_anon.png", (24, 32), i)
            trees.ids(tmp_path / f"gt/train/{time}/synth1/{stem}_gt_labelTrainIds.png", i, (24, 32))
    assert [p.name for p in sets.parts("synth", tmp_path)] == ["train/day", "train/night"]
    day, night = (sets.read("synth", tmp_path, f"train/{t}").items for t in ("day", "night"))
    assert day == data.list_dark_zurich(tmp_path, "train", "day")
    found = pairs.from_order([i.image for i in night], [i.image for i in day])
    assert all(p.dark.name == p.day.name for p in found)
    read = [data.read_image(p, None) for p in (found[1].dark, found[1].day)]
    a, b = paired_crops.pair(read[0], read[1], np.random.default_rng(1), edge=20, out=10)
    assert np.array_equal(a, b)  # the day and the night hold the same noise here
    assert day[1].label is not None
    label = data.read_label(day[1].label, 11)
    x, y = paired_crops.source(read[1], label, np.random.default_rng(1), edge=12)
    assert x.shape == (12, 12, 3)
    assert set(np.unique(y).tolist()) <= {2, 255}
