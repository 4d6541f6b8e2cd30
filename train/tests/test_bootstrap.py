"""The block bootstrap: widths, pairing, repeatability, coverage."""

from __future__ import annotations

import numpy as np
import pytest

from nightseg_train.metrics import Bootstrap, Interval, Matrix, auto_block, mean_iou


def frames(seed: int, n: int, run: int = 1) -> list[Matrix]:
    """Return a two-class matrix of 100 pixels per frame; right with a chance that is kept for run frames."""
    rng = np.random.default_rng(seed)
    chance = np.repeat(0.4 + 0.4 * rng.random(-(-n // run)), run)[:n]
    out = []
    for p in chance:
        a, b = rng.binomial(50, p, 2)
        out.append(np.array([[a, 50 - a, 0], [50 - b, b, 0]], np.int64))
    return out


def accuracy(m: Matrix) -> float:
    return float(np.trace(m[:, :-1]) / m.sum())


def test_identical_frames_have_no_width() -> None:
    (one,) = frames(0, 1)
    assert Bootstrap(times=50).interval([one] * 7) == Interval(mean_iou(one), mean_iou(one))


def test_counts_are_blocks_that_wrap() -> None:
    counts = Bootstrap(block=3, times=40).counts(3)
    assert (counts == 1).all()  # one block of all, wherever it starts
    counts = Bootstrap(block=4, times=200).counts(10)
    assert counts.shape == (200, 10) and (counts.sum(1) == 10).all()
    first = Bootstrap(block=5, times=300).counts(5000)[:, 0].mean()
    assert first == pytest.approx(1, abs=0.3)  # the ends of the set are as likely as its middle


def test_two_frames_by_hand() -> None:
    good, bad = np.array([[4, 0, 0], [0, 4, 0]]), np.array([[0, 4, 0], [4, 0, 0]])
    # a resample is both good, both bad or one of each: IoU 100, 0, or 4 of 12
    got = Bootstrap(block=1, times=500).interval([good, bad])
    assert got == Interval(0.0, 100.0)
    values = {mean_iou(good + good), mean_iou(bad + bad), mean_iou(good + bad)}
    assert sorted(values) == pytest.approx([0, 100 / 3, 100])


def test_same_seed_same_bytes() -> None:
    f = frames(1, 20)
    a = Bootstrap(seed=1, times=100)
    assert a.counts(20).tobytes() == a.counts(20).tobytes()
    assert a.interval(f) == Bootstrap(seed=1, times=100).interval(f)
    assert a.interval(f) != Bootstrap(seed=2, times=100).interval(f)


def test_a_system_does_not_differ_from_itself() -> None:
    f = frames(2, 30)
    assert Bootstrap(times=100).difference(f, f) == Interval(0.0, 0.0)


def test_difference_is_paired_and_mirrored() -> None:
    a = frames(3, 32)
    better = [m + np.array([[10, -10, 0], [0, 0, 0]]) for m in a if m[0, 1] >= 10]
    a = [m for m in a if m[0, 1] >= 10]
    b = Bootstrap(times=300)
    up, down = b.difference(better, a, accuracy), b.difference(a, better, accuracy)
    assert (up.low, up.high) == pytest.approx((0.1, 0.1))  # ten pixels of a hundred in each frame, whatever is drawn
    assert (up.low, up.high) == pytest.approx((-down.high, -down.low))
    assert b.interval(a, accuracy).high - b.interval(a, accuracy).low > 0.02


def test_blocks_widen_where_neighbours_are_alike() -> None:
    f = frames(4, 64, run=8)
    one, eight = (Bootstrap(block=k, times=500).interval(f, accuracy) for k in (1, 8))
    assert eight.high - eight.low > 1.5 * (one.high - one.low)


@pytest.mark.parametrize("run", [1, 4])
def test_interval_covers(run: int) -> None:
    world, sets = 0.6, 100  # the mean of the chances
    held = 0
    for seed in range(sets):
        got = Bootstrap(block=2 * run, times=100, seed=seed).interval(frames(1000 + seed, 64, run), accuracy)
        held += got.low <= world <= got.high
    assert 0.84 <= held / sets <= 0.99


def test_auto_block() -> None:
    want = {1: 1, 8: 2, 9: 3, 16: 3, 27: 3, 32: 4, 84: 5, 101: 5}
    assert {n: auto_block(n) for n in want} == want


def test_refuses_what_makes_no_sense() -> None:
    f = frames(5, 3)
    with pytest.raises(ValueError, match="paired"):
        Bootstrap().difference(f, f[:2])
    for frames_, b in (([], Bootstrap()), (f, Bootstrap(times=0)), (f, Bootstrap(block=-1))):
        with pytest.raises(ValueError, match="bootstrap"):
            b.interval(frames_)
