"""DANNet's relighting net (Wu et al., CVPR 2021, arXiv 2104.10834), with the authors' state-dict keys.

A generator of CycleGAN's kind (arXiv 1703.10593): two halvings, three residual blocks, two doublings. It gives the
residual r; the relit picture is x + r, neither clipped nor taken back to grey levels. 163 GMAC at 540 x 960.

Input: N x 3 x H x W in ImageNet-normalised units, H and W multiples of 4. Output: the same shape and units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nightseg_train.nets.fastconv import Conv2d, Mirror, ToFew

WIDTH = 64
BLOCKS = 3
STRIDE = 4


class Residual(nn.Module):
    """Two mirror-padded 3x3 convolutions beside the identity; nothing is activated after the sum."""

    def __init__(self, channels: int) -> None:
        """Make the layers."""
        super().__init__()
        self.conv_block = nn.Sequential(
            Mirror(1), Conv2d(channels, channels, 3, bias=False), nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            Mirror(1), Conv2d(channels, channels, 3, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus what the layers make of it."""
        y: Tensor = self.conv_block(x)
        y += x  # in place: the sum needs no memory of its own
        return y


def _normed(layer: nn.Module, channels: int) -> list[nn.Module]:
    return [layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class LightNet(nn.Module):
    """The network; it starts from PyTorch's initial weights, so its first residuals are not zero."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        a, b, c = WIDTH, 2 * WIDTH, 4 * WIDTH
        self.model = nn.Sequential(
            Mirror(3),
            *_normed(nn.Conv2d(3, a, 7, bias=False), a),
            *_normed(nn.Conv2d(a, b, 3, 2, 1, bias=False), b),
            *_normed(nn.Conv2d(b, c, 3, 2, 1, bias=False), c),
            *(Residual(c) for _ in range(BLOCKS)),
            *_normed(nn.ConvTranspose2d(c, b, 3, 2, 1, 1, bias=False), b),
            *_normed(nn.ConvTranspose2d(b, a, 3, 2, 1, 1, bias=False), a),
            Mirror(3),
            ToFew(a, 3, 7),
            nn.Tanh(),
        )

    def residual(self, x: Tensor) -> Tensor:
        """Return r = tanh(G(x)), N x 3 x H x W, each value between -1 and 1.

        Raises:
            ValueError: H or W is no multiple of 4, or is 4 (a quarter of it has nothing to mirror).
        """
        # An export sees sizes as tensors; there a wrong size fails at the sum x + r.
        if not torch.onnx.is_in_onnx_export() and any(n % STRIDE or n <= STRIDE for n in x.shape[2:]):
            h, w = x.shape[2:]
            raise ValueError(f"lightnet: H {h} and W {w} have to be multiples of {STRIDE} above {STRIDE}")
        r: Tensor = self.model(x)
        return r

    def forward(self, x: Tensor) -> Tensor:
        """Return the relit picture x + r; errors as of residual."""
        return x + self.residual(x)
