"""Training on labelled pictures alone: the base of every comparison, and what makes teachers.

Whether the pictures are darkened is a matter of the data (`windows.light`), not of the method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nightseg_train import data, losses, parallel
from nightseg_train.method import WHOLE, Batch, Needs, View
from nightseg_train.nets.pair import Pair


@dataclass(frozen=True)
class Settings:
    """Settings of the method.

    Attributes:
        segment, relight: names of nets (nets/registry.py).
        rate, encoder_rate, weight_decay: of AdamW; encoder_rate is the share that an ImageNet encoder learns at.
        std, test_std: spread of the class weights in training and at test.
        aux: weight of the auxiliary head, where the net has one.
        easy: pixels whose own class is more probable leave the cross-entropy.
        jaccard: weight of the soft Jaccard loss beside the cross-entropy.
    """

    segment: str = "lite0"
    relight: str = "none"
    rate: float = 1e-3
    encoder_rate: float = 0.4
    weight_decay: float = 1e-2
    std: float = 0.05
    test_std: float = 0.0
    aux: float = 0.4
    easy: float = 1.0
    jaccard: float = 0.0


class Source:
    """The method."""

    align_corners = False

    def __init__(self, s: Settings, shares: tuple[float, ...]) -> None:
        """Make the networks with random weights; shares are a_k of the labels."""
        self.s = s
        self.needs = Needs(labelled=True)
        self.pair = Pair(s.segment, s.relight, len(shares))
        self.weight = losses.class_weights(shares, s.std).float()
        self.log_weight = losses.class_weights(shares, s.test_std).float().log().view(1, -1, 1, 1)

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks."""
        return self.pair.modules()

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return one AdamW."""
        s = self.s
        groups = self.pair.groups(s.rate, s.encoder_rate)
        return {"nets": torch.optim.AdamW(groups, s.rate, weight_decay=s.weight_decay)}

    def losses(self, batch: Batch) -> Iterator[Mapping[str, Tensor]]:
        """Yield the loss on the labels."""
        if batch.labels is None:
            raise ValueError("source: the batch holds no labels of its source pictures")
        x = batch.x["source"]
        logits, aux = self.pair.heads(x if self.pair.relight is None else self.pair.relight(x))
        yield {"source": labelled(self.s, logits, aux, batch.labels, self.weight.to(logits.device))}

    def after(self, step: int) -> None:
        """Do nothing: the method has no teacher and no queue."""

    def predict(self, picture: data.Picture, view: View = WHOLE) -> Tensor:
        """Return the logits of RGB bytes H x W x 3 with the class weights, 1 x classes x h x w."""
        logits = self.pair.logits(picture, view)
        return logits + self.log_weight if view.reweight else logits


def labelled(s: Settings, logits: Tensor, aux: Tensor | None, labels: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted cross-entropy of the logits plus s.aux of that of the auxiliary ones at half the size.

    With s.jaccard the soft Jaccard loss of the logits is added. Means and sums are over the pixels of all processes.
    """
    loss = losses.cross_entropy(logits, labels, weight, s.easy, parallel.mean)
    if s.jaccard > 0:
        loss = loss + s.jaccard * losses.jaccard(logits, labels, parallel.mean)
    if aux is None or s.aux == 0:
        return loss
    return loss + s.aux * losses.cross_entropy(aux, labels[:, ::2, ::2], weight, s.easy, parallel.mean)
