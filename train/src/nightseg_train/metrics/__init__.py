"""What a prediction is worth: mIoU, its interval, mIoU by brightness, and the uncertainty-aware UIoU."""

from __future__ import annotations

from nightseg_train.metrics.bootstrap import Bootstrap, Interval, auto_block
from nightseg_train.metrics.luminance import Quartile, mean_luma, quartiles
from nightseg_train.metrics.miou import Mask, Matrix, Over, Score, confusion, mean_iou, score, score_pairs
from nightseg_train.metrics.uiou import Counts, confident, score_uncertain, uncertain_counts

__all__ = [
    "Bootstrap",
    "Counts",
    "Interval",
    "Mask",
    "Matrix",
    "Over",
    "Quartile",
    "Score",
    "auto_block",
    "confident",
    "confusion",
    "mean_iou",
    "mean_luma",
    "quartiles",
    "score",
    "score_pairs",
    "score_uncertain",
    "uncertain_counts",
]
