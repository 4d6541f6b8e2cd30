"""A training step of DANNet as its authors' program has it, in plain PyTorch: what `time-step` compares with.

Written from the formulas (docs/dannet.md) without the short cuts of methods/dannet.py and losses/: float weights, each
discriminator called for every loss, the auxiliary head that nobody uses, one-hot labels. It is kinder than the program
in two points: labels have no shifted copies, which change nothing there (D4), and no picture is copied to a device.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from nightseg_train.classes import IGNORE
from nightseg_train.method import Batch
from nightseg_train.methods.dannet import Dannet
from nightseg_train.nets.pspnet import PSPNet


class Plain:
    """The step. It trains the networks of a method, whose settings have to be the official ones but for numbers."""

    def __init__(self, method: Dannet) -> None:
        """Take the networks; their weights become contiguous, as PyTorch makes them."""
        self.s, self.weight, self.static = method.s, method.weight, len(method.static)
        for net in method.modules().values():
            net.to(memory_format=torch.contiguous_format)
        self.segment, self.relight = method.segment, method.relight
        self.judges = {"day": method.judge_day, "night": method.judge_night}
        s = self.s
        trained = [*self.segment.parameters(), *self.relight.parameters()]
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.SGD(trained, s.rate, s.momentum, weight_decay=s.weight_decay),
            *(torch.optim.Adam(judge.parameters(), s.rate_d, s.betas) for judge in self.judges.values()),
        ]

    def step(self, batch: Batch) -> dict[str, float]:
        """Take a step and return the terms of the loss by the names of methods/dannet.py.

        Raises:
            ValueError: the batch holds no labels.
        """
        if batch.labels is None:
            raise ValueError("time-step: the batch holds no labels")
        s, x = self.s, {k: v.contiguous() for k, v in batch.x.items()}
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        for judge in self.judges.values():
            judge.requires_grad_(False)
        exposure = x["night"].mean()
        seen: dict[str, Tensor] = {}
        terms: dict[str, float] = {}
        for name, enlarge, share in (("day", s.enlarge, s.light_target), ("night", s.enlarge, s.light_target),
                                     ("source", 1.0, s.light_source)):  # fmt: skip
            r, logits = self._see(x[name], enlarge)
            parts = {f"light_{name}": share * light(r, x[name] + r, x[name], exposure)}
            if name == "source":
                parts["source"] = F.cross_entropy(logits, batch.labels.long(), self.weight, ignore_index=IGNORE)
            else:
                parts[f"adv_{name}"] = s.adversarial * self.judges[name](F.softmax(logits, 1)).square().mean()
            if name == "night":
                label = self._label(seen["day"], logits.detach())
                parts["static"] = s.static * static(logits[:, : self.static], label, self.weight, s.gamma)
            seen[name] = logits.detach()
            terms |= _back(parts)
        for name, judge in self.judges.items():
            judge.requires_grad_(True)
            for domain, wanted in (("source", 0.0), (name, 1.0)):
                told = judge(F.softmax(seen[domain], 1))
                terms |= _back({f"judge_{name}_{domain}": (told - wanted).square().mean() / 2})
        for optimiser in self.optimisers:
            optimiser.step()
        return terms

    def _see(self, x: Tensor, enlarge: float) -> tuple[Tensor, Tensor]:
        """Return the residuals, and the logits of the relit pictures at enlarge times their size."""
        r = self.relight.residual(x)
        relit = x + r
        size = (round(x.shape[2] * enlarge), round(x.shape[3] * enlarge))
        if isinstance(self.segment, PSPNet):
            middle = self.segment.middle(relit)
            with torch.random.fork_rng(devices=[]):  # so that the head drops the channels of a step without this one
                self.segment.dsn(middle)
            logits = self.segment.head(self.segment.layer4(middle))
        else:
            logits = self.segment(relit)
        return r, F.interpolate(logits, size, mode="bilinear", align_corners=True)

    def _label(self, day: Tensor, night: Tensor) -> Tensor:
        """Return N x H x W pseudo-labels: static logits mixed (D1), all times the class weights (D2), the arg-max."""
        n = self.static
        share = torch.where(day[:, :n] > 0.4, 0.8, 0.2)
        mix = torch.cat([share * day[:, :n] + (1 - share) * night[:, :n], night[:, n:]], 1)
        label = (mix * self.weight.view(1, -1, 1, 1)).argmax(1)
        label[label >= n] = IGNORE
        return label


def light(r: Tensor, relit: Tensor, x: Tensor, exposure: Tensor) -> Tensor:
    """Return 10 TV + SSIM loss + exposure (D6 to D9) of residuals, relit pictures and pictures, N x 3 x H x W."""
    n, _, h, w = r.shape
    down, right = (r[:, :, 1:] - r[:, :, :-1]).square().sum(), (r[..., 1:] - r[..., :-1]).square().sum()
    variation = 2 * (down / ((h - 1) * w) + right / (h * (w - 1))) / n
    a, b = (F.pad(v, (1, 1, 1, 1), mode="reflect") for v in (relit, x))
    ma, mb = F.avg_pool2d(a, 3, 1), F.avg_pool2d(b, 3, 1)
    va, vb = F.avg_pool2d(a**2, 3, 1) - ma**2, F.avg_pool2d(b**2, 3, 1) - mb**2
    both = F.avg_pool2d(a * b, 3, 1) - ma * mb
    ssim = (2 * ma * mb + 1e-4) * (2 * both + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    level = F.avg_pool2d(relit.mean(1, keepdim=True), 32)
    return 10 * variation + ((1 - ssim) / 2).clamp(0, 1).mean() + (level - exposure).square().mean()


def static(logits: Tensor, label: Tensor, weight: Tensor, gamma: float) -> Tensor:
    """Return the focal loss of static logits N x S x H x W to labels N x H x W, those of other classes left out (D10).

    0 where there is no static label; the program has not-a-number there.
    """
    count = logits.shape[1]
    flat, wanted = logits.permute(0, 2, 3, 1).reshape(-1, count), label.reshape(-1)
    flat, wanted = flat[wanted != IGNORE], wanted[wanted != IGNORE]
    hot = torch.zeros(flat.shape).scatter_(1, wanted[:, None], 1.0)
    p = (weight[:count] * F.softmax(flat, 1) * hot).amax(1).clamp(1e-7, 1 - 1e-7)
    return -((1 - p) ** gamma * p.log()).sum() / max(len(p), 1)


def _back(parts: Mapping[str, Tensor]) -> dict[str, float]:
    """Propagate the sum of the parts back and return their values."""
    sum(parts.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    return {k: v.item() for k, v in parts.items()}
