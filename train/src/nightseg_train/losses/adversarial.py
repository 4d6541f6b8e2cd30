"""Least-squares adversarial losses of DANNet (arXiv 2104.10834): source is 0, target is 1.

The segmentation net is pushed to look like source on day and night pictures, each with weight 0.01 in the authors'
total; a discriminator sees the softmax over all classes, without class weights.
"""

from __future__ import annotations

from torch import Tensor

SOURCE = 0.0  # what a discriminator should say of predictions on labelled pictures
TARGET = 1.0  # and on unlabelled ones


def least_squares(output: Tensor, label: float) -> Tensor:
    """Return the mean of (output - label)^2 over a discriminator's output of any shape, which is not squashed.

    Of a target prediction with SOURCE it is the segmentation net's loss. The authors call it weighted; it is not.
    """
    return (output - label).square().mean()
