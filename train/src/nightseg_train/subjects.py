"""What can be scored: a bundle, a run, ESPNetv2 as it was published; each gives masks, and says what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from nightseg_train import bundle, checkpoint, classes, data, runtime, scoring
from nightseg_train.classes import NAMES
from nightseg_train.nets.espnetv2 import load_cityscapes
from nightseg_train.runs import Finished, Look

ESPNET_NAME = "ESPNetv2, Cityscapes weights untouched"
Masks = Callable[[Path, tuple[int, int]], data.Picture]  # picture file, size (height, width) of the mask -> class ids


@dataclass(frozen=True)
class Seen:
    """What is said of a subject where it was looked at: its name, the hash of its weights, and how it was run."""

    name: str
    sha256: str
    how: str


@dataclass(frozen=True)
class Subject:
    """What is scored: what gives its masks, their classes, and what the log of looks says of it."""

    masks: Masks
    names: tuple[str, ...]
    seen: Seen


def of_bundle(
    folder: Path, precision: str = "fp32", provider: str = "cpu", threads: int = 2, std: float | None = None,
    relight: bool = True,
) -> Subject:  # fmt: skip
    """Return a bundle's networks, with class weights of spread std, or of the bundle's own.

    Raises:
        FileNotFoundError, ValueError: there is no bundle, no such provider, or a class weight reaches 0.
    """
    d = bundle.read(folder)
    spread = d.std if std is None else std
    predict = d.weighted(runtime.Networks(folder, precision, provider, threads).predictor(relight), spread)

    def masks(image: Path, size: tuple[int, int]) -> data.Picture:
        return scoring.decide(predict(data.read_image(image, d.size)), size, d.align_corners)

    how = f"{precision}/{'network' if relight else 'none'}/{spread:g}"
    return Subject(masks, classes.names(d.classes), Seen(*bundle.identity(folder), how))


def of_run(run: Finished, look: Look) -> Subject:
    """Return a run's best snapshot, looked at in some way."""
    seen = Seen(f"run {run.folder.name}", checkpoint.sha256(run.folder / "best.pt"), how(look))
    return Subject(lambda image, size: run.mask(image, size, look), run.names, seen)


def how(look: Look) -> str:
    """Return what the log says of a way to look at a run."""
    return f"fp32/{look.name() or 'as trained'}"


def of_espnet(weights: Path) -> Subject:
    """Return ESPNetv2 with its published weights from Cityscapes; its classes are grouped to CamVid's.

    Raises:
        FileNotFoundError: the weights are not there.
    """
    net = load_cityscapes(weights)

    def masks(image: Path, size: tuple[int, int]) -> data.Picture:
        with torch.inference_mode():
            return scoring.cityscapes_mask(net.half_size(scoring.to_tensor(data.read_image(image))), size)

    return Subject(masks, NAMES, Seen(ESPNET_NAME, checkpoint.sha256(weights), "fp32/none/0"))
