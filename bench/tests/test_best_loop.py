"""The fastest Python loop, on the small bundle that the Go tests use: its masks are those of the plain one."""

import argparse
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import python_loop as plain
from pictures import TINY, draw

best = pytest.importorskip("best_loop", reason="openvino and isal are there on x86-64 only")


def arguments(images: Path, *more: str) -> argparse.Namespace:
    given: argparse.Namespace = best.parser().parse_args([str(images), "--bundle", str(TINY), "--threads", "1", *more])
    return given


@pytest.mark.parametrize("relight", ["network", "none"])
@pytest.mark.parametrize("std", ["0", "0.4"])
def test_masks_are_those_of_the_plain_loop(tmp_path: Path, relight: str, std: str) -> None:
    images = draw(tmp_path / "in", 5)
    more = ("--precision", "fp32", "--relight", relight, "--std", std)
    got = best.play(arguments(images, *more, "--frames", "7", "--streams", "2", "--masks", str(tmp_path / "out")))
    want = plain.play(plain.parser().parse_args(
        [str(images), "--bundle", str(TINY), "--frames", "7", "--relight", relight, "--std", std]
    ))  # fmt: skip
    assert got["frames"] == want["frames"] == 7
    assert got["masks_sha256"] == want["masks_sha256"]
    found = sorted((tmp_path / "out").iterdir())
    assert len(found) == 7
    picture = Image.open(found[6])
    assert json.loads(picture.info["nightseg"])["seq"] == 6
    assert picture.mode == "P" and picture.size == (48, 32)


def test_a_png_holds_the_mask_and_the_palette() -> None:
    bundle = plain.load_bundle(TINY)
    mask = np.random.default_rng(1).integers(0, 3, (32, 48)).astype(np.uint8)
    picture = Image.open(io.BytesIO(best.encode(mask, bundle, {"seq": 3})))
    assert np.array_equal(np.asarray(picture), mask)
    palette = picture.getpalette()
    assert palette is not None and bytes(palette[:9]) == bundle.palette[:9]


def test_a_fault_of_a_thread_ends_the_loop(tmp_path: Path) -> None:
    images = draw(tmp_path / "in", 3)
    (images / "2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"2\.png: not a picture"):
        best.play(arguments(images))
    images = draw(tmp_path / "other", 12)
    out = tmp_path / "out"
    args = arguments(images, "--masks", str(out))
    out.mkdir()
    (out / "000001_mask.png").mkdir()
    with pytest.raises(IsADirectoryError):
        best.play(args)
