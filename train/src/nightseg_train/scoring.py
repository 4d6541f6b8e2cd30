"""Scoring of a network on a labelled folder: resize, predict, resize the logits, arg-max, one confusion matrix."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nightseg_train import data
from nightseg_train.classes import FROM_CITYSCAPES, NAMES
from nightseg_train.metrics import Mask, Score, score_pairs

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
MODES = ("probability", "logit")  # what class weights multiply
Predict = Callable[[data.Picture], Tensor]  # RGB bytes H x W x 3 -> log-probabilities or logits 1 x C x h x w


def normalise(pixels: Tensor) -> Tensor:
    """Return (v - mean) / std of N x 3 x H x W values between 0 and 1 (ImageNet's constants)."""
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    std = torch.tensor(STD).view(1, 3, 1, 1)
    return (pixels - mean) / std


def to_tensor(picture: data.Picture) -> Tensor:
    """Return RGB bytes H x W x 3 as 1 x 3 x H x W in normalised units."""
    return normalise(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)


def remembered(predict: Predict) -> Predict:
    """Return the predictor that asks predict once for each picture, to try several things with the same logits."""
    known: dict[int, Tensor] = {}

    def recall(picture: data.Picture) -> Tensor:
        key = zlib.crc32(picture.tobytes())
        if key not in known:
            known[key] = predict(picture)
        return known[key]

    return recall


def probabilities(predict: Predict, picture: data.Picture, size: tuple[int, int]) -> Tensor:
    """Return class probabilities of size (h, w), h x w x classes, the mean over the picture and its mirror image."""
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    both = torch.cat([predict(picture), predict(mirrored).flip(3)]).softmax(1).mean(0, keepdim=True)
    return F.adaptive_avg_pool2d(both, size)[0].permute(1, 2, 0).contiguous()


def reweighted(logits: Tensor, weights: Tensor, mode: str) -> Tensor:
    """Return N x C x h x w logits with the class weights w: ln w added ("probability"), or times w ("logit").

    To multiply probabilities by w is to add ln w to the logits; DANNet's program multiplies the logits themselves.

    Raises:
        ValueError: there is no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"reweight: {mode!r} is not one of {', '.join(MODES)}")
    w = weights.to(logits).view(1, -1, 1, 1)
    return logits * w if mode == "logit" else logits + w.log()


def decide(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Mask:
    """Return the class of each pixel of size (height, width): logits resized bilinearly, arg-max."""
    full = F.interpolate(logits.float(), size, mode="bilinear", align_corners=align_corners)
    mask: Mask = full.argmax(1)[0].to(torch.uint8).numpy()
    return mask


def score_items(
    predict: Predict,
    items: Sequence[data.Item],
    classes: int,
    align_corners: bool = False,
    size: tuple[int, int] = data.SIZE,
) -> Score:
    """Score a predictor on items stretched to size (height, width); masks are decided at the size of the label.

    Raises:
        ValueError: an item has no label.
    """

    def pairs() -> Iterator[tuple[Mask, Mask]]:
        for item in items:
            if item.label is None:
                raise ValueError(f"scoring: {item.image} has no label")
            label = data.read_label(item.label, classes)
            logits = predict(data.read_image(item.image, size))
            yield label, decide(logits, (label.shape[0], label.shape[1]), align_corners)

    return score_pairs(pairs(), classes)


def cityscapes_groups(logits: Tensor) -> Tensor:
    """Return N x 11 x H x W log-sums of Cityscapes logits (N x 19 or 20) over the CamVid classes."""
    parts = []
    for k in range(len(NAMES)):
        members = [i for i, c in enumerate(FROM_CITYSCAPES) if c == k]
        parts.append(torch.logsumexp(logits[:, members], 1))
    return torch.stack(parts, 1)


def cityscapes_mask(logits: Tensor, size: tuple[int, int]) -> Mask:
    """Return CamVid ids of the arg-max over the 19 train ids; the background output is dropped."""
    full = F.interpolate(logits[:, :19].float(), size, mode="bilinear", align_corners=True)
    table = torch.tensor(FROM_CITYSCAPES, dtype=torch.uint8)
    mask: Mask = table[full.argmax(1)[0]].numpy()
    return mask


def as_dict(result: Score, names: Sequence[str] = NAMES) -> dict[str, object]:
    """Return a score as plain values for JSON, names by class id; NaN becomes null."""
    iou = {n: None if np.isnan(v) else round(v, 2) for n, v in zip(names, result.per_class, strict=True)}
    present = [n for n, v in iou.items() if v is not None]
    return {"miou": round(result.miou, 2), "per_class": iou, "classes_present": present, "frames": result.frames}
