"""DeepLab-v2 (Chen et al., arXiv 1606.00915) as DANNet uses it, with the authors' state-dict keys.

A ResNet-101 of stride 8 in Caffe's layout (blocks stride in their first convolution; scale and shift of their batch
norms do not learn) and two heads of dilated convolutions, after AdaptSegNet (arXiv 1802.10349). Input is RGB in
ImageNet-normalised units, N x 3 x H x W; output are logits N x classes x h x w of about an eighth of the size:
65 x 65 for 512 x 512, 68 x 121 for 540 x 960. The caller resizes them with aligned corners. 361 GMAC at 540 x 960.
"""

from __future__ import annotations

from torch import Tensor, nn

from nightseg_train.nets.trunk import BLOCKS, conv3, stage

DILATIONS = (6, 12, 18, 24)
# D11: the authors' code returns from within its loop, so the released weights were trained with these branches only.
LIVE = 2


class Atrous(nn.Module):
    """Dilated 3x3 convolutions to logits, summed: N x c_in x h x w -> N x classes x h x w.

    All four branches are in the state dict; without all_branches the last two neither count nor get a gradient.
    """

    def __init__(self, c_in: int, classes: int, all_branches: bool = False) -> None:
        """Make the branches."""
        super().__init__()
        self.conv2d_list = nn.ModuleList(conv3(c_in, classes, dilation=d, bias=True) for d in DILATIONS)
        self.live = len(DILATIONS) if all_branches else LIVE

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum over the live branches."""
        y: Tensor = self.conv2d_list[0](x)
        for branch in self.conv2d_list[1 : self.live]:
            y = y + branch(x)
        return y


class DeepLab(nn.Module):
    """The network; its auxiliary head `layer5` is in released files but is not trained in the adaptation (D12)."""

    def __init__(self, classes: int = 19, all_branches: bool = False) -> None:
        """Make the network; all_branches sums four dilations as the paper draws it, else two as released (D11)."""
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        # Rounding up is why the grid of 540 x 960 is 68 x 121.
        self.maxpool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.layer1 = stage(64, 64, BLOCKS[0], stride_first=True, frozen_affine=True)
        self.layer2 = stage(256, 128, BLOCKS[1], stride=2, stride_first=True, frozen_affine=True)
        self.layer3 = stage(512, 256, BLOCKS[2], dilation=2, stride_first=True, frozen_affine=True)
        self.layer4 = stage(1024, 512, BLOCKS[3], dilation=4, stride_first=True, frozen_affine=True)
        self.layer5 = Atrous(1024, classes, all_branches)
        self.layer6 = Atrous(2048, classes, all_branches)

    def _middle(self, x: Tensor) -> Tensor:
        """Return the map of layer3, N x 1024 x h x w."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        y: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return y

    def both(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and the auxiliary logits of layer3, both N x classes x h x w."""
        middle = self._middle(x)
        return self.layer6(self.layer4(middle)), self.layer5(middle)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits; the auxiliary head does not run."""
        logits: Tensor = self.layer6(self.layer4(self._middle(x)))
        return logits
