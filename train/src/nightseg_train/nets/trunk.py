"""ResNet-101 (He et al., CVPR 2016, arXiv 1512.03385): the parts that DANNet's three segmentation nets share.

The nets differ in where a block strides, in dilations and in whether the batch norms' scale and shift learn; their
stems differ too and lie with the nets. Layers start as PyTorch starts them.
"""

from __future__ import annotations

from torch import Tensor, nn

from nightseg_train.nets import fastconv

BLOCKS = (3, 4, 23, 3)
EXPANSION = 4  # channels of a block's output per plane


def conv3(c_in: int, c_out: int, stride: int = 1, dilation: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size at stride 1."""
    return fastconv.Conv2d(c_in, c_out, 3, stride, dilation, dilation, bias=bias)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut: N x c_in x H x W -> N x 4 planes x H/stride x W/stride."""

    def __init__(
        self, c_in: int, planes: int, stride: int = 1, dilation: int = 1, stride_first: bool = False,
        frozen_affine: bool = False,
    ) -> None:  # fmt: skip
        """Make the block.

        stride_first strides in the first 1x1 convolution, as Caffe's weights want it, else the 3x3 one does.
        frozen_affine keeps scale and shift of the batch norms from learning; their running statistics still move.
        """
        super().__init__()
        c_out = EXPANSION * planes
        self.conv1 = nn.Conv2d(c_in, planes, 1, stride if stride_first else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3(planes, planes, 1 if stride_first else stride, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        if frozen_affine:
            for m in self.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)  # in place: it needs no memory of its own
        out: Tensor = self.relu(y)
        return out


def stage(
    c_in: int, planes: int, blocks: int, stride: int = 1, dilation: int = 1, stride_first: bool = False,
    frozen_affine: bool = False,
) -> nn.Sequential:  # fmt: skip
    """Return a stage of blocks, c_in -> 4 planes channels; only the first block strides, all of them dilate."""
    first = Bottleneck(c_in, planes, stride, dilation, stride_first, frozen_affine)
    rest = (Bottleneck(EXPANSION * planes, planes, 1, dilation, stride_first, frozen_affine) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
