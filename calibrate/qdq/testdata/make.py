"""Makes the networks of this folder: a small one with random weights, and what onnxruntime's quantiser makes of it.

    PYTHONPATH=train/src .cache/venv/train/bin/python calibrate/qdq/testdata/make.py

It has the parts of the networks that ship: depthwise convolutions with ReLU6, sums, pools of several sizes that are
resized and joined, and a depth-to-space at the end.
"""

from pathlib import Path

import torch
from nightseg_train import graphs
from nightseg_train.nets.ddrnet import Context, conv, resize
from nightseg_train.nets.lite import Inverted, unit
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent


class Small(nn.Module):
    """The network; N x 3 x H x W to N x 5 x H/4 x W/4."""

    def __init__(self) -> None:
        """Make the network with random weights."""
        super().__init__()
        self.fine = nn.Sequential(unit(3, 16, 3, 2), Inverted(16, 16, 3, 1, 1), Inverted(16, 24, 3, 2, 6))
        self.deep = nn.Sequential(Inverted(24, 24, 5, 1, 6), Inverted(24, 24, 3, 1, 6), Inverted(24, 40, 5, 2, 6))
        self.context, self.side = Context(40, 32, 48), conv(24, 48, 3, 2, act=False)
        self.head = nn.Sequential(conv(48, 32), nn.Conv2d(32, 20, 1), nn.PixelShuffle(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        fine = self.fine(x)
        side = self.side(fine)
        return self.head(F.relu(side + resize(F.relu(self.context(self.deep(fine))), side)))


def main() -> None:
    """Make both files."""
    torch.manual_seed(1)
    net = Small()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.3)
    with torch.no_grad():
        for _ in range(20):  # statistics of the norms
            net(torch.randn(4, 3, 64, 96))
    graphs.write(graphs.SegmentGraph(net.eval()), torch.randn(1, 3, 64, 96), graphs.SEGMENT, HERE / "float.onnx")
    seen = [torch.randn(1, 3, 64, 96).numpy() for _ in range(8)]
    graphs.quantise(HERE / "float.onnx", HERE / "theirs.onnx", graphs.SEGMENT, lambda: seen, graphs.Calibration())


main()
