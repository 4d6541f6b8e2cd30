"""What a training method is: the seam between the loop and the files of `methods/`.

A method says what it needs, gives the loop its losses in parts, and predicts. The loop (`loop.py`) owns everything
else: seeds, back-propagation, optimiser steps, schedules, averages, checkpoints, validation. There are two shapes:
`Learner` is driven step by step, `Method` alone is prepared once and then predicts (no gradient steps).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from nightseg_train import data


@dataclass(frozen=True)
class Needs:
    """What must be there before anything is loaded; reports print it beside the scores.

    Attributes:
        labelled: training pictures with labels ("source" in a batch).
        unlabelled: the kinds of pictures without labels that a batch holds, of "day", "dusk" and "night".
        pairs: element i of "day" and of "night" show the same place.
        soft: a batch holds soft targets of the pictures without labels.
    """

    labelled: bool = True
    unlabelled: tuple[str, ...] = ()
    pairs: bool = False
    soft: bool = False


@dataclass(frozen=True)
class Batch:
    """What a method may see in one step.

    Attributes:
        step: from 0 on.
        x: pictures by kind ("source", "day", "dusk", "night"), each N x 3 x H x W in normalised units, channels last.
        labels: of x["source"], N x h x w class ids with 255 for none; None unless the method needs labelled pictures.
        soft: probabilities that the pictures of a kind are taught, N x classes x h x w.
    """

    step: int
    x: Mapping[str, Tensor]
    labels: Tensor | None = None
    soft: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        x, soft = ({k: v.to(device) for k, v in part.items()} for part in (self.x, self.soft))
        return Batch(self.step, x, labels, soft)


@dataclass(frozen=True)
class View:
    """How a method is to predict: with its relight net or without, its class weights or without."""

    relight: bool = True
    reweight: bool = True


WHOLE = View()


class Method(Protocol):
    """A method that can predict."""

    needs: Needs
    align_corners: bool  # how its logits are brought to the size of a label

    def modules(self) -> Mapping[str, nn.Module]:
        """Return its networks by name: what checkpoints hold and what is averaged."""

    def predict(self, picture: data.Picture, view: View = WHOLE) -> Tensor:
        """Return the logits of RGB bytes H x W x 3: 1 x classes x h x w, ready to be resized and arg-maxed."""


class Learner(Method, Protocol):
    """A method with gradient steps."""

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the optimisers; the loop scales the rates that they start with by the schedule and steps them all."""

    def losses(self, batch: Batch) -> Iterator[Mapping[str, Tensor]]:
        """Yield the weighted terms of the loss in parts.

        The loop back-propagates the sum of a part before it asks for the next, so that the graphs of two parts are
        never held at once. All optimisers step after the last part.
        """

    def after(self, step: int) -> None:
        """Do what comes after the optimiser's step number `step`: teachers, queues, rounds."""
