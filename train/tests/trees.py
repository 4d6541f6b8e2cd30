"""Tiny data sets that tests build: pictures of noise and labels, in the layouts of the published sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nightseg_train.data import Picture


def save(path: Path, values: Picture) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def colour(path: Path, size: tuple[int, int] = (6, 8), seed: int = 0) -> Path:
    """Write a picture of noise of size (height, width)."""
    return save(path, np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8))


def ids(path: Path, value: int = 0, size: tuple[int, int] = (6, 8)) -> Path:
    """Write a label of one id but for a corner that is not labelled."""
    values = np.full(size, value, np.uint8)
    values[0, 0] = 255
    return save(path, values)


def dark_zurich(root: Path, frames: int = 2) -> None:
    """Write all parts of Dark Zurich, with pairs of night i and day i, and of twilight i and day 0."""
    for part, sequence in (
        ("train/day", "GOPR0345"),
        ("train/night", "GOPR0351"),
        ("train/twilight", "GOPR0348"),
        ("val/night", "GOPR0356"),
        ("test/night", "GOPR0364"),
    ):
        for i in range(1, frames + 1):
            stem = f"{sequence}_frame_{i:06d}"
            colour(root / f"rgb_anon/{part}/{sequence}/{stem}_rgb_anon.png", seed=i)
            if part.startswith(("val", "test")):
                split = part.split("/")[0]
                colour(root / f"rgb_anon/{split}_ref/day/{sequence}_ref/{stem}_ref_rgb_anon.png", seed=i)
            if part == "val/night":
                ids(root / f"gt/{part}/{sequence}/{stem}_gt_labelTrainIds.png", 10)
                ids(root / f"gt/{part}/{sequence}/{stem}_gt_labelIds.png", 23)
                colour(root / f"gt/{part}/{sequence}/{stem}_gt_labelColor.png")
    for time, sequence in (("night", "GOPR0351"), ("twilight", "GOPR0348")):
        rows = [
            f"train/{time}/{sequence}/{sequence}_frame_{i:06d},"
            f"train/day/GOPR0345/GOPR0345_frame_{i if time == 'night' else 1:06d}\n"
            for i in range(1, frames + 1)
        ]
        file = root / f"corresp/train/{time}/{sequence}/{sequence}_ref_day.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(rows), encoding="utf-8")
