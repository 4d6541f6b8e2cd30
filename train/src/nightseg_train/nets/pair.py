"""A relight net and a segmentation net as one: what most methods train, and what a bundle holds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nightseg_train import data, scoring
from nightseg_train.method import WHOLE, View
from nightseg_train.nets import registry
from nightseg_train.nets.espnetv2 import ESPNetv2
from nightseg_train.nets.lite import LiteSeg


class Pair:
    """The two networks; without a relight net the picture goes to the segmentation net as it is."""

    def __init__(self, segment: str, relight: str, classes: int) -> None:
        """Make both with random weights; relight "none": there is none.

        Raises:
            ValueError: there is no net of that name.
        """
        self.segment = registry.segment(segment, classes).to(memory_format=torch.channels_last).train()
        self.relight = None if relight == "none" else registry.relight(relight).to(memory_format=torch.channels_last)

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"segment": self.segment} | ({} if self.relight is None else {"relight": self.relight})

    def groups(self, rate: float, encoder_rate: float) -> list[dict[str, object]]:
        """Return the parameters for an optimiser: an ImageNet encoder learns at encoder_rate of the rate.

        Biases and the factors of norms are not decayed. Parameters without gradients are left out.
        """
        pretrained = list(self.segment.encoder.parameters()) if isinstance(self.segment, LiteSeg) else []
        known = {id(p) for p in pretrained}
        fresh = [p for m in self.modules().values() for p in m.parameters() if id(p) not in known]
        groups: list[dict[str, object]] = []
        for params, scale in ((pretrained, encoder_rate), (fresh, 1.0)):
            learn = [p for p in params if p.requires_grad]
            groups.append({"params": [p for p in learn if p.ndim <= 1], "lr": rate * scale, "weight_decay": 0.0})
            groups.append({"params": [p for p in learn if p.ndim > 1], "lr": rate * scale})
        return [g for g in groups if g["params"]]

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits of relit or plain pictures, and those of the auxiliary head where the net has one."""
        if isinstance(self.segment, registry.Edge):
            logits, aux = self.segment.both(x)
            return logits, aux
        if isinstance(self.segment, ESPNetv2):
            return self.segment.half_size(x), None
        logits = self.segment(x)
        return logits, None

    def logits(self, picture: data.Picture, view: View = WHOLE) -> Tensor:
        """Return the logits of RGB bytes H x W x 3 in bf16 on a processor: float 1 x classes x h x w."""
        device = next(self.segment.parameters()).device
        x = scoring.to_tensor(picture).to(device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            if self.relight is not None and view.relight:
                x = self.relight(x)
            return self.heads(x)[0].float().cpu()
