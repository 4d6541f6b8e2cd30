"""Finished runs: their settings, their networks, how they predict, and what they found per frame.

A run's folder is written by `fit` (see loop.py); `best.pt` is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from nightseg_train import checkpoint, classes, data, fit, scoring
from nightseg_train.classes import Class
from nightseg_train.fit import Fit, Labelled
from nightseg_train.method import Learner, View
from nightseg_train.origins import Origin

Prepare = Callable[[data.Picture], data.Picture]


def gamma(picture: data.Picture, exponent: float = 0.5) -> data.Picture:
    """Return RGB bytes brightened: v^exponent of values in 0..1."""
    table = np.round(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table), np.uint8)


def clahe(picture: data.Picture, clip: float = 2.0, tiles: int = 8) -> data.Picture:
    """Return RGB bytes whose lightness (of Lab) is equalised tile by tile (CLAHE, Zuiderveld 1994)."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[:, :, 0] = cv2.createCLAHE(clip, (tiles, tiles)).apply(np.ascontiguousarray(lab[:, :, 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


PREPARE: dict[str, Prepare] = {"none": lambda p: p, "gamma": gamma, "clahe": clahe}


@dataclass(frozen=True)
class Look:
    """How a run is looked at: what is done to the picture before, relight net and class weights on or off."""

    prepare: str = "none"
    relight: bool = True
    reweight: bool = True

    def __post_init__(self) -> None:
        """Refuse an unknown way to prepare.

        Raises:
            ValueError: prepare is none of PREPARE.
        """
        if self.prepare not in PREPARE:
            raise ValueError(f"look.prepare: {self.prepare!r} is not one of {', '.join(PREPARE)}")

    def name(self) -> str:
        """Return a short name, "" for the method's own way."""
        parts = [self.prepare] if self.prepare != "none" else []
        parts += [] if self.relight else ["no relight"]
        parts += [] if self.reweight else ["no weights"]
        return ", ".join(parts)


AS_IS = Look()


@dataclass(frozen=True)
class Finished:
    """A run with the networks of its best snapshot; classes and their shares are those of its labelled pictures."""

    folder: Path
    settings: Fit
    method: Learner
    classes: tuple[Class, ...]
    shares: tuple[float, ...]
    step: int
    seconds: float
    scores: dict[str, float]
    origin: Origin = field(default_factory=Origin)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return classes.names(self.classes)

    def predict(self, picture: data.Picture, look: Look = AS_IS) -> Tensor:
        """Return the logits of RGB bytes H x W x 3, 1 x classes x h x w."""
        logits: Tensor = self.method.predict(PREPARE[look.prepare](picture), View(look.relight, look.reweight))
        return logits

    def mask(self, image: Path, size: tuple[int, int], look: Look = AS_IS) -> data.Picture:
        """Return the class of each pixel of a picture file, decided at size (height, width)."""
        logits = self.predict(data.read_image(image, self.settings.size), look)
        return scoring.decide(logits, size, self.method.align_corners)


def read(folder: Path, base: Path, snapshot: str = "best.pt") -> Finished:
    """Return a run with the networks of a snapshot, in evaluation mode.

    Raises:
        FileNotFoundError: there is no run, it has no snapshot yet, or a snapshot of an older version does not tell what
            the labelled pictures held, and they are not there.
        ValueError: the snapshot does not fit the settings.
    """
    s = fit.read_settings(folder)
    state = checkpoint.load(folder / snapshot)
    if state is None:
        raise FileNotFoundError(f"run: no {folder / snapshot}; the run has not been scored yet")
    method, seen = _method(s, state, base)
    kept = state.get("modules")
    for name, module in method.modules().items():
        if not isinstance(kept, dict) or name not in kept:
            raise ValueError(f"run: {folder / snapshot} holds no network {name}")
        try:
            module.load_state_dict(kept[name])
        except RuntimeError as fault:
            raise ValueError(f"run: {folder / snapshot} does not fit the run's settings: {fault}") from fault
        module.eval()
    scores = {str(k): float(v) for k, v in dict(state["scores"]).items()}  # type: ignore[call-overload]
    step, seconds = int(state["step"]), float(state["seconds"])  # type: ignore[call-overload, arg-type]
    origin = Origin.of(state.get("origin")) or fit.origin(s, base)
    return Finished(folder, s, method, seen.classes, seen.shares, step, seconds, scores, origin)


def _method(s: Fit, state: Mapping[str, object], base: Path) -> tuple[Learner, Labelled]:
    """Return the method of a run, and what its labelled pictures held; they are read for an older snapshot only."""
    kept = state.get("labelled")
    if not isinstance(kept, dict):
        return fit.make(s, base)
    seen = Labelled(tuple(Class(**c) for c in kept["classes"]), kept["shares"], kept["exposure"])
    return fit.METHODS[s.method](s, seen), seen


def probabilities(run: Finished, picture: data.Picture, size: tuple[int, int]) -> Tensor:
    """Return class probabilities of size (h, w), h x w x classes, the mean over the picture and its mirror image.

    Class weights are left out: they belong to the decision.
    """
    look = Look(reweight=False)
    return scoring.probabilities(lambda p: run.predict(p, look), picture, size)
