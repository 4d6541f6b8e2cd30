"""Networks by the names that settings use."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from nightseg_train.classes import NAMES
from nightseg_train.nets.ddrnet import WIDTHS, DDRNet
from nightseg_train.nets.deeplab import DeepLab
from nightseg_train.nets.espnetv2 import ESPNetv2, camvid_head
from nightseg_train.nets.lightnet import LightNet
from nightseg_train.nets.lite import LiteSeg
from nightseg_train.nets.pspnet import PSPNet
from nightseg_train.nets.refinenet import RefineNet
from nightseg_train.nets.relight import Relight

Edge = LiteSeg | DDRNet
LITE, TEACHER = "lite0", "espnetv2"
EDGE = (LITE, *WIDTHS)
DANNET: dict[str, Callable[[int], nn.Module]] = {"pspnet": PSPNet, "deeplab": DeepLab, "refinenet": RefineNet}
RELIGHT: dict[str, Callable[[], LightNet | Relight]] = {"edge": Relight, "lightnet": LightNet}
# What stays float in an integer version, as parts of the names of the nodes in an export.
FLOAT: dict[type[nn.Module], tuple[str, ...]] = {
    Relight: ("/enlarge", "/gain", "/offset", "Tanh"),  # maps that multiply a picture of full range
    LightNet: ("/model.20/", "Tanh"),  # the last convolution
    ESPNetv2: ("PRelu", "BatchNormalization"),  # OpenVINO crashes on integer slopes, and on norms of their own
}
# The layers that end in the logits, likewise: an integer version may keep them in float.
HEAD: dict[type[nn.Module], str] = {
    LiteSeg: "/head/", DDRNet: "/head/", PSPNet: "/head/", DeepLab: "/layer6/", RefineNet: "/clf_conv/",
    ESPNetv2: "/bu_dec_l4/",
}  # fmt: skip


def edge(name: str, classes: int) -> Edge:
    """Return a segmentation net of real-time class with random weights; both(x) gives auxiliary logits, too.

    Raises:
        ValueError: there is no such net of that name.
    """
    if name not in EDGE:
        raise ValueError(f"segment: {name!r} is not one of {', '.join(EDGE)}")
    return LiteSeg(classes) if name == LITE else DDRNet(classes, WIDTHS[name])


def segment(name: str, classes: int) -> nn.Module:
    """Return a segmentation net with random weights: x, N x 3 x H x W, to logits N x classes x h x w.

    Raises:
        ValueError: there is no net of that name, or not for that number of classes.
    """
    if name == TEACHER and classes != len(NAMES):
        raise ValueError(f"segment: {TEACHER} has the {len(NAMES)} classes of CamVid here, not {classes}; take {LITE}")
    if name in DANNET:
        return DANNET[name](classes)
    if name == TEACHER:
        return camvid_head(ESPNetv2())
    if name not in EDGE:
        raise ValueError(f"segment: {name!r} is not one of {', '.join((*EDGE, TEACHER, *DANNET))}")
    return edge(name, classes)


def relight(name: str) -> LightNet | Relight:
    """Return a relight net with random weights; residual(x) is r, N x 3 x H x W, and x + r the relit picture.

    Raises:
        ValueError: there is no net of that name.
    """
    if name not in RELIGHT:
        raise ValueError(f"relight: {name!r} is not one of {', '.join(RELIGHT)}")
    return RELIGHT[name]()


def float_nodes(net: nn.Module, head: bool = False) -> tuple[str, ...]:
    """Return the parts of node names that stay float in a net's integer version, with those of the head where asked.

    Raises:
        ValueError: it is not known what the head of such a net is called.
    """
    if head and type(net) not in HEAD:
        raise ValueError(f"registry: it is not known which nodes are the head of {type(net).__name__}")
    return FLOAT.get(type(net), ()) + ((HEAD[type(net)],) if head else ())
