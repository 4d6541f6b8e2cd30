"""Scores by brightness."""

from __future__ import annotations

import numpy as np
import pytest

from nightseg_train import metrics


def matrix(hit: int) -> metrics.Matrix:
    """Return ten pixels of class 0, hit of them right; the rest are called class 1."""
    return np.array([[hit, 10 - hit, 0], [0, 0, 0]], np.int64)


def test_luma_by_hand() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0], picture[0, 1], picture[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert metrics.mean_luma(picture) == pytest.approx(255 / 4)
    assert metrics.mean_luma(picture[:1, :1]) == pytest.approx(0.299 * 255)
    with pytest.raises(ValueError, match="luminance"):
        metrics.mean_luma(picture[..., 0])


def test_quarters_from_the_darkest_on() -> None:
    lumas = [float((5 * i) % 17) for i in range(1, 17)]  # 1..16 in another order
    got = metrics.quartiles([matrix(int(v) % 4 + 2 * (int(v) > 8)) for v in lumas], lumas)
    assert [q.luma for q in got] == pytest.approx([2.5, 6.5, 10.5, 14.5])
    assert [q.score.frames for q in got] == [4, 4, 4, 4]
    # hits of four frames: 1 + 2 + 3 + 0 = 6 of 40, and 8 more in the brighter half
    assert [q.score.miou for q in got] == pytest.approx([15, 15, 35, 35])
    wide = metrics.quartiles([matrix(5)] * 16, lumas, over="labels_or_predictions")
    assert [q.score.miou for q in wide] == pytest.approx([25] * 4)


def test_uneven_numbers_and_equal_lumas() -> None:
    got = metrics.quartiles([matrix(i % 11) for i in range(18)], [7.0] * 18)
    assert [q.score.frames for q in got] == [4, 5, 4, 5]
    assert got[0].score.miou == pytest.approx(100 * (0 + 1 + 2 + 3) / 40)  # in the order given


def test_few_frames_give_none() -> None:
    assert metrics.quartiles([matrix(1)] * 15, [0.0] * 15) == ()
    with pytest.raises(ValueError, match="lumas"):
        metrics.quartiles([matrix(1)] * 16, [0.0] * 15)
