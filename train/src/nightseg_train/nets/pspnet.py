"""PSPNet (Zhao et al., CVPR 2017, arXiv 1612.01105) as DANNet uses it, with the authors' state-dict keys.

A ResNet-101 of stride 8 (dilation 2 and 4 in its last stages) with a stem of three 3x3 convolutions, and a head that
adds the means of four coarse grids to each pixel. Input is RGB in ImageNet-normalised units, N x 3 x H x W; output are
logits N x classes x h x w of about an eighth of the size: 65 x 65 for 512 x 512, 68 x 121 for 540 x 960. The caller
resizes them with aligned corners. 525 GMAC at 540 x 960.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from nightseg_train.nets import fastconv
from nightseg_train.nets.resize import AdaptivePool, resize, tap_matrix
from nightseg_train.nets.trunk import BLOCKS, conv3, stage

SIZES = (1, 2, 3, 6)
WIDTH = 512


class PyramidPooling(nn.Module):
    """Means over coarse grids, reduced and resized back beside x: N x c_in x h x w -> N x width x h x w.

    As released it has no batch norm after the reductions and activates nothing, also not its output.
    """

    def __init__(self, c_in: int, width: int = WIDTH) -> None:
        """Make the layers."""
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(AdaptivePool(size), nn.Conv2d(c_in, width, 1, bias=False)) for size in SIZES
        )
        merge = conv3(c_in + len(SIZES) * width, width)
        self.bottleneck = nn.Sequential(merge, nn.BatchNorm2d(width), nn.Dropout2d(0.1))
        self.widths = [width] * len(SIZES) + [c_in]

    def forward(self, x: Tensor) -> Tensor:
        """Return the merged map at the size of x."""
        if fastconv.mixed(x):
            merged: Tensor = self.bottleneck[1:](self._merge(x))
            return merged
        size = (x.shape[2], x.shape[3])
        pooled = [resize(stage(x), size) for stage in self.stages]
        y: Tensor = self.bottleneck(torch.cat([*pooled, x], 1))
        return y

    def _merge(self, x: Tensor) -> Tensor:
        """Return the merging convolution of the grids and x, with the taps' products made on the grids as they are.

        Filter and resize are both linear. On the resized grids the products would be half of all of the layer's.
        """
        weight = cast(nn.Conv2d, self.bottleneck[0]).weight
        *kernels, own = weight.split_with_sizes(self.widths, 1)
        y = fastconv.conv2d(x.bfloat16(), own, pad=1)
        grids = [stage(x).float() for stage in self.stages]
        with torch.autocast(x.device.type, enabled=False):
            for grid, kernel in zip(grids, kernels, strict=True):
                n, _, size, _ = grid.shape
                taps = torch.einsum("ocyx,ncij->noyixj", kernel, grid).reshape(n, -1, 3 * size, 3 * size)
                rows, columns = tap_matrix(size, x.shape[2]), tap_matrix(size, x.shape[3])
                y = y + torch.matmul(torch.matmul(rows, taps), columns.T)
        return y.to(x.dtype, memory_format=torch.channels_last)


class PSPNet(nn.Module):
    """The network; its auxiliary head `dsn` is in released files but is not trained in the adaptation (D12)."""

    def __init__(self, classes: int = 19) -> None:
        """Make the network."""
        super().__init__()
        self.conv1, self.bn1 = conv3(3, 64, 2), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = conv3(64, 64), nn.BatchNorm2d(64)
        self.conv3, self.bn3 = conv3(64, 128), nn.BatchNorm2d(128)
        self.relu = nn.ReLU(inplace=True)
        # Rounding up is why the grid of 540 x 960 is 68 x 121.
        self.maxpool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.layer1 = stage(128, 64, BLOCKS[0])
        self.layer2 = stage(256, 128, BLOCKS[1], stride=2)
        self.layer3 = stage(512, 256, BLOCKS[2], dilation=2)
        self.layer4 = stage(1024, 512, BLOCKS[3], dilation=4)
        self.head = nn.Sequential(PyramidPooling(2048), nn.Conv2d(WIDTH, classes, 1))
        self.dsn = nn.Sequential(
            conv3(1024, WIDTH, bias=True), nn.BatchNorm2d(WIDTH), nn.Dropout2d(0.1), nn.Conv2d(WIDTH, classes, 1)
        )

    def middle(self, x: Tensor) -> Tensor:
        """Return the map of layer3, N x 1024 x h x w."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.conv3(x)))
        y: Tensor = self.layer3(self.layer2(self.layer1(self.maxpool(x))))
        return y

    def both(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and the auxiliary logits of layer3, both N x classes x h x w."""
        middle = self.middle(x)
        # First, as in the authors' code, so that the same seed drops the same channels.
        aux = self.dsn(middle)
        return self.head(self.layer4(middle)), aux

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits; the auxiliary head does not run."""
        logits: Tensor = self.head(self.layer4(self.middle(x)))
        return logits
