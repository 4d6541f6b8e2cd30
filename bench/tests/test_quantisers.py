"""The figures of quantisers.py against sums done by hand, and its work on networks that are made up."""

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import python_loop as plain
import quantiser_nets as nets
import quantiser_scores as scores
import quantisers
from pictures import TINY, draw


def test_confusion_leaves_out_what_is_not_labelled() -> None:
    rows = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
    columns = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
    counts = scores.confusion(rows, columns, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert scores.agreement(counts) == pytest.approx(60)
    assert scores.ious(counts) == pytest.approx([1 / 3, 2 / 3, 0])
    assert scores.miou(counts) == pytest.approx(100 / 3)
    with pytest.raises(ValueError, match="masks of"):
        scores.confusion(rows, columns[:1], 3)


def test_miou_is_over_the_classes_that_the_labels_hold() -> None:
    counts = np.array([[8, 0, 2], [0, 0, 0], [0, 0, 10]])
    assert scores.miou(counts) == pytest.approx(100 * (0.8 + 10 / 12) / 2)
    assert math.isnan(scores.miou(np.zeros((3, 3), np.int64)))


def test_worst_leaves_out_rare_classes() -> None:
    counts = np.diag([10000, 5000, 5]).astype(np.int64)
    counts[2, 1] = 2  # IoU 5 / 7 of 7 in 15007 pixels: too few
    counts[1, 0] = 1000
    name, lowest = scores.worst(counts, ["a", "b", "c"])
    assert name == "b" and lowest == pytest.approx(100 * 5000 / 6002)


def test_decibels() -> None:
    assert scores.decibels(1000, 10) == pytest.approx(20)
    assert scores.decibels(1, 0) == math.inf


def test_interval_of_a_difference() -> None:
    rng = np.random.default_rng(2)
    base = rng.integers(1, 100, (20, 3, 3))
    assert scores.interval(base, base) == (0.0, 0.0)
    better = base + 50 * np.eye(3, dtype=np.int64)
    low, high = scores.interval(better, base)
    assert 0 < low <= scores.miou(better.sum(0)) - scores.miou(base.sum(0)) <= high


def test_found_is_kept(tmp_path: Path) -> None:
    rng, bundle = np.random.default_rng(4), plain.load_bundle(TINY)
    weights = plain.class_weights(bundle.shares, 0).astype(np.float32)
    logits = rng.standard_normal((len(bundle.shares), 4, 6)).astype(np.float32)
    label = rng.integers(0, 3, (10, 20)).astype(np.uint8)
    truth = scores.View.of(logits, label, bundle, weights)
    own = scores.View.of(logits + np.float32(0.5), label, bundle, weights)
    assert truth.mask.shape == (10, 20) and np.array_equal(truth.mask, own.mask)
    found = scores.Found.empty("x", 2, len(bundle.shares))
    found.add(1, truth, own)
    found.save(tmp_path / "a.npz")
    again = scores.Found.load(tmp_path / "a.npz", "x", 2, len(bundle.shares))
    assert again.left.tolist() == [True, False]
    assert again.noise[1] == pytest.approx(logits.size / 4, rel=1e-5)
    assert again.signal[1] == pytest.approx(float((logits.astype(np.float64) ** 2).sum()))
    assert scores.agreement(again.float_counts[1]) == 100 and again.label_counts[1].sum() == 200
    assert scores.Found.load(tmp_path / "b.npz", "x", 2, 3).left.all()
    assert scores.Found.load(tmp_path / "a.npz", "y", 2, 3).left.all()  # of other pictures
    assert scores.digest([scores.Shot("a", Path("b"), at=1)]) != scores.digest([scores.Shot("a", Path("b"), at=2)])


def test_play_goes_through_pictures_and_labels(tmp_path: Path) -> None:
    files = plain.list_pictures(draw(tmp_path / "in", 3))
    Image.fromarray(np.full((32, 48), 7, np.uint8)).save(tmp_path / "label.png")
    shots = [scores.Shot("a", files[0], tmp_path / "label.png"), scores.Shot("b", files[2])]
    seen = dict(scores.play(shots, (32, 48)))
    assert sorted(seen) == [0, 1] and np.array_equal(seen[1], plain.read(files[2], (32, 48)))
    label = scores.label_of(shots[0])
    assert label is not None and label[0, 0] == 7 and scores.label_of(shots[1]) is None


def test_the_reader_gives_its_inputs_in_strides() -> None:
    inputs = [np.full((1, 3, 2, 2), i, np.float32) for i in range(4)]
    told: list[int] = []
    reader = nets.Reader("x", inputs, lambda: told.append(1))
    assert len(reader) == 4 and len(list(iter(reader.get_next, None))) == 4
    reader.set_range(1, 3)
    assert [int(f["x"][0, 0, 0, 0]) for f in iter(reader.get_next, None)] == [1, 2]
    assert len(told) == 6
    assert [nets.stride_of(n) for n in (40, 8, 7, 9, 11)] == [8, 8, 7, 3, 1]


@pytest.mark.parametrize("relit", [True, False])
def test_inputs_are_also_seen_the_other_way(relit: bool) -> None:
    bundle = dataclasses.replace(plain.load_bundle(TINY), relit=relit)
    shown = nets.Shown(bundle, 1)
    rng = np.random.default_rng(5)
    frames = [rng.integers(0, 256, (*bundle.shape, 3), dtype=np.uint8) for _ in range(5)]
    inputs = shown.inputs(frames)
    assert len(inputs) == 7
    session = nets.Session(bundle.folder / bundle.graphs["segment"]["files"]["fp32"]["file"], "cpu", 1)
    assert np.array_equal(session.logits(inputs[0]), plain.Networks(bundle, 1, relit).logits(frames[0]))
    assert np.array_equal(session.logits(inputs[1]), plain.Networks(bundle, 1, not relit).logits(frames[0]))


def figure(mean: float) -> dict[str, float]:
    return {"mean": mean}


def test_ours_is_held_against_the_best_that_is_as_fast() -> None:
    of = {w.key: figure(60.0) for w in nets.WAYS} | {"ort-entropy": figure(61.0), "nncf-ir": figure(60.2)}
    shares = {w.key: 0.5 for w in nets.WAYS if not w.openvino_only} | {"ort-entropy": 0.6}
    times = {"cpu": {"shares": shares}, "openvino": {"shares": {w.key: 0.5 for w in nets.WAYS}}}
    limits = quantisers.judge(of, times)
    assert len(limits) == 4 and quantisers.DEFAULT in limits
    assert all("nncf-ir" in one.what and one.holds for one in limits.values())
    shares["ort-entropy"] = 0.5
    assert all("ort-entropy" in one.what and not one.holds for one in quantisers.judge(of, times).values())


class Slow:
    """A network that only takes time."""

    def logits(self, x: plain.Floats) -> plain.Floats:
        """Return what it is given."""
        return x


def test_networks_take_turns() -> None:
    got = quantisers.take_turns({"float": Slow(), "a": Slow()}, np.zeros(3, np.float32), 4)  # type: ignore[dict-item]
    assert got["shares"]["float"] == 1 and set(got["shares"]) == {"float", "a"} and got["float_ms"] >= 0


@pytest.mark.parametrize("key", ["ort-minmax", "ort-percentile", "ort-entropy", "nncf-onnx", "nncf-ir"])
def test_the_others_make_networks(tmp_path: Path, key: str) -> None:
    way = next(w for w in nets.WAYS if w.key == key)
    if way.program == nets.NNCF and "openvino" not in nets.available():
        pytest.skip("NNCF and OpenVINO are there on x86-64 only")
    bundle = plain.load_bundle(TINY)
    rng = np.random.default_rng(6)
    shown = nets.Shown(bundle, 1)
    inputs = shown.inputs([rng.integers(0, 256, (*bundle.shape, 3), dtype=np.uint8) for _ in range(4)])
    ready = nets.prepared(bundle, tmp_path / "ready.onnx")
    make = nets.by_nncf if way.program == nets.NNCF else nets.by_onnxruntime
    make(way, ready, inputs, tmp_path / way.file)
    whole = nets.Session(ready, "cpu", 1).logits(inputs[0])
    own = nets.Session(tmp_path / way.file, "openvino" if way.openvino_only else "cpu", 1).logits(inputs[0])
    assert own.shape == whole.shape and not np.array_equal(own, whole)
    assert scores.decibels(float((whole**2).sum()), float(((own - whole) ** 2).sum())) > 5


def test_fewer_night_frames_are_taken_evenly() -> None:
    shots = [scores.Shot("day_val", Path("a"))] + [scores.Shot(quantisers.NIGHT, Path(f"{i}")) for i in range(9)]
    job = quantisers.Job.__new__(quantisers.Job)
    job.args = argparse.Namespace(night=3)
    assert np.flatnonzero(job.wanted(shots)).tolist() == [0, 1, 4, 7]
    job.args = argparse.Namespace(night=0)
    assert job.wanted(shots).all()
