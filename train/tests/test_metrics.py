"""mIoU against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nightseg_train import metrics


def ids(*rows: list[int]) -> metrics.Mask:
    return np.array(rows, np.uint8)


def test_by_hand() -> None:
    label, predicted = ids([0, 0, 1, 1], [0, 255, 1, 2]), ids([0, 1, 1, 1], [0, 2, 0, 2])
    got = metrics.score_pairs([(label, predicted)], 4)
    # class 0: 2 hits of 4 in the union; class 1: 2 of 4; class 2: 1 of 1; class 3 is absent
    assert got.per_class[:3] == pytest.approx((50, 50, 100))
    assert np.isnan(got.per_class[3])
    assert got.miou == pytest.approx(200 / 3)


def test_absent_class_and_unknown_cost_the_true_class_only() -> None:
    got = metrics.score_pairs([(ids([0, 0, 1, 1]), ids([0, 2, 1, 255]))], 3)
    assert got.per_class[:2] == pytest.approx((50, 50))
    assert got.miou == pytest.approx(50)


def test_the_other_rule_counts_classes_that_only_predictions_hold() -> None:
    pair = (ids([0, 0, 1, 1]), ids([0, 2, 1, 255]))
    got = metrics.score_pairs([pair], 4, over="labels_or_predictions")
    # class 2 is predicted once and never labelled: 0 of 1; class 3 is in neither and stays out
    assert got.per_class[:3] == pytest.approx((50, 50, 0))
    assert np.isnan(got.per_class[3])
    assert got.miou == pytest.approx(100 / 3)
    matrix = metrics.confusion(*pair, 4)
    assert metrics.mean_iou(matrix) == pytest.approx(50)
    assert metrics.mean_iou(matrix, "labels_or_predictions") == pytest.approx(100 / 3)


def test_predictions_on_void_pixels_bring_no_class_in() -> None:
    got = metrics.score_pairs([(ids([0, 255]), ids([0, 2]))], 3, over="labels_or_predictions")
    assert got.miou == pytest.approx(100)
    assert np.isnan(metrics.mean_iou(metrics.confusion(ids([255]), ids([0]), 3)))


def test_one_matrix_for_the_whole_set() -> None:
    pairs = [(ids([0, 0]), ids([0, 0])), (ids([0, 1]), ids([1, 1]))]
    assert metrics.score_pairs(pairs, 2).per_class == pytest.approx((200 / 3, 50))


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="prediction"):
        metrics.confusion(ids([0, 1]), ids([0]), 2)
    with pytest.raises(ValueError, match="label 7"):
        metrics.confusion(ids([7]), ids([0]), 2)
