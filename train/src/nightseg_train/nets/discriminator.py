"""DANNet's domain discriminator (arXiv 2104.10834), with the authors' state-dict keys.

Fully convolutional, after AdaptSegNet (arXiv 1802.10349), but only its first two layers stride. Input: N x classes x
H x W, the softmax of logits resized to the picture's size. Output: a score per place, N x 1 x h x w, without an
activation, for least squares with source 0 and target 1: 125 x 125 for 512 x 512, 237 x 237 for 960 x 960.
"""

from __future__ import annotations

from torch import Tensor, nn

from nightseg_train.nets.fastconv import Conv2d

WIDTH = 64


class Discriminator(nn.Module):
    """The network; no batch norm, so the two domains may come one after the other."""

    def __init__(self, classes: int = 19) -> None:
        """Make the layers."""
        super().__init__()
        self.conv1 = nn.Conv2d(classes, WIDTH, 4, 2, 1)
        self.conv2 = nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1)
        self.conv3 = Conv2d(2 * WIDTH, 4 * WIDTH, 4, 1, 1)
        self.conv4 = Conv2d(4 * WIDTH, 4 * WIDTH, 4, 1, 1)
        self.classifier = nn.Conv2d(4 * WIDTH, 1, 4, 1, 1)
        self.act = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores."""
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = self.act(conv(x))
        scores: Tensor = self.classifier(x)
        return scores
