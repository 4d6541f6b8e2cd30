"""ESPNetv2 for segmentation (Mehta et al., CVPR 2019, arXiv 1811.11431), with the authors' state-dict keys.

Input is RGB in ImageNet-normalised units, N x 3 x H x W; output are logits N x classes x H x W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from nightseg_train.classes import FROM_CITYSCAPES, NAMES
from nightseg_train.nets.resize import adaptive_pool

# Channels of the encoder's levels by width factor s, and blocks per level.
CHANNELS: dict[float, tuple[int, int, int, int]] = {1.0: (32, 64, 128, 256), 2.0: (32, 128, 256, 512)}
BLOCKS = (3, 7)
BRANCHES = 4
RECEPTIVE_LIMIT = (13, 11, 9, 7)
CITYSCAPES_OUTPUTS = 20  # 19 train ids and, last, the background


class ConvBN(nn.Module):
    """Convolution without bias, then batch norm, then PReLU where act is set."""

    def __init__(self, c_in: int, c_out: int, k: int, stride: int = 1, groups: int = 1, act: bool = True) -> None:
        """Make the layers; padding keeps the size at stride 1."""
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, k, stride, k // 2, bias=False, groups=groups)
        self.bn = nn.BatchNorm2d(c_out)
        self.act = nn.PReLU(c_out) if act else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        y: Tensor = self.bn(self.conv(x))
        return self.act(y) if self.act is not None else y


class BNAct(nn.Module):
    """Batch norm, then PReLU."""

    def __init__(self, channels: int) -> None:
        """Make the layers."""
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        y: Tensor = self.act(self.bn(x))
        return y


class Dilated(nn.Module):
    """A depth-wise 3x3 convolution with dilation (one branch of an EESP unit)."""

    def __init__(self, channels: int, stride: int, dilation: int) -> None:
        """Make the layer; padding follows the dilation."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, dilation, dilation, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered map."""
        y: Tensor = self.conv(x)
        return y


class EESP(nn.Module):
    """Reduce, split over dilations, fuse hierarchically, expand (section 3.2 of the paper)."""

    def __init__(self, c_in: int, c_out: int, stride: int, limit: int) -> None:
        """Make a unit whose branches' receptive fields stay within limit."""
        super().__init__()
        n = c_out // BRANCHES
        self.stride = stride
        self.proj_1x1 = ConvBN(c_in, n, 1, groups=BRANCHES)
        fields = sorted(f if f <= limit else 3 for f in (3 + 2 * i for i in range(BRANCHES)))
        self.spp_dw = nn.ModuleList(Dilated(n, stride, (f - 1) // 2) for f in fields)
        self.conv_1x1_exp = ConvBN(c_out, c_out, 1, groups=BRANCHES, act=False)
        self.br_after_cat = BNAct(c_out)
        self.module_act = nn.PReLU(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output; with stride 2 it is not yet activated."""
        reduced = self.proj_1x1(x)
        parts: list[Tensor] = []
        for branch in self.spp_dw:
            y = branch(reduced)
            parts.append(y + parts[-1] if parts else y)
        out: Tensor = self.conv_1x1_exp(self.br_after_cat(torch.cat(parts, 1)))
        if self.stride == 2:
            return out
        if out.shape == x.shape:
            out = out + x
        activated: Tensor = self.module_act(out)
        return activated


class DownSampler(nn.Module):
    """Halve the size: average pooling beside an EESP unit, plus a shortcut from the picture."""

    def __init__(self, c_in: int, c_out: int, limit: int) -> None:
        """Make the unit."""
        super().__init__()
        self.eesp = EESP(c_in, c_out - c_in, 2, limit)
        self.inp_reinf = nn.Sequential(ConvBN(3, 3, 3), ConvBN(3, c_out, 1, act=False))
        self.act = nn.PReLU(c_out)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        """Return the halved map; picture is the network's input."""
        pooled = F.avg_pool2d(x, 3, 2, 1)
        out = torch.cat([pooled, self.eesp(x)], 1)
        while picture.shape[2] > pooled.shape[2]:
            picture = F.avg_pool2d(picture, 3, 2, 1)
        y: Tensor = self.act(out + self.inp_reinf(picture))
        return y


class Encoder(nn.Module):
    """Levels 1 to 4 of the classification network."""

    def __init__(self, s: float) -> None:
        """Make the encoder of width s."""
        super().__init__()
        c = CHANNELS[s]
        self.level1 = ConvBN(3, c[0], 3, 2)
        self.level2_0 = DownSampler(c[0], c[1], RECEPTIVE_LIMIT[0])
        self.level3_0 = DownSampler(c[1], c[2], RECEPTIVE_LIMIT[1])
        self.level3 = nn.ModuleList(EESP(c[2], c[2], 1, RECEPTIVE_LIMIT[2]) for _ in range(BLOCKS[0]))
        self.level4_0 = DownSampler(c[2], c[3], RECEPTIVE_LIMIT[2])
        self.level4 = nn.ModuleList(EESP(c[3], c[3], 1, RECEPTIVE_LIMIT[3]) for _ in range(BLOCKS[1]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the maps at stride 2, 4, 8 and 16."""
        l1 = self.level1(x)
        l2 = self.level2_0(l1, x)
        l3 = self.level3_0(l2, x)
        for layer in self.level3:
            l3 = layer(l3)
        l4 = self.level4_0(l3, x)
        for layer in self.level4:
            l4 = layer(l4)
        return l1, l2, l3, l4


class DecoderConv(nn.Module):
    """Like ConvBN with PReLU; the decoder's layers lie in a sequence in the state dict."""

    def __init__(self, c_in: int, c_out: int, k: int, groups: int = 1) -> None:
        """Make the layers."""
        super().__init__()
        conv = nn.Conv2d(c_in, c_out, k, 1, k // 2, bias=False, groups=groups)
        self.cbr = nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.PReLU(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        y: Tensor = self.cbr(x)
        return y


class DecoderAct(nn.Module):
    """Like BNAct, with the decoder's keys."""

    def __init__(self, channels: int) -> None:
        """Make the layers."""
        super().__init__()
        self.br = nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        y: Tensor = self.br(x)
        return y


class Shuffle(nn.Module):
    """Channel shuffle over groups."""

    def __init__(self, groups: int) -> None:
        """Remember the number of groups."""
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Return x with channels interleaved over the groups."""
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class PyramidPool(nn.Module):
    """Efficient pyramid pooling: depth-wise filters at five scales, merged."""

    SCALES: Sequence[float] = (2.0, 1.5, 1.0, 0.5, 0.1)

    def __init__(self, c_in: int, proj: int, c_out: int, last: bool = False) -> None:
        """Make the module; the last one of the decoder ends in plain logits with a bias."""
        super().__init__()
        n = len(self.SCALES)
        self.projection_layer = DecoderConv(c_in, proj, 1)
        self.stages = nn.ModuleList(nn.Conv2d(proj, proj, 3, 1, 1, bias=False, groups=proj) for _ in range(n))
        self.merge_layer = nn.Sequential(
            DecoderAct(proj * n),
            Shuffle(n),
            DecoderConv(proj * n, proj, 3, groups=proj),
            nn.Conv2d(proj, c_out, 1, bias=last),
        )
        self.br = None if last else DecoderAct(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the merged map at the size of x."""
        x = self.projection_layer(x)
        size = (x.shape[2], x.shape[3])
        parts = []
        for scale, stage in zip(self.SCALES, self.stages, strict=True):
            to = (max(math.ceil(size[0] * scale), 5), max(math.ceil(size[1] * scale), 5))
            if scale < 1:
                y = stage(adaptive_pool(x, to))
                y = F.interpolate(y, size, mode="bilinear", align_corners=True)
            elif scale > 1:
                y = stage(F.interpolate(x, to, mode="bilinear", align_corners=True))
                y = adaptive_pool(y, size)
            else:
                y = stage(x)
            parts.append(y)
        out: Tensor = self.merge_layer(torch.cat(parts, 1))
        return self.br(out) if self.br is not None else out


class Merge(nn.Module):
    """A grouped 3x3 convolution of an encoder map, weighted by its global means."""

    def __init__(self, c_in: int, c_out: int) -> None:
        """Make the layers."""
        super().__init__()
        self.wt_layer = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c_in, c_out, 1, bias=False), nn.Sigmoid())
        self.expansion_layer = DecoderConv(c_in, c_out, 3, groups=math.gcd(c_in, c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted map."""
        y: Tensor = self.expansion_layer(x) * self.wt_layer(x)
        return y


class ESPNetv2(nn.Module):
    """The segmentation network: encoder and a decoder of four pyramid modules."""

    def __init__(self, s: float = 2.0, classes: int = CITYSCAPES_OUTPUTS) -> None:
        """Make the network of width s (1.0 or 2.0).

        Raises:
            ValueError: s is not one of the known widths.
        """
        super().__init__()
        if s not in CHANNELS:
            raise ValueError(f"espnetv2: width {s} is not one of {sorted(CHANNELS)}")
        c = CHANNELS[s]
        d = (64, 48, 32)
        proj = min(classes // 2, 16)
        self.base_net = Encoder(s)
        self.bu_dec_l1 = PyramidPool(c[3], proj, d[0])
        self.bu_dec_l2 = PyramidPool(d[0], proj, d[1])
        self.bu_dec_l3 = PyramidPool(d[1], proj, d[2])
        self.bu_dec_l4 = PyramidPool(d[2], proj, classes, last=True)
        self.merge_enc_dec_l2 = Merge(c[2], d[0])
        self.merge_enc_dec_l3 = Merge(c[1], d[1])
        self.merge_enc_dec_l4 = Merge(c[0], d[2])
        self.bu_br_l2 = nn.Sequential(nn.BatchNorm2d(d[0]), nn.PReLU(d[0]))
        self.bu_br_l3 = nn.Sequential(nn.BatchNorm2d(d[1]), nn.PReLU(d[1]))
        self.bu_br_l4 = nn.Sequential(nn.BatchNorm2d(d[2]), nn.PReLU(d[2]))

    def half_size(self, x: Tensor) -> Tensor:
        """Return logits at half the size of x, N x classes x H/2 x W/2."""
        l1, l2, l3, l4 = self.base_net(x)
        y = self.bu_dec_l1(l4)
        y = self.bu_dec_l2(self.bu_br_l2(self.merge_enc_dec_l2(l3) + _double(y)))
        y = self.bu_dec_l3(self.bu_br_l3(self.merge_enc_dec_l3(l2) + _double(y)))
        out: Tensor = self.bu_dec_l4(self.bu_br_l4(self.merge_enc_dec_l4(l1) + _double(y)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return logits at the size of x."""
        return F.interpolate(self.half_size(x), x.shape[2:], mode="bilinear", align_corners=True)


def load_cityscapes(path: Path, s: float = 2.0) -> ESPNetv2:
    """Return the network of width s with its published weights from Cityscapes, untouched, in evaluation mode.

    Raises:
        FileNotFoundError: the weights are not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"espnetv2: no weights at {path}")
    net = ESPNetv2(s)
    net.load_state_dict(load_file(str(path)))
    return net.to(memory_format=torch.channels_last).eval()


def camvid_head(net: ESPNetv2) -> ESPNetv2:
    """Replace the 20-class head by one of 11 classes that starts at the mean of each class's members.

    Raises:
        ValueError: the network has no head of 20 classes.
    """
    old = net.bu_dec_l4.merge_layer[3]
    if not isinstance(old, nn.Conv2d) or old.bias is None or old.out_channels != CITYSCAPES_OUTPUTS:
        raise ValueError("espnetv2: this network has no head of 20 classes")
    groups = [[i for i, c in enumerate(FROM_CITYSCAPES) if c == k] for k in range(len(NAMES))]
    new = nn.Conv2d(old.in_channels, len(NAMES), 1)
    new.weight = nn.Parameter(torch.stack([old.weight.detach()[g].mean(0) for g in groups]))
    new.bias = nn.Parameter(torch.stack([old.bias.detach()[g].mean() for g in groups]))
    net.bu_dec_l4.merge_layer[3] = new
    return net


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
