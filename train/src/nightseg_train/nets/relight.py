"""Edge relight net: DANNet's R = x + tanh(G(x)) with a G that is cheap enough for the edge.

DANNet's generator filters at full size and costs 20 times the segmentation net. Here a small encoder sees the picture
at 1/8 and predicts a slowly varying affine map; G applies it to the full-size picture, G(x) = a * x + b, with the
planes a (gain) and b (offset) brought up bilinearly from 1/8. As G is a function of the pixel itself, edges of the
picture stay edges of the residual, which is what guided upsampling is for. The bilinear step is a fixed 3x3
convolution to 64 phases and a depth-to-space: the same values as a half-pixel resize of the zero-padded plane, at a
fifth of the time of Resize in OpenVINO.

Input: N x 3 x H x W in ImageNet-normalised units, H and W multiples of 16. Output: the same shape and units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nightseg_train.nets.ddrnet import Basic, conv

STRIDE = 8


def bilinear_phases(stride: int) -> Tensor:
    """Return the stride^2 x 1 x 3 x 3 weights of a bilinear enlargement by an even factor, half-pixel corners."""
    taps = torch.zeros(stride, 3)
    for phase in range(stride):
        at = (phase + 0.5) / stride - 0.5
        taps[phase, 1] = 1 - abs(at)
        taps[phase, 0 if at < 0 else 2] = abs(at)
    return torch.einsum("iy,jx->ijyx", taps, taps).reshape(stride * stride, 1, 3, 3)


class Enlarge(nn.Module):
    """Bilinear enlargement of one plane by STRIDE: N x 1 x h x w -> N x 1 x 8h x 8w; beyond the border lies zero."""

    def __init__(self) -> None:
        """Make the fixed weights; they are no parameters."""
        super().__init__()
        self.register_buffer("weight", bilinear_phases(STRIDE), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the enlarged plane."""
        weight = self.get_buffer("weight").to(x.dtype)
        return F.pixel_shuffle(F.conv2d(x, weight, padding=1), STRIDE)


class Relight(nn.Module):
    """The network; it starts as the identity (a = b = 0), so that training begins from the plain picture."""

    def __init__(self, width: int = 16) -> None:
        """Make the network; width is the channels at 1/8."""
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(3, width, STRIDE, STRIDE, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.down = conv(width, 2 * width, 3, 2)
        self.deep = nn.Sequential(Basic(2 * width, 2 * width), Basic(2 * width, 2 * width))
        self.up = conv(2 * width, width, 1)
        self.fuse = conv(width, width)
        self.gain = nn.Conv2d(width, 1, 3, 1, 1)
        self.offset = nn.Conv2d(width, 1, 3, 1, 1)
        self.enlarge = Enlarge()
        for m in (self.gain, self.offset):
            nn.init.zeros_(m.weight)
            if m.bias is not None:
                nn.init.zeros_(m.bias)

    def residual(self, x: Tensor) -> Tensor:
        """Return r = tanh(G(x)), N x 3 x H x W, each value between -1 and 1."""
        fine = self.enter(x)
        deep = self.deep(self.down(fine))
        up = F.interpolate(self.up(deep), scale_factor=2, mode="bilinear", align_corners=False)
        fine = self.fuse(fine + up)
        return torch.tanh(self.enlarge(self.gain(fine)) * x + self.enlarge(self.offset(fine)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the relit picture x + r."""
        return x + self.residual(x)
