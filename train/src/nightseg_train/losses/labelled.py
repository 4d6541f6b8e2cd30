"""Cross-entropy and soft Jaccard loss on labels, and the class weights made from how often each class is labelled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nightseg_train.classes import IGNORE

SHARE_FLOOR = 1e-5  # a class that the labels hardly hold must not take the whole spread of the weights; as edge/decide


def class_weights(shares: Sequence[float], std: float) -> Tensor:
    """Return w_k = (w'_k - mean w') / sd(w') * std + 1 with w'_k = -ln a_k and the sd over n - 1 (D14).

    Raises:
        ValueError: fewer than two shares, a share outside 0..1, or a std at which a weight reaches 0.
    """
    if len(shares) < 2 or any(not 0 <= a <= 1 for a in shares):
        raise ValueError("class_weights: at least two shares between 0 and 1 are needed")
    raw = torch.tensor([-math.log(max(a, SHARE_FLOOR)) for a in shares], dtype=torch.float64)
    sd = raw.std(unbiased=True)
    w = (raw - raw.mean()) / sd * std + 1 if float(sd) > 0 else torch.ones_like(raw)
    if float(w.min()) <= 0:
        raise ValueError(f"class_weights: std {std} makes a weight {float(w.min()):.3g}")
    return w


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    easy: float = 1.0,
    count: Callable[[Tensor], Tensor] = Tensor.detach,
) -> Tensor:
    """Return the mean cross-entropy of N x C x h x w logits, resized to the labels; 0 where nothing is labelled.

    Pixels whose own class has a probability above easy are left out of the mean, which is over a sixteenth of the
    labelled pixels at least (the hard-pixel rule that DDRNet was trained with).

    Args:
        logits: N x C x h x w.
        labels: N x H x W ids, 255 for none.
        weight: C class weights; the mean is over the summed weights of the pixels.
        easy: from 1 on all labelled pixels count.
        count: makes the denominators from what this process counts; with several processes, their mean (parallel.mean).
            It is called in any case, as all of them have to.
    """
    up = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
    ids, kept = labels.long(), labels != IGNORE
    each = F.cross_entropy(up, ids, ignore_index=IGNORE, reduction="none")
    w = (kept if easy >= 1 else kept & (each.detach() > -math.log(easy))).float()
    if weight is not None:
        w = w * weight[ids.clamp_max(weight.shape[0] - 1)]
    counted, all_labelled = count(torch.stack([w.sum(), kept.float().sum()]))
    return (each * w).sum() / torch.maximum(counted, all_labelled / 16).clamp_min(1e-6)


def jaccard(logits: Tensor, labels: Tensor, count: Callable[[Tensor], Tensor] = Tensor.detach) -> Tensor:
    """Return 1 - the mean IoU of the probabilities with the labels, over the classes that are labelled; 0 without any.

    IoU of a class = sum(p y) / sum(p + y - p y) over the labelled pixels of all pictures (Rahman and Wang, "Optimizing
    Intersection-Over-Union in Deep Neural Networks for Image Segmentation", ISVC 2016). A rare class counts as much as
    a frequent one, and whoever never says it gets nothing for it, which cross-entropy lets pass.

    Args:
        logits: N x C x h x w, resized to the labels.
        labels: N x H x W ids, 255 for none.
        count: makes the sums of all processes from this process's, as in cross_entropy.
    """
    p = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False).softmax(1)
    kept = labels != IGNORE
    y = F.one_hot(labels.long().masked_fill(~kept, 0), p.shape[1]).permute(0, 3, 1, 2) * kept[:, None]
    both, said, true = (x.sum((0, 2, 3)) for x in (p * y, p * kept[:, None], y.float()))
    union = said + true - both
    all_both, all_union, all_true = count(torch.stack([both, union, true]))
    iou = all_both / all_union.clamp_min(1e-6)
    # Nought, with the gradient of the IoU of all processes with respect to this one's pixels (times their number).
    slope = (both - both.detach() - iou * (union - union.detach())) / all_union.clamp_min(1e-6)
    present = (all_true > 0).float()
    loss: Tensor = ((1 - iou - slope) * present).sum() / present.sum().clamp_min(1)
    return loss
