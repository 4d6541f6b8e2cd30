"""Readers: order, layouts, and the resize that the program in the vehicle shares to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import ROOT
from nightseg_train import data

VECTORS = ROOT / "camera/fit/testdata"


def rgb(path: Path) -> data.Picture:
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert bgr is not None, path
    return np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)


def plain_cases() -> list[dict[str, object]]:
    cases = json.loads((VECTORS / "cases.json").read_text(encoding="utf-8"))
    same = {"fit": "stretch", "filter": "bilinear", "antialias": True, "rotate": 0, "flip_h": False, "flip_v": False}
    return [c for c in cases if all(c[k] == v for k, v in same.items())]


def test_resize_equals_the_vectors_of_camera_fit() -> None:
    cases = plain_cases()
    assert len(cases) >= 5
    for c in cases:
        got = data.resize(rgb(VECTORS / str(c["input"])), (int(str(c["h"])), int(str(c["w"]))))
        assert np.array_equal(got, rgb(VECTORS / str(c["output"]))), c["name"]


def save(path: Path, value: int, size: tuple[int, ...] = (6, 8, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(size, value, np.uint8))


def test_natural_order_and_labels(tmp_path: Path) -> None:
    for n in (10, 2, 1):
        save(tmp_path / "images" / f"f_{n}.png", n)
        save(tmp_path / "labels" / f"f_{n}.png", 3, (6, 8))
    items = data.list_camvid(tmp_path)
    assert [i.image.name for i in items] == ["f_1.png", "f_2.png", "f_10.png"]
    assert items[0].label is not None
    assert data.read_label(items[0].label, 11).max() == 3
    (tmp_path / "labels/f_2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"f_2\.png"):
        data.list_camvid(tmp_path)


def test_dark_zurich_layout(tmp_path: Path) -> None:
    for sequence in ("b", "a"):
        for n in (2, 1):
            stem = f"{sequence}_frame_{n:06d}"
            save(tmp_path / f"rgb_anon/train/night/{sequence}/{stem}_rgb_anon.png", n)
            save(tmp_path / f"gt/train/night/{sequence}/{stem}_gt_labelTrainIds.png", 1, (6, 8))
    items = data.list_dark_zurich(tmp_path, "train", "night")
    names = [i.image.stem.removesuffix("_rgb_anon") for i in items]
    assert names == ["a_frame_000001", "a_frame_000002", "b_frame_000001", "b_frame_000002"]
    with pytest.raises(FileNotFoundError, match="dusk"):
        data.list_dark_zurich(tmp_path, "train", "dusk")


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "not.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"not\.png"):
        data.read_image(tmp_path / "not.png")
    save(tmp_path / "label.png", 12, (6, 8))
    with pytest.raises(ValueError, match="12, which is no class"):
        data.read_label(tmp_path / "label.png", 11)
    save(tmp_path / "colour.png", 1)
    with pytest.raises(ValueError, match=r"colour\.png is not"):
        data.read_label(tmp_path / "colour.png", 11)
    with pytest.raises(FileNotFoundError, match="no folder"):
        data.list_folder(tmp_path / "none")


def test_red_stays_red(tmp_path: Path) -> None:
    red = np.zeros((480, 640, 3), np.uint8)
    red[:, :, 2] = 255  # OpenCV writes blue, green, red
    cv2.imwrite(str(tmp_path / "red.png"), red)
    assert data.read_image(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]
