"""DANNet's static loss (arXiv 2104.10834): day predictions label what cannot move in the night picture of that place.

Classes are ids 0..C-1 of any list; `static` names those that cannot move. D1 to D10 name the points where the authors'
paper and code differ: the functions for pseudo labels and the arguments of static_loss choose a side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nightseg_train.classes import IGNORE

SURE_LOGIT = 0.4  # from here on the day picture has the larger say (D1); on raw logits (D2)
DAY_SHARE = (0.2, 0.8)  # of the day logit in the mix: below SURE_LOGIT, above it


@torch.no_grad()
def pseudo_label_paper(day_logits: Tensor, weight: Tensor, static: Sequence[int]) -> Tensor:
    """Return N x H x W pseudo labels from day logits N x C x H x W alone (the paper's side of D1 and D2).

    Each label is the arg-max over all C classes of w_k times the probability; where that is not static, 255. Ids are
    uint8. The weight has C values, mean 1 (see class_weights).

    Raises:
        ValueError: a static id is not below C or comes twice, or weight does not have C values.
    """
    _check(day_logits, weight, static)
    return _labels(day_logits.softmax(1), weight, static)


@torch.no_grad()
def pseudo_label_official(day_logits: Tensor, night_logits: Tensor, weight: Tensor, static: Sequence[int]) -> Tensor:
    """Return N x H x W pseudo labels from day and night logits N x C x H x W (the code's side of D1 and D2).

    On static channels each value is 0.8 day + 0.2 night where the day logit is above 0.4, else 0.2 day + 0.8 night;
    the other channels are the night's. Each label is the arg-max over all C classes of w_k times that value; where
    that is not static, 255. As these are logits, a weight above 1 pushes a negative one down. Ids are uint8.

    Raises:
        ValueError: the logits differ in shape, a static id is not below C or comes twice, or weight does not have C
            values.
    """
    if day_logits.shape != night_logits.shape:
        raise ValueError(f"static: day logits are {tuple(day_logits.shape)}, night {tuple(night_logits.shape)}")
    _check(day_logits, weight, static)
    at = _channels(static)
    day, mix = day_logits[:, at], night_logits.clone()
    share = torch.full_like(day, DAY_SHARE[0]).masked_fill_(day > SURE_LOGIT, DAY_SHARE[1])
    mix[:, at] = share * day + (1 - share) * night_logits[:, at]
    return _labels(mix, weight, static)


def static_loss(
    night_logits: Tensor,
    label: Tensor,
    weight: Tensor,
    static: Sequence[int],
    gamma: float = 1.0,
    neighbourhood: bool = True,
    eps: float = 1e-7,
    count: Callable[[Tensor], Tensor] = Tensor.detach,
) -> Tensor:
    """Return the mean of -(1 - p)^gamma ln p over the pixels whose label is not 255; 0 where there is none.

    p is the largest w_k * prob_k among the classes that count as right at the pixel, cut to eps..1-eps, where its
    gradient ends (a weight above 1 can lead there); prob is the softmax over the static channels only (D10).

    Args:
        night_logits: N x C x H x W.
        label: N x H x W pseudo labels of any integer type: static ids or 255.
        weight: C values; all ones switch the weights off.
        static: ids of the classes that cannot move, in any order.
        gamma: 1 in the paper and in the code since June 2021; 0, a plain logarithm, before (D5).
        neighbourhood: True: any class that the label holds in the 3 x 3 window is right (the paper's side of D4).
            False: the label's own class alone. The code means the former, but shifts one map in place: all its nine
            maps are the same, smeared as the device happens to copy; with copies of what is shifted they come out as
            the label itself inside the picture.
        eps: the authors' is 1e-7.
        count: makes the denominator of the mean from the number of valid pixels; with several processes, their mean
            (parallel.mean). It is called in any case, as all of them have to.

    Raises:
        ValueError: sizes do not fit, a static id is not below C or comes twice, or a label is neither static nor 255.
    """
    _check(night_logits, weight, static)
    n, c, h, w = night_logits.shape
    if label.shape != (n, h, w):
        raise ValueError(f"static: label is {tuple(label.shape)}, logits {tuple(night_logits.shape)}")
    valid = label != IGNORE
    pixels = count(valid.sum().float())
    if not bool(valid.any()):
        return night_logits.sum() * 0
    ids = list(static)
    held = torch.promote_types(night_logits.dtype, torch.float32)  # half precision would lose 1 - eps
    place, kept = _places(label, ids, c), weight[ids].to(held)
    prob = night_logits[:, _channels(static)].to(held).permute(0, 2, 3, 1).softmax(3)  # N x H x W x static
    if neighbourhood:
        right = F.one_hot(place, len(ids) + 1).permute(0, 3, 1, 2).to(held)
        right = F.max_pool2d(right, 3, stride=1, padding=1)[:, :-1]  # void neighbours have no say
        best = (kept * prob * right.permute(0, 2, 3, 1)).amax(3)
    else:
        own = place.clamp_max(len(ids) - 1)
        best = kept[own] * prob.gather(3, own[..., None])[..., 0]
    p = best[valid].clamp(eps, 1 - eps)
    return (-((1 - p) ** gamma) * p.log()).sum() / pixels


def _check(logits: Tensor, weight: Tensor, static: Sequence[int]) -> None:
    c = logits.shape[1]
    if not static or len(set(static)) != len(static) or not all(0 <= k < c for k in static):
        raise ValueError(f"static: classes {tuple(static)} are not different ids below {c}")
    if weight.shape != (c,):
        raise ValueError(f"static: weight is {tuple(weight.shape)}, not ({c},)")


def _labels(values: Tensor, weight: Tensor, static: Sequence[int]) -> Tensor:
    """Return the arg-max over classes of weighted values, with 255 for ids that are not static."""
    best = (values * weight.to(values.dtype).view(1, -1, 1, 1)).argmax(1)
    kept = torch.full((values.shape[1],), IGNORE, dtype=torch.uint8, device=values.device)
    for k in static:
        kept[k] = k
    return kept[best]


def _channels(static: Sequence[int]) -> slice | list[int]:
    """Return what picks the static channels: a slice where it can, as picking by a list copies slowly."""
    first, count = static[0], len(static)
    return slice(first, first + count) if tuple(static) == tuple(range(first, first + count)) else list(static)


def _places(label: Tensor, ids: list[int], classes: int) -> Tensor:
    """Return which of ids each label is, N x H x W; that of 255 is len(ids).

    Raises:
        ValueError: a label is neither in ids nor 255.
    """
    unknown = len(ids) + 1
    place = torch.full((max(classes, IGNORE + 1),), unknown, dtype=torch.int64, device=label.device)
    for i, k in enumerate(ids):
        place[k] = i
    place[IGNORE] = len(ids)
    at = place[label.long()]
    if int(at.max()) == unknown:
        raise ValueError(f"static: label {int(label[at == unknown][0])} is neither static nor {IGNORE}")
    return at
