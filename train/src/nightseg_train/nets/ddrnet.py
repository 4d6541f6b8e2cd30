"""Edge segmentation net of DDRNet-23-slim shape (Hong et al., arXiv 2101.06085): two resolutions that exchange.

Input x: N x 3 x H x W, RGB in ImageNet-normalised units, H and W multiples of 32. Output: logits
N x classes x H/8 x W/8. Only operators that ONNX Runtime, TensorRT and the TensorFlow converter share: convolutions,
average pools of fixed size, half-pixel bilinear resizes, adds, concatenations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Widths:
    """Channels: of the stem, of the fine branch at 1/8, of the coarse branch at 1/16, 1/32 and 1/64, of the heads."""

    stem: int = 32
    fine: int = 64
    coarse: tuple[int, int, int] = (128, 192, 320)
    context: int = 96
    head: int = 64


SLIM = Widths(32, 64, (128, 256, 512), 128, 64)  # the paper's DDRNet-23-slim
EDGE = Widths()  # the same shape with less in the coarse branch: 3.9 M instead of 5.7 M parameters
SMALL = Widths(16, 48, (96, 160, 256), 96, 64)  # half the stem
TINY = Widths(16, 32, (64, 96, 128), 32, 32)
WIDTHS: dict[str, Widths] = {"ddrnet": EDGE, "ddrnet-slim": SLIM, "ddrnet-small": SMALL, "ddrnet-tiny": TINY}


def conv(c_in: int, c_out: int, k: int = 3, stride: int = 1, act: bool = True) -> nn.Sequential:
    """Return convolution, batch norm and, where act is set, ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, k, stride, k // 2, bias=False), nn.BatchNorm2d(c_out)]
    if act:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1, act: bool = True) -> None:
        """Make the block; without act its sum is left as it is."""
        super().__init__()
        self.body = nn.Sequential(conv(c_in, c_out, 3, stride), conv(c_out, c_out, act=False))
        self.short = None if c_in == c_out and stride == 1 else conv(c_in, c_out, 1, stride, act=False)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y: Tensor = self.body(x) + (x if self.short is None else self.short(x))
        return F.relu(y) if self.act else y


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions that double the channels, beside a shortcut; the sum is not activated."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        """Make the block."""
        super().__init__()
        self.body = nn.Sequential(conv(c_in, c_in, 1), conv(c_in, c_in, 3, stride), conv(c_in, c_out, 1, act=False))
        self.short = conv(c_in, c_out, 1, stride, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways."""
        y: Tensor = self.body(x) + self.short(x)
        return y


def pair(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    """Return two basic blocks; the sum of the last is not activated."""
    return nn.Sequential(Basic(c_in, c_out, stride), Basic(c_out, c_out, act=False))


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Return x at the size of like, bilinear with half-pixel corners."""
    return F.interpolate(x, (like.shape[2], like.shape[3]), mode="bilinear", align_corners=False)


class Context(nn.Module):
    """Deep aggregation pyramid pooling: means over windows of four sizes, each refined with the one before."""

    POOLS = ((5, 2), (9, 4), (17, 8))

    def __init__(self, c_in: int, c_mid: int, c_out: int) -> None:
        """Make the module."""
        super().__init__()
        self.scales = nn.ModuleList(conv(c_in, c_mid, 1) for _ in range(5))
        self.process = nn.ModuleList(conv(c_mid, c_mid) for _ in range(4))
        self.compress = conv(c_mid * 5, c_out, 1, act=False)
        self.short = conv(c_in, c_out, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the context at the size of x, not activated."""
        parts = [self.scales[0](x)]
        for i, (k, stride) in enumerate(self.POOLS):
            pooled = F.avg_pool2d(x, k, stride, k // 2, count_include_pad=False)
            parts.append(self.process[i](resize(self.scales[i + 1](pooled), x) + parts[-1]))
        whole = self.scales[4](x.mean((2, 3), keepdim=True))
        parts.append(self.process[3](whole + parts[-1]))
        y: Tensor = self.compress(torch.cat(parts, 1)) + self.short(x)
        return y


class DDRNet(nn.Module):
    """The network; aux, a head on the fine branch half-way, is for training only."""

    def __init__(self, classes: int = 11, widths: Widths = EDGE) -> None:
        """Make the network with random weights."""
        super().__init__()
        w, f, (c3, c4, c5) = widths.stem, widths.fine, widths.coarse
        self.stem = nn.Sequential(conv(3, w, 3, 2), conv(w, w, 3, 2))
        self.layer1 = pair(w, w)
        self.layer2 = pair(w, f, 2)
        self.coarse3, self.coarse4 = pair(f, c3, 2), pair(c3, c4, 2)
        self.coarse5 = Bottleneck(c4, c5, 2)
        self.fine3, self.fine4 = pair(f, f), pair(f, f)
        self.fine5 = Bottleneck(f, 2 * f)
        self.up3, self.up4 = conv(c3, f, 1, act=False), conv(c4, f, 1, act=False)
        self.down3 = conv(f, c3, 3, 2, act=False)
        self.down4 = nn.Sequential(conv(f, c3, 3, 2), conv(c3, c4, 3, 2, act=False))
        self.context = Context(c5, widths.context, 2 * f)
        self.head = nn.Sequential(nn.ReLU(), conv(2 * f, widths.head), nn.Conv2d(widths.head, classes, 1))
        self.aux = nn.Sequential(nn.ReLU(), conv(f, widths.head), nn.Conv2d(widths.head, classes, 1))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the auxiliary logits, both at 1/8."""
        x = F.relu(self.layer1(self.stem(x)))
        x = F.relu(self.layer2(x))
        coarse, fine = self.coarse3(x), self.fine3(x)
        exchanged = fine + resize(self.up3(F.relu(coarse)), fine)
        coarse = coarse + self.down3(F.relu(fine))
        aux = exchanged
        coarse, fine = self.coarse4(F.relu(coarse)), self.fine4(F.relu(exchanged))
        exchanged = fine + resize(self.up4(F.relu(coarse)), fine)
        coarse = coarse + self.down4(F.relu(fine))
        fine = self.fine5(F.relu(exchanged))
        context = self.context(self.coarse5(F.relu(coarse)))
        return self.head(fine + resize(context, fine)), self.aux(aux)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, N x classes x H/8 x W/8."""
        return self.both(x)[0]
