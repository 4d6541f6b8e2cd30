"""Losses as pure functions: DANNet's light, static and adversarial losses, cross-entropy, Jaccard, distillation."""

from __future__ import annotations

from nightseg_train.losses.adversarial import SOURCE, TARGET, least_squares
from nightseg_train.losses.labelled import SHARE_FLOOR, class_weights, cross_entropy, jaccard
from nightseg_train.losses.light import exposure_loss, light_loss, ssim_loss, total_variation
from nightseg_train.losses.soft import distillation, softmax
from nightseg_train.losses.static import pseudo_label_official, pseudo_label_paper, static_loss

__all__ = [
    "SHARE_FLOOR",
    "SOURCE",
    "TARGET",
    "class_weights",
    "cross_entropy",
    "distillation",
    "exposure_loss",
    "jaccard",
    "least_squares",
    "light_loss",
    "pseudo_label_official",
    "pseudo_label_paper",
    "softmax",
    "ssim_loss",
    "static_loss",
    "total_variation",
]
