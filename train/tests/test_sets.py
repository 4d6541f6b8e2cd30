"""Data sets by name: each layout in miniature, order, labels, label ids, and what a missing file says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import trees
from nightseg_train import data
from nightseg_train.classes import NAMES
from nightseg_train.data import dark_zurich, ids, sets
from nightseg_train.data.others import MSRS_NAMES


def names(found: sets.Set) -> list[str]:
    return [i.image.name for i in found.items]


def label(item: data.Item) -> Path:
    assert item.label is not None
    return item.label


def test_cityscapes_maps_label_ids_and_takes_train_ids_first(tmp_path: Path) -> None:
    for city, n in (("ulm", 1), ("aachen", 10), ("aachen", 9)):
        stem = f"{city}_{n}_19"
        trees.colour(tmp_path / f"leftImg8bit/train/{city}/{stem}_leftImg8bit.png")
        trees.ids(tmp_path / f"gtFine/train/{city}/{stem}_gtFine_labelIds.png", 33)
    trees.ids(tmp_path / "gtFine/train/ulm/ulm_1_19_gtFine_labelTrainIds.png", 18)
    found = sets.read("cityscapes", tmp_path, "train")
    assert [n.removesuffix("_leftImg8bit.png") for n in names(found)] == ["aachen_9_19", "aachen_10_19", "ulm_1_19"]
    assert found.names == ids.CITYSCAPES
    assert [label(i).stem.split("_")[-1] for i in found.items] == ["labelIds", "labelIds", "labelTrainIds"]
    for item in found.items:
        assert np.unique(data.read_label(label(item), 19)).tolist() == [18, 255]


def test_label_ids_table() -> None:
    table = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    table |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert [int(v) for v in ids.TRAIN_ID_OF] == [table.get(i, 255) for i in range(256)]
    assert len(ids.CITYSCAPES) == 19


def test_label_ids_beyond_the_table_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="34, which is no class"):
        data.read_label(trees.ids(tmp_path / "a_labelIds.png", 34), 19)
    with pytest.raises(ValueError, match="33, which is no class"):
        data.read_label(trees.ids(tmp_path / "b_labelIds.png", 33), 11)
    assert data.read_label(trees.ids(tmp_path / "c_labelIds.png", 0), 19).min() == 255


def test_dark_zurich_parts(tmp_path: Path) -> None:
    trees.dark_zurich(tmp_path)
    expected = ["train/day", "train/night", "train/twilight", "val/night", "val_ref/day", "test/night", "test_ref/day"]
    assert [p.name for p in sets.parts("dark-zurich", tmp_path)] == expected
    for part in expected:
        found = sets.read("dark-zurich", tmp_path, part)
        assert len(found.items) == 2
        assert all((i.label is not None) == (part == "val/night") for i in found.items)
    item = sets.read("dark-zurich", tmp_path, "val/night").items[0]
    assert dark_zurich.ground_truth(item.image, "labelTrainIds") == item.label
    assert dark_zurich.ground_truth(item.image, "invGray").name == "GOPR0356_frame_000001_gt_invGray.png"
    with pytest.raises(ValueError, match="labelColour is no ground truth"):
        dark_zurich.ground_truth(item.image, "labelColour")
    with pytest.raises(ValueError, match="rgb_anon"):
        dark_zurich.ground_truth(tmp_path / "a.png", "labelIds")


def test_downloads_may_lie_side_by_side(tmp_path: Path) -> None:
    trees.dark_zurich(tmp_path / "Dark_Zurich_val_anon", 1)
    assert len(sets.read("dark-zurich", tmp_path, "val/night").items) == 1
    with pytest.raises(FileNotFoundError, match=r"test/night; it is in Dark_Zurich_test_anon_withoutGt\.zip"):
        sets.read("dark-zurich", tmp_path, "test/night")


def test_a_missing_label_is_named(tmp_path: Path) -> None:
    trees.dark_zurich(tmp_path, 1)
    for file in (tmp_path / "gt").rglob("*Ids.png"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no label of .*GOPR0356_frame_000001_rgb_anon\.png"):
        sets.read("dark-zurich", tmp_path, "val/night")


def test_nighttime_driving(tmp_path: Path) -> None:
    root = tmp_path / "NighttimeDrivingTest"
    trees.colour(root / "leftImg8bit/test/night/0_frame_1831_leftImg8bit.png")
    trees.ids(root / "gtCoarse_daytime_trainvaltest/test/night/0_frame_1831_gtCoarse_labelIds.png", 7)
    for place in (root, tmp_path):
        found = sets.read("nighttime-driving", place, "test")
        assert data.read_label(label(found.items[0]), 19)[1, 1] == 0


def test_acdc(tmp_path: Path) -> None:
    trees.colour(tmp_path / "rgb_anon/snow/train/GP1/GP1_frame_1_rgb_anon.png")
    trees.colour(tmp_path / "rgb_anon/snow/train_ref/GP1/GP1_frame_1_rgb_ref_anon.png")
    trees.ids(tmp_path / "gt/snow/train/GP1/GP1_frame_1_gt_labelTrainIds.png", 3)
    trees.colour(tmp_path / "rgb_anon/snow/test/GP2/GP2_frame_1_rgb_anon.png")
    assert len(sets.parts("acdc", tmp_path)) == 24
    assert label(sets.read("acdc", tmp_path, "snow/train").items[0]).name == "GP1_frame_1_gt_labelTrainIds.png"
    assert names(sets.read("acdc", tmp_path, "snow/train_ref")) == ["GP1_frame_1_rgb_ref_anon.png"]
    assert sets.read("acdc", tmp_path, "snow/test").items[0].label is None


@pytest.mark.parametrize(
    ("name", "value"), [("a_labelIds", 26), ("a_trainIds", 13), ("a_labelTrainIds", 13), ("a", 13)]
)
def test_nightcity(tmp_path: Path, name: str, value: int) -> None:
    trees.colour(tmp_path / "images/val/a.png")
    trees.ids(tmp_path / f"label/val/{name}.png", value)
    assert data.read_label(label(sets.read("nightcity", tmp_path, "val").items[0]), 19)[1, 1] == 13


def test_bdd100k_by_night(tmp_path: Path) -> None:
    for n in ("a", "b", "c"):
        trees.colour(tmp_path / f"images/10k/val/{n}.jpg")
        trees.ids(tmp_path / f"labels/sem_seg/masks/val/{n}.png")
        trees.colour(tmp_path / f"images/100k/train/{n}.jpg")
    text = tmp_path / "night.txt"
    text.write_text("# night\nval/c.jpg\na\n", encoding="utf-8")
    tree = [{"name": f"{n}.jpg", "attributes": {"timeofday": t}} for n, t in (("b", "night"), ("a", "daytime"))]
    labels = tmp_path / "det.json"
    labels.write_text(json.dumps(tree), encoding="utf-8")
    assert names(sets.read("bdd100k-night", tmp_path, "10k/val", text)) == ["a.jpg", "c.jpg"]
    assert names(sets.read("bdd100k-night", tmp_path, "100k/train", labels)) == ["b.jpg"]
    with pytest.raises(ValueError, match="--frames"):
        sets.read("bdd100k-night", tmp_path, "10k/val")
    text.write_text("nothing.jpg\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"night\.txt names no picture"):
        sets.read("bdd100k-night", tmp_path, "10k/val", text)
    labels.write_text('{"name": 1}', encoding="utf-8")
    with pytest.raises(ValueError, match="no list of frames"):
        sets.read("bdd100k-night", tmp_path, "10k/val", labels)


def test_folders_of_camvid_and_msrs(tmp_path: Path) -> None:
    for split in ("day_train", "night_test_proxy"):
        trees.colour(tmp_path / split / "images/x.jpg")
        trees.ids(tmp_path / split / "labels/x.png", 1)
    trees.colour(tmp_path / "unlabelled/images/x.png")
    assert sets.read("camvid", tmp_path, "day_train").names == NAMES
    assert sets.read("msrs", tmp_path, "night_test_proxy").names == MSRS_NAMES
    assert sets.read("msrs", tmp_path, "unlabelled").items[0].label is None
    assert names(sets.read("camvid", tmp_path / "day_train", "all")) == ["x.jpg"]
    with pytest.raises(ValueError, match="has no part dusk; there are day_train, night_test_proxy, unlabelled"):
        sets.read("camvid", tmp_path, "dusk")
    with pytest.raises(ValueError, match="no set nought"):
        sets.parts("nought", tmp_path)


def test_palette_labels_give_their_indices(tmp_path: Path) -> None:
    path = trees.ids(tmp_path / "a.png", 5)
    with Image.open(path) as grey:
        palette = Image.frombytes("P", grey.size, grey.tobytes())
    palette.putpalette([7, 8, 9] * 256)
    palette.save(path)
    assert np.unique(data.read_label(path, 11)).tolist() == [5, 255]
