"""UIoU against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nightseg_train import metrics
from nightseg_train.classes import IGNORE
from nightseg_train.metrics.uiou import INVALID

LABEL = np.array([[0, 0, 0, 0, 1, 1, 1, IGNORE]], np.uint8)
DARK = np.array([[0, 1, 1, 0, 0, 1, 1, 1]], bool)
SAID = np.array([[0, INVALID, 1, INVALID, 1, 0, 1, INVALID]], np.uint8)


def test_by_hand() -> None:
    c = metrics.uncertain_counts(LABEL, DARK, SAID, 3)
    assert [v.tolist() for v in (c.tp, c.fp, c.fn, c.ti, c.fi)] == [
        [1, 2, 0],
        [1, 1, 0],
        [1, 1, 0],
        [1, 0, 0],
        [1, 0, 0],
    ]
    got = metrics.score_uncertain(c, 1)
    # class 0: (1 + 1) of 1 + 1 + 1 + 1 + 1; class 1: 2 of 2 + 1 + 1; class 2 is absent
    assert got.per_class[:2] == pytest.approx((40, 50))
    assert np.isnan(got.per_class[2])
    assert got.miou == pytest.approx(45)


def test_no_invalid_prediction_gives_iou() -> None:
    rng = np.random.default_rng(0)
    label, said = (rng.integers(0, 4, (6, 8)).astype(np.uint8) for _ in range(2))
    label[0, :3] = IGNORE
    dark = rng.random((6, 8)) < 0.5
    got = metrics.score_uncertain(metrics.uncertain_counts(label, dark, said, 4), 1)
    want = metrics.score_pairs([(label, said)], 4)
    assert got.per_class == pytest.approx(want.per_class)
    assert got.miou == pytest.approx(want.miou)


def test_giving_up_where_it_is_dark_pays_for_wrong_classes_only() -> None:
    dark = np.ones((1, 2), bool)
    label, wrong, right, none = (np.full((1, 2), v, np.uint8) for v in (0, 1, 0, INVALID))

    def score(said: metrics.Mask, mask: np.typing.NDArray[np.bool_]) -> float:
        return metrics.score_uncertain(metrics.uncertain_counts(label, mask, said, 2), 1).miou

    assert [score(v, dark) for v in (wrong, none, right)] == [0, 100, 100]
    assert [score(v, ~dark) for v in (wrong, none, right)] == [0, 0, 100]


def test_frames_add_up() -> None:
    c = metrics.uncertain_counts(LABEL, DARK, SAID, 3)
    twice = c + c
    assert twice.ti.tolist() == [2, 0, 0] and twice.fp.tolist() == [2, 2, 0]
    assert metrics.score_uncertain(twice, 2).miou == pytest.approx(45)


def test_threshold() -> None:
    classes, sure = np.array([[0, 1, 2]], np.uint8), np.array([[0.3, 0.5, 0.9]])
    assert metrics.confident(classes, sure, 0.5).tolist() == [[INVALID, 1, 2]]  # below, not at
    assert metrics.confident(classes, sure, 0.25).tolist() == classes.tolist()


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="uiou"):
        metrics.uncertain_counts(LABEL, DARK[:, :3], SAID, 3)
    with pytest.raises(ValueError, match="label 1"):
        metrics.uncertain_counts(LABEL, DARK, SAID, 1)
    with pytest.raises(ValueError, match="prediction 7"):
        metrics.uncertain_counts(LABEL, DARK, np.full_like(SAID, 7), 3)
    with pytest.raises(ValueError, match="uiou"):
        metrics.confident(SAID, np.zeros((2, 2)), 0.5)
