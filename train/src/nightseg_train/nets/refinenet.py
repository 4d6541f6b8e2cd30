"""RefineNet (Lin et al., CVPR 2017, arXiv 1611.06612) as DANNet uses it, with the authors' state-dict keys.

A ResNet-101 of stride 32 without dilation, and a cascade that refines its coarsest map with the finer ones. Input is
RGB in ImageNet-normalised units, N x 3 x H x W; output are logits N x classes x h x w of a quarter of the size:
128 x 128 for 512 x 512, 135 x 240 for 540 x 960. The caller resizes them with aligned corners. 521 GMAC at 540 x 960.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from nightseg_train.nets.resize import resize
from nightseg_train.nets.trunk import BLOCKS, conv3, stage

# Of the cascade's stages, coarse to fine: channels of the trunk's map, and of the stage.
CASCADE = ((2048, 512), (1024, 256), (512, 256), (256, 256))


class ResidualUnits(nn.ModuleDict):
    """Residual conv units, one after the other: ReLU, 3x3, ReLU, 3x3 and the identity; keeps the shape."""

    def __init__(self, channels: int, units: int) -> None:
        """Make the units; the numbers in the keys start at 1."""
        super().__init__()
        for i in range(1, units + 1):
            self[f"{i}_conv"] = conv3(channels, channels, bias=True)
            self[f"{i}_conv_relu_varout_dimred"] = conv3(channels, channels)
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        """Return the refined map, not activated."""
        for i in range(1, self.units + 1):
            y = self[f"{i}_conv"](F.relu(x))
            x = x + self[f"{i}_conv_relu_varout_dimred"](F.relu(y))
        return x


class ChainedPooling(nn.ModuleDict):
    """Chained residual pooling: each pool takes what the one before it made, and all are summed; keeps the shape."""

    POOLS = 4

    def __init__(self, channels: int) -> None:
        """Make the convolutions; the numbers in the keys start at 1."""
        super().__init__()
        for i in range(1, self.POOLS + 1):
            self[f"{i}_outvar_dimred"] = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the chain's maps."""
        top = x
        for conv in self.values():
            top = conv(F.max_pool2d(top, 5, 1, 2))
            x = x + top
        return x


class RefineNet(nn.Module):
    """The network; it has no auxiliary head."""

    def __init__(self, classes: int = 19) -> None:
        """Make the network."""
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = stage(64, 64, BLOCKS[0])
        self.layer2 = stage(256, 128, BLOCKS[1], stride=2)
        self.layer3 = stage(512, 256, BLOCKS[2], stride=2)
        self.layer4 = stage(1024, 512, BLOCKS[3], stride=2)
        self.drop = nn.Dropout(0.5)
        for n, (c_in, c) in enumerate(CASCADE, 1):
            self.add_module(f"p_ims1d2_outl{n}_dimred", conv3(c_in, c))
            self.add_module(f"adapt_stage{n}_b", nn.Sequential(ResidualUnits(c, 2)))
            if n > 1:
                self.add_module(f"adapt_stage{n}_b2_joint_varout_dimred", conv3(c, c))
            self.add_module(f"mflow_conv_g{n}_pool", nn.Sequential(ChainedPooling(c)))
            self.add_module(f"mflow_conv_g{n}_b", nn.Sequential(ResidualUnits(c, 3)))
            if n < len(CASCADE):
                self.add_module(f"mflow_conv_g{n}_b3_joint_varout_dimred", conv3(c, CASCADE[n][1]))
        self.clf_conv = conv3(CASCADE[-1][1], classes, bias=True)

    def _refine(self, n: int, x: Tensor, coarser: Tensor | None) -> Tensor:
        """Return stage n's map at the size of the trunk's map x, with the coarser stage's map merged in."""
        y: Tensor = self.get_submodule(f"p_ims1d2_outl{n}_dimred")(x)
        y = self.get_submodule(f"adapt_stage{n}_b")(y)
        if coarser is not None:
            y = self.get_submodule(f"adapt_stage{n}_b2_joint_varout_dimred")(y)
            y = y + resize(coarser, (y.shape[2], y.shape[3]))
        y = self.get_submodule(f"mflow_conv_g{n}_pool")(F.relu(y))
        y = self.get_submodule(f"mflow_conv_g{n}_b")(y)
        if n < len(CASCADE):
            y = self.get_submodule(f"mflow_conv_g{n}_b3_joint_varout_dimred")(y)
        return y

    def both(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits, N x classes x h x w, and None in place of auxiliary logits."""
        return self(x), None

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        l1 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        l2 = self.layer2(l1)
        l3 = self.layer3(l2)
        # Only the two coarsest maps are dropped out; layer4 sees layer3's map whole.
        l4, l3 = self.drop(self.layer4(l3)), self.drop(l3)
        y: Tensor | None = None
        for n, level in enumerate((l4, l3, l2, l1), 1):
            y = self._refine(n, level, y)
        logits: Tensor = self.clf_conv(self.drop(y))
        return logits
