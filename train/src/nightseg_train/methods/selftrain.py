"""The recipe of the shipped bundles: labelled days turned to night, and soft targets for everything without labels.

Each step sees labelled pictures, most of them darkened; day pictures without labels, darkened, that are taught what a
teacher saw in the undarkened ones; and true dusk and night pictures that are taught the teacher's view where it is
sure. Relight and segmentation net learn together; the relight net also has DANNet's light loss (arXiv 2104.10834).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nightseg_train import data, losses
from nightseg_train.method import WHOLE, Batch, Needs, View
from nightseg_train.methods import source
from nightseg_train.nets.pair import Pair


@dataclass(frozen=True)
class Settings(source.Settings):
    """Settings of the method, beside those of `source`.

    Attributes:
        distil: weight of the loss on day pictures; 0: they are not read.
        self_train: weight of the loss on dusk and night pictures; 0: they are not read.
        sure: what the best soft target of a dusk or night pixel must exceed to count.
        light: weight of the light losses; light_pictures: on how many labelled and night pictures of a batch each (of
            each process's share of it, where there are several).
        skip_relight: share of the pictures that go past the relight net, so that the other net works without it, too.
        relight_alone: the segmentation net is done and stays as it is, norms too; the relight net learns what helps it.
    """

    relight: str = "edge"
    distil: float = 1.0
    self_train: float = 1.0
    sure: float = 0.7
    light: float = 0.05
    light_pictures: int = 1
    skip_relight: float = 0.2
    relight_alone: bool = False

    def __post_init__(self) -> None:
        """Refuse to train nothing.

        Raises:
            ValueError: relight_alone without a relight net.
        """
        if self.relight_alone and self.relight == "none":
            raise ValueError("selftrain.relight_alone: there is no relight net; set selftrain.relight")

    def taught(self) -> tuple[str, ...]:
        """Return the kinds of pictures without labels that are read."""
        return tuple(kind for kind, weight in (("day", self.distil), ("night", self.self_train)) if weight > 0)


class SelfTrain:
    """The method."""

    align_corners = False

    def __init__(self, s: Settings, shares: tuple[float, ...], exposure: float) -> None:
        """Make the networks with random weights.

        Args:
            s: the settings.
            shares: a_k of the labels.
            exposure: mean of the labelled day pictures in normalised units, which relit pictures are drawn to. (DANNet
                draws them to the night's own mean; they then stay too dark to look at.)
        """
        self.s, self.exposure = s, torch.tensor(exposure)
        taught = s.taught()
        self.needs = Needs(labelled=True, unlabelled=taught, soft=bool(taught))
        self.pair = Pair(s.segment, s.relight, len(shares))
        if s.relight_alone:
            self.pair.segment.eval().requires_grad_(requires_grad=False)
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
        """Yield all terms at once: batch norms are to see all kinds of pictures together."""
        s = self.s
        if batch.labels is None:
            raise ValueError("selftrain: the batch holds no labels of its source pictures")
        x = torch.cat(list(batch.x.values())).contiguous(memory_format=torch.channels_last)
        residual = self._residual(x)
        logits, aux = self.pair.heads(x + residual * self._kept(x))
        at = _slices({k: v.shape[0] for k, v in batch.x.items()})
        src, weight = at["source"], self.weight.to(x.device)
        terms = {"source": source.labelled(s, logits[src], _part(aux, src), batch.labels, weight)}
        for kind, share, floor in (("day", s.distil, 0.0), ("night", s.self_train, s.sure)):
            if kind in at:
                soft = self._taught(logits[at[kind]], _part(aux, at[kind]), batch.soft[kind], floor)
                terms[kind] = share * soft
        if s.light > 0 and self.pair.relight is not None:
            terms["light"] = s.light * sum(
                (self._light(x[at[k]], residual[at[k]]) for k in ("source", "night") if k in at), x.new_zeros(())
            )
        yield terms

    def after(self, step: int) -> None:
        """Do nothing: the soft targets are made before the training."""

    def predict(self, picture: data.Picture, view: View = WHOLE) -> Tensor:
        """Return the logits of RGB bytes H x W x 3 with the class weights, 1 x classes x h x w."""
        logits = self.pair.logits(picture, view)
        return logits + self.log_weight if view.reweight else logits

    def _residual(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x) if self.pair.relight is None else self.pair.relight.residual(x).float()

    def _kept(self, x: Tensor) -> Tensor:
        """Return 0 for the pictures that go past the relight net, else 1: N x 1 x 1 x 1."""
        return (torch.rand(x.shape[0], 1, 1, 1) >= self.s.skip_relight).float().to(x.device)

    def _taught(self, logits: Tensor, aux: Tensor | None, soft: Tensor, floor: float) -> Tensor:
        loss = losses.distillation(logits, soft, floor)
        return loss if aux is None else loss + self.s.aux * losses.distillation(aux, soft, floor)

    def _light(self, x: Tensor, residual: Tensor) -> Tensor:
        x, residual = x[: self.s.light_pictures], residual[: self.s.light_pictures]
        return losses.light_loss(residual, x + residual, x, self.exposure.to(x.device))


def _slices(counts: Mapping[str, int]) -> dict[str, slice]:
    out, start = {}, 0
    for kind, count in counts.items():
        out[kind], start = slice(start, start + count), start + count
    return out


def _part(x: Tensor | None, at: slice) -> Tensor | None:
    return None if x is None else x[at]
