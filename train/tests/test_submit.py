"""The packer for the server: what the zip holds, equal bytes, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import trees
from nightseg_train import __main__ as program
from nightseg_train import submit

FULL = (1080, 1920)
STEMS = [f"GOPR0364_frame_{i:06d}" for i in (1, 2)]


def masks(folder: Path, end: str = "_rgb_anon.png", value: int = 3) -> Path:
    for stem in STEMS:
        trees.ids(folder / f"night/GOPR0364/{stem}{end}", value, FULL)
    return folder


def test_the_zip_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = masks(tmp_path / "masks"), tmp_path / "out/a.zip"
    trees.colour(folder / f"night/GOPR0364/{STEMS[0]}_rgb_anon_color.png")
    assert program.main(["submit", "--predictions", str(folder), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["pictures"] == 2
    assert "2 pictures, but the test set has 151" in said.err
    with zipfile.ZipFile(out) as packed:
        expected = [f"{f}/{s}_rgb_anon.png" for s in STEMS for f in (submit.LABELS, submit.INVALID, submit.CONFIDENCE)]
        assert packed.namelist() == expected
        first = (folder / f"night/GOPR0364/{STEMS[0]}_rgb_anon.png").read_bytes()
        assert packed.read(expected[0]) == packed.read(expected[1]) == first
        with packed.open(expected[2]) as file, Image.open(file) as black:
            assert (black.size, black.mode, black.getextrema()) == (submit.SIZE, "L", (0, 0))


def test_same_input_same_bytes(tmp_path: Path) -> None:
    digests: list[str] = []
    for n in ("a", "b"):
        folder = masks(tmp_path / n)
        for file in folder.rglob("*.png"):
            os.utime(file, (1e9 + len(digests) * 1e6,) * 2)
        submit.pack(folder, tmp_path / f"{n}.zip")
        digests.append(hashlib.sha256((tmp_path / f"{n}.zip").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_names_folders_and_the_test_set(tmp_path: Path) -> None:
    trees.dark_zurich(tmp_path / "dz")
    found = submit.pack(
        masks(tmp_path / "m", ".png"),
        tmp_path / "a.zip",
        masks(tmp_path / "i", "_gt_labelTrainIds.png", 255),
        masks(tmp_path / "c", value=200),
        tmp_path / "dz",
        "strip",
    )
    assert found.pictures == 2
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        assert f"confidence/{STEMS[1]}.png" in packed.namelist()
        with packed.open(f"labelTrainIds_invalid/{STEMS[1]}.png") as file, Image.open(file) as marked:
            assert marked.getextrema() == (255, 255)
    next((tmp_path / "m").rglob("*000002.png")).unlink()
    with pytest.raises(ValueError, match="predictions: 1 missing, such as GOPR0364_frame_000002; predict all 2"):
        submit.pack(tmp_path / "m", tmp_path / "b.zip", root=tmp_path / "dz")
    with pytest.raises(ValueError, match="confidence: 1 too many"):
        submit.pack(tmp_path / "m", tmp_path / "b.zip", confidence=tmp_path / "c")
    assert not (tmp_path / "b.zip").exists()


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m/a.png"
    with pytest.raises(FileNotFoundError, match=r"no \*\.png"):
        submit.pack(tmp_path / "m", tmp_path / "x.zip")
    for values, said in (
        (np.zeros((*FULL, 3), np.uint8), r"a\.png is PNG of the mode RGB; write train ids, not colours"),
        (np.zeros((540, 960), np.uint8), "is 960x540; enlarge it to 1920x1080"),
        (np.full(FULL, 19, np.uint8), "holds 19; write Cityscapes train ids 0 to 18 or 255"),
    ):
        trees.save(path, values)
        with pytest.raises(ValueError, match=said):
            submit.pack(tmp_path / "m", tmp_path / "x.zip")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"a\.png cannot be read"):
        submit.pack(tmp_path / "m", tmp_path / "x.zip")
    trees.ids(tmp_path / "m/b.png", 0, FULL)
    trees.ids(tmp_path / "m/other/b_rgb_anon.png", 0, FULL)
    with pytest.raises(ValueError, match="the same picture"):
        submit.predictions(tmp_path / "m")


def test_confidence_of_16_bits(tmp_path: Path) -> None:
    trees.save(tmp_path / "a.png", np.full(FULL, 40000, np.uint16))
    submit.check_confidence(tmp_path / "a.png")
    with pytest.raises(ValueError, match="mode I;16"):
        submit.check_mask(tmp_path / "a.png")
