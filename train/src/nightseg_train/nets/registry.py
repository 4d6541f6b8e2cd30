"""Networks by the names that settings use."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from nightseg_train.nets.ddrnet import WIDTHS, DDRNet
from nightseg_train.nets.deeplab import DeepLab
from nightseg_train.nets.lightnet import LightNet
from nightseg_train.nets.lite import LiteSeg
from nightseg_train.nets.pspnet import PSPNet
from nightseg_train.nets.refinenet import RefineNet
from nightseg_train.nets.relight import Relight

Segment = LiteSeg | DDRNet | PSPNet | DeepLab | RefineNet
SEGMENT: dict[str, Callable[[int], nn.Module]] = {
    "lite0": LiteSeg,
    **{name: (lambda classes, w=w: DDRNet(classes, w)) for name, w in WIDTHS.items()},  # type: ignore[misc]
    "pspnet": PSPNet,
    "deeplab": DeepLab,
    "refinenet": RefineNet,
}
RELIGHT: dict[str, Callable[[], LightNet | Relight]] = {"edge": Relight, "lightnet": LightNet}


def segment(name: str, classes: int) -> nn.Module:
    """Return a segmentation net with random weights: x, N x 3 x H x W, to logits N x classes x h x w.

    Raises:
        ValueError: there is no net of that name.
    """
    if name not in SEGMENT:
        raise ValueError(f"segment: {name!r} is not one of {', '.join(SEGMENT)}")
    return SEGMENT[name](classes)


def relight(name: str) -> LightNet | Relight:
    """Return a relight net with random weights; residual(x) is r, N x 3 x H x W, and x + r the relit picture.

    Raises:
        ValueError: there is no net of that name.
    """
    if name not in RELIGHT:
        raise ValueError(f"relight: {name!r} is not one of {', '.join(RELIGHT)}")
    return RELIGHT[name]()
