"""The plain Python loop, on the small bundle that the Go tests use."""

import argparse
import hashlib
import io
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import compare
import python_loop as plain
from pictures import TINY, draw


def arguments(images: Path, *more: str) -> argparse.Namespace:
    return plain.parser().parse_args([str(images), "--bundle", str(TINY), *more])


def test_weights_are_those_of_the_paper() -> None:
    shares = [0.5, 0.3, 0.2]
    raw = [-np.log(a) for a in shares]
    mean = sum(raw) / 3
    sd = (sum((v - mean) ** 2 for v in raw) / 2) ** 0.5
    want = [(v - mean) / sd * 0.16 + 1 for v in raw]
    assert np.allclose(plain.class_weights(shares, 0.16), want)
    assert np.array_equal(plain.class_weights([0.25] * 4, 0.9), np.ones(4))
    with pytest.raises(ValueError, match="reaches 0"):
        plain.class_weights(shares, 5)


def test_golden_mask_comes_out() -> None:
    """The bundle's golden picture gives its golden mask: decoding, relighting, network, and enlarging are right."""
    bundle = plain.load_bundle(TINY)
    rgb = plain.read(TINY / "golden/image.png", bundle.shape)
    want = np.asarray(Image.open(TINY / "golden/mask.fp32.png"))
    manifest = json.loads((TINY / "bundle.json").read_text())
    weights = plain.class_weights(bundle.shares, bundle.reweight).astype(np.float32)
    logits = plain.Networks(bundle, 1, relight=True).logits(rgb)
    raw = np.frombuffer((TINY / manifest["golden"]["outputs"]["fp32"]["logits"]["file"]).read_bytes(), "<f4")
    assert np.allclose(raw.reshape(logits.shape), logits, atol=1e-4)
    assert any(np.array_equal(plain.decide(logits, bundle, w), want) for w in (weights, np.ones_like(weights)))


def test_decision_is_bilinear_with_half_pixels() -> None:
    bundle = plain.load_bundle(TINY)
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((3, 4, 6)).astype(np.float32)
    full = plain.enlarge(logits, bundle, np.exp(np.array([0.5, 0, 0], np.float32)))
    assert full.shape == (32, 48, 3)
    logits[0] += 0.5
    for y, x in [(0, 0), (31, 47), (13, 29), (4, 4), (20, 11)]:
        v, u = (y + 0.5) / 8 - 0.5, (x + 0.5) / 8 - 0.5
        i, j = int(np.floor(v)), int(np.floor(u))
        a, b = v - i, u - j
        i0, i1 = np.clip([i, i + 1], 0, 3)
        j0, j1 = np.clip([j, j + 1], 0, 5)
        top = (1 - b) * logits[:, i0, j0] + b * logits[:, i0, j1]
        low = (1 - b) * logits[:, i1, j0] + b * logits[:, i1, j1]
        assert np.allclose(full[y, x], (1 - a) * top + a * low, atol=1e-5)


@pytest.mark.parametrize("mode", ["probability", "logit"])
def test_decision_is_bilinear_with_corners_on_corners(mode: str) -> None:
    bundle = replace(plain.load_bundle(TINY), align_corners=True, mode=mode)
    logits = (
        np.random.default_rng(0).standard_normal((3, 5, 7)).astype(np.float32)
    )  # a point more than the stride gives
    weights = np.array([1.5, 1, 0.75], np.float32)
    full = plain.enlarge(logits, bundle, weights)
    assert full.shape == (32, 48, 3) and full.dtype == np.float32
    factor = weights[:, None, None]
    weighted = logits * factor if mode == "logit" else logits + np.log(factor)
    for y, x in [(0, 0), (31, 47), (0, 47), (13, 29), (20, 11)]:
        v, u = y * 4 / 31, x * 6 / 47
        i, j = min(int(v), 3), min(int(u), 5)
        a, b = v - i, u - j
        top = (1 - b) * weighted[:, i, j] + b * weighted[:, i, j + 1]
        low = (1 - b) * weighted[:, i + 1, j] + b * weighted[:, i + 1, j + 1]
        assert np.allclose(full[y, x], (1 - a) * top + a * low, atol=1e-5)


def test_hash_is_the_one_of_taps_go() -> None:
    mask = np.array([[1, 2, 3], [255, 0, 9]], np.uint8)
    h = plain.MaskHash()
    h.add(7, mask)
    assert h.hexdigest() == hashlib.sha256(struct.pack("<QII", 7, 3, 2) + bytes([1, 2, 3, 255, 0, 9])).hexdigest()


def test_message_is_a_palette_png_with_the_classes_as_indices() -> None:
    bundle = plain.load_bundle(TINY)
    mask = np.arange(32 * 48, dtype=np.uint8).reshape(32, 48) % 3
    img = Image.open(io.BytesIO(plain.encode(mask, bundle, {"seq": 4})))
    assert img.mode == "P"
    assert np.array_equal(np.asarray(img), mask)
    assert json.loads(img.info["nightseg"]) == {"seq": 4}
    colours = json.loads((TINY / "bundle.json").read_text())["classes"]
    assert list((img.getpalette() or [])[:9]) == [v for c in colours for v in c["colour"]]


def test_order_is_natural(tmp_path: Path) -> None:
    for name in ("10.png", "9.png", "a2.png", "a10.jpg", "note.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in plain.list_pictures(tmp_path)] == ["9.png", "10.png", "a2.png", "a10.jpg"]
    with pytest.raises(ValueError, match="holds no"):
        plain.list_pictures(tmp_path.parent)


def test_loop_plays_round_and_compares_equal_with_itself(tmp_path: Path) -> None:
    images = draw(tmp_path / "in", 3, (64, 48))  # another size than the network's
    once = plain.play(arguments(images, "--masks", str(tmp_path / "out")))
    again = plain.play(arguments(images, "--frames", "7"))
    assert (once["frames"], again["frames"]) == (3, 7)
    assert once["masks_sha256"] == plain.play(arguments(images))["masks_sha256"] != again["masks_sha256"]
    bundle = plain.load_bundle(TINY)
    found = compare.compare(images, tmp_path / "out", bundle, bundle.reweight, True, 1)
    assert (found.frames, found.equal_frames, found.gap_most) == (3, 3, 0.0)
    other = compare.compare(images, tmp_path / "out", bundle, 0.3, True, 1)
    assert other.unequal_most > 0
    assert other.gap_most > compare.TIE, "other class weights are no tie"


def test_gap_of_a_tie_and_of_an_error() -> None:
    full = np.zeros((1, 2, 3), np.float32)
    full[0, 0], full[0, 1] = [1, 1 + 1e-6, -1], [1, 0, -1]
    same = np.array([[1, 0]], np.uint8)
    assert compare.gap(full, same, same) == 0
    assert compare.gap(full, same, np.array([[0, 0]], np.uint8)) < compare.TIE
    assert compare.gap(full, same, np.array([[1, 2]], np.uint8)) == pytest.approx(1)
    assert compare.gap(full, same, np.array([[1, 255]], np.uint8)) == 1


def test_bundle_that_this_loop_does_not_know(tmp_path: Path) -> None:
    doc = json.loads((TINY / "bundle.json").read_text())
    doc["align_corners"] = True
    doc["reweight"]["mode"] = "logit"
    (tmp_path / "bundle.json").write_text(json.dumps(doc))
    assert plain.load_bundle(tmp_path).align_corners
    doc["resize"]["fit"] = "crop"
    (tmp_path / "bundle.json").write_text(json.dumps(doc))
    with pytest.raises(ValueError, match=r"resize\.fit is 'crop'"):
        plain.load_bundle(tmp_path)
