"""Offsets of the logits of classes that a network says too seldom: chosen by mIoU, folded into its last layer.

A network that was taught by cross-entropy says a class where that is the most probable one. A thin thing, of which it
knows the place but roughly, seldom is; its IoU gains from being said earlier (an optimal threshold on a probability is
half of the best F1, not one half; Lipton et al., arXiv 1402.1892). In the graph the offsets cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nightseg_train import data, loop, scoring
from nightseg_train.fit import Score
from nightseg_train.nets.ddrnet import DDRNet
from nightseg_train.nets.lite import LiteSeg

Row = dict[str, object]


def choose(
    predict: scoring.Predict, score: Score, names: Sequence[str], raised: Sequence[str], tried: Sequence[float]
) -> tuple[Tensor, list[Row]]:
    """Return the offset of each class, chosen for one after the other, and what all that were tried scored.

    It is the best by "choose" of those with which no part scores worse than without: a few frames of one kind say too
    much of a class otherwise.

    Args:
        predict: gives the logits, 1 x classes x h x w; each picture is shown to it once.
        score: scores a predictor.
        names: the classes.
        raised: those that get an offset.
        tried: the offsets to choose from, beside 0.

    Raises:
        ValueError: a class of raised is none of names.
    """
    offsets, rows, plain = torch.zeros(len(names)), list[Row](), scoring.remembered(predict)

    def logits(picture: data.Picture) -> Tensor:
        return plain(picture) + offsets.view(1, -1, 1, 1)

    for name in raised:
        if name not in names:
            raise ValueError(f"raised: {name!r} is none of the classes {', '.join(names)}")
        at, scores = list(names).index(name), dict[float, Mapping[str, float]]()
        for offset in (0.0, *sorted({*tried} - {0.0})):
            offsets[at] = offset
            scores[offset] = dict(score(logits))
            rows.append({"class": name, "offset": offset, **scores[offset]})
        harmless = [o for o, found in scores.items() if all(found[part] >= v for part, v in scores[0.0].items())]
        offsets[at] = max(harmless, key=lambda offset: scores[offset][loop.CHOOSE])
    return offsets, rows


@torch.no_grad()
def fold(net: nn.Module, offsets: Tensor) -> None:
    """Add an offset per class to the logits of a net, in the bias of its last convolution.

    Raises:
        ValueError: it is not known where such a net's last convolution is.
    """
    if not isinstance(net, LiteSeg | DDRNet):
        raise ValueError(f"raised: the logits of a {type(net).__name__} cannot be raised; leave it empty")
    bias = [m for m in net.head if isinstance(m, nn.Conv2d)][-1].bias
    assert bias is not None  # noqa: S101 - made with one
    bias += offsets.repeat_interleave(len(bias) // len(offsets))
