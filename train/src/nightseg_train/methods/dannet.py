"""DANNet (Wu et al., CVPR 2021, arXiv 2104.10834): relight, segment, and align day and night with two discriminators.

One relight net and one segmentation net see labelled day pictures (source), day pictures and night pictures of the
same places (targets). Each step has three parts: day (adversarial + light loss), night (the same, and the static loss
to a pseudo-label from the day picture), source (cross-entropy + light loss); then the discriminators learn to tell
source from target. Paper and program differ in many places (D1 to D19 in `docs/dannet.md`); each is a setting here,
and `paper()` and `official()` are the two sets of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nightseg_train import data, losses, parallel, scoring
from nightseg_train.classes import IGNORE
from nightseg_train.method import WHOLE, Batch, Needs, View
from nightseg_train.nets import registry
from nightseg_train.nets.discriminator import Discriminator

PSEUDO = ("day", "mix")
EXPOSURE = ("batch", "picture")


@dataclass(frozen=True)
class Settings:
    """Settings of the method; the defaults are those of the authors' program.

    Attributes:
        segment, relight: names of nets (nets/registry.py).
        pseudo: "mix" (D1, D2: per element 0.8 day + 0.2 night logits where the day's is above 0.4, else the reverse,
            times the class weights) or "day" (the re-weighted probabilities of the day picture).
        reweight: what the class weights multiply at test: "logit" (D2, code) or "probability" (paper).
        std, test_std: spread of the class weights in training and at test (D3).
        neighbourhood: whether any class of the 3x3 neighbourhood may explain a pixel (D4: it never does in the code).
        gamma: of the focal term (D5).
        light_target, light_source: weights of the light losses (D6).
        exposure: "batch" (D7: one mean of all night pictures) or "picture".
        adversarial, static: weights of these losses.
        enlarge: targets' logits are brought to this multiple of the input (D13: 960 of 512).
        rate, momentum, weight_decay, rate_d, betas: of the SGD and of the two Adam.
    """

    segment: str = "pspnet"
    relight: str = "lightnet"
    pseudo: str = "mix"
    reweight: str = "logit"
    std: float = 0.05
    test_std: float = 0.16
    neighbourhood: bool = False
    gamma: float = 1.0
    light_target: float = 0.01
    light_source: float = 1.0
    exposure: str = "batch"
    adversarial: float = 0.01
    static: float = 1.0
    enlarge: float = 1.875
    rate: float = 2.5e-4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    rate_d: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)

    def __post_init__(self) -> None:
        """Refuse unknown choices.

        Raises:
            ValueError: a setting is none of its choices.
        """
        for name, choices in (("pseudo", PSEUDO), ("exposure", EXPOSURE), ("reweight", scoring.MODES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"dannet.{name}: {getattr(self, name)!r} is not one of {', '.join(choices)}")


def official() -> Settings:
    """Return the settings of the authors' program at its last commit."""
    return Settings()


def paper() -> Settings:
    """Return the settings of the paper: day-only pseudo-labels of re-weighted probabilities, true 3x3 tolerance."""
    return Settings(
        pseudo="day", reweight="probability", neighbourhood=True, light_source=0.01, exposure="picture", test_std=0.05
    )


class Dannet:
    """The method. Class shares and the static classes come from the labelled data set."""

    align_corners = True

    def __init__(self, s: Settings, shares: tuple[float, ...], static: tuple[int, ...]) -> None:
        """Make the networks with random weights; shares are a_k of the labels, static the ids that cannot move."""
        classes = len(shares)
        self.s, self.static = s, static
        self.needs = Needs(labelled=True, unlabelled=("day", "night"), pairs=True)
        self.segment = registry.segment(s.segment, classes).to(memory_format=torch.channels_last).train()
        self.relight = registry.relight(s.relight).to(memory_format=torch.channels_last).train()
        judges = (Discriminator(classes).to(memory_format=torch.channels_last).train() for _ in range(2))
        self.judge_day, self.judge_night = judges
        self.weight = losses.class_weights(shares, s.std).float()
        self.test_weight = losses.class_weights(shares, s.test_std).float()

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the four networks."""
        return {
            "segment": self.segment, "relight": self.relight,
            "judge_day": self.judge_day, "judge_night": self.judge_night,
        }  # fmt: skip

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return one SGD for relight and segmentation net and an Adam per discriminator."""
        s = self.s
        trained = [p for p in chain(self.segment.parameters(), self.relight.parameters()) if p.requires_grad]
        return {
            "nets": torch.optim.SGD(trained, s.rate, s.momentum, weight_decay=s.weight_decay, fused=True),
            "judge_day": torch.optim.Adam(self.judge_day.parameters(), s.rate_d, s.betas, fused=True),
            "judge_night": torch.optim.Adam(self.judge_night.parameters(), s.rate_d, s.betas, fused=True),
        }

    def losses(self, batch: Batch) -> Iterator[Mapping[str, Tensor]]:
        """Yield day, night and source, then both discriminators on the predictions of before the step.

        A discriminator looks at a target once, for the target's part and for its own.
        """
        s, night = self.s, batch.x["night"]
        target = _exposure(night, s.exposure)
        day_logits, light = self._relit_logits(batch.x["day"], target, s.enlarge)
        fool, teach_day = _look(self.judge_day, day_logits)
        yield {"adv_day": s.adversarial * fool, "light_day": s.light_target * light}
        day_logits = day_logits.detach()

        night_logits, light = self._relit_logits(night, target, s.enlarge)
        label = self.pseudo_label(day_logits, night_logits.detach())
        fool, teach_night = _look(self.judge_night, night_logits)
        yield {
            "adv_night": s.adversarial * fool,
            "light_night": s.light_target * light,
            "static": s.static * self._static_loss(night_logits, label),
        }
        del day_logits, night_logits

        logits, light = self._relit_logits(batch.x["source"], target, 1.0)
        if batch.labels is None:
            raise ValueError("dannet: the batch holds no labels of its source pictures")
        yield {"source": self._entropy(logits, batch.labels.long()), "light_source": s.light_source * light}

        seen = losses.softmax(logits.detach())
        for name, judge, teach in (("day", self.judge_day, teach_day), ("night", self.judge_night, teach_night)):
            yield {f"judge_{name}_source": losses.least_squares(judge(seen).float(), losses.SOURCE) / 2}
            yield {f"judge_{name}_{name}": teach}

    def after(self, step: int) -> None:
        """Do nothing: the method has no teacher and no queue."""

    def _relit_logits(self, x: Tensor, exposure: Tensor, enlarge: float) -> tuple[Tensor, Tensor]:
        """Return the logits of the relit pictures at enlarge times their size, and the light loss."""
        r = self.relight.residual(x).float()
        logits = self.segment(x + r).float()
        size = (round(x.shape[2] * enlarge), round(x.shape[3] * enlarge))
        return _up(logits, size), losses.light_loss(r, x + r, x, exposure)

    def _static_loss(self, logits: Tensor, label: Tensor) -> Tensor:
        s = self.s
        return losses.static_loss(
            logits, label, self.weight, self.static, s.gamma, s.neighbourhood, count=parallel.mean
        )

    def _entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted cross-entropy: the sum over the pixels by the summed weights of the labelled ones."""
        total = F.cross_entropy(logits.contiguous(), labels, self.weight, ignore_index=IGNORE, reduction="sum")
        weights = self.weight[labels[labels != IGNORE]].sum()
        return total / parallel.mean(weights).clamp_min(1e-6)

    def pseudo_label(self, day: Tensor, night: Tensor) -> Tensor:
        """Return what the night pictures are taught, N x H x W ids: static classes, 255 elsewhere.

        Args:
            day: logits of the day pictures, N x classes x H x W.
            night: logits of the night pictures of the same places, of the same shape; D1 mixes them in.
        """
        if self.s.pseudo == "mix":
            return losses.pseudo_label_official(day, night, self.weight, self.static)
        return losses.pseudo_label_paper(day, self.weight, self.static)

    def predict(self, picture: data.Picture, view: View = WHOLE) -> Tensor:
        """Return the re-weighted logits of RGB bytes H x W x 3, 1 x classes x h x w (corners aligned)."""
        device = next(self.segment.parameters()).device
        x = scoring.to_tensor(picture).to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            logits: Tensor = self.segment(self.relight(x) if view.relight else x).float().cpu()
        if not view.reweight:
            return logits
        return scoring.reweighted(logits, self.test_weight, self.s.reweight)


class _Known(torch.autograd.Function):
    """A loss whose gradients are known: value, gradients, the inputs that they are of -> value."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: tuple[Tensor, ...], *_: Tensor) -> Tensor:  # noqa: ANN401 - PyTorch's
        """Return the value."""
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradients of the inputs."""
        return None, None, *(grads[0] * g for g in ctx.saved_tensors)


def _look(judge: nn.Module, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Let a judge look at a target's predictions; return the loss of not fooling it, and what it says as its own loss.

    The first has a gradient to the logits only and the second to the judge only, although both come from one forward
    pass: the gradients are taken here, and the pass is forgotten.
    """
    seen, weights = losses.softmax(logits), tuple(judge.parameters())
    shown = seen.detach().requires_grad_()
    told: Tensor = judge(shown).float()
    fool, teach = losses.least_squares(told, losses.SOURCE), losses.least_squares(told, losses.TARGET) / 2
    with torch.autocast(logits.device.type, enabled=False):
        to_seen = torch.autograd.grad(fool, (shown,), retain_graph=True)
        to_judge = torch.autograd.grad(teach, weights)
    return _Known.apply(fool.detach(), to_seen, seen), _Known.apply(teach.detach(), to_judge, *weights)


def _up(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)


def _exposure(night: Tensor, how: str) -> Tensor:
    """Return what relit pictures are drawn to: the mean of the whole night batch, or of each night picture."""
    if how == "batch":
        return parallel.mean(night.mean())
    return night.mean((1, 2, 3), keepdim=True).detach()
