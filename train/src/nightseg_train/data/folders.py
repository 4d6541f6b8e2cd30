"""Lists of picture files: CamVid layout (images/ and labels/), flat folders, and the Dark Zurich layout."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Item:
    """A picture file and its label file; label is None where there is none."""

    image: Path
    label: Path | None


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key under which frame_2 comes before frame_10."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts]


def list_folder(images: Path, labels: Path | None = None) -> list[Item]:
    """Return the pictures of one folder in natural order, with the label of the same stem.

    In a label's name a trailing `_gt_labelTrainIds` stands for a picture's `_rgb_anon`.

    Raises:
        FileNotFoundError: a folder is missing, holds no picture, or lacks the label of a picture.
    """
    if not images.is_dir():
        raise FileNotFoundError(f"data: no folder {images}")
    files = sorted((p for p in images.iterdir() if p.suffix.lower() in SUFFIXES), key=natural)
    if not files:
        raise FileNotFoundError(f"data: no pictures in {images}")
    return [Item(p, None if labels is None else _label_of(p, labels)) for p in files]


def _label_of(image: Path, labels: Path) -> Path:
    stem = image.stem.removesuffix("_rgb_anon")
    for name in (f"{image.stem}.png", f"{stem}_gt_labelTrainIds.png", f"{stem}.png"):
        if (labels / name).is_file():
            return labels / name
    raise FileNotFoundError(f"data: no label of {image.name} in {labels}")


def list_camvid(split: Path) -> list[Item]:
    """Return the pictures of a split folder that holds images/ and, where there are labels, labels/."""
    labels = split / "labels"
    return list_folder(split / "images", labels if labels.is_dir() else None)


def list_dark_zurich(root: Path, split: str, time: str) -> list[Item]:
    """Return the labelled pictures of root/rgb_anon/SPLIT/TIME/SEQUENCE, by sequence and frame number.

    Raises:
        FileNotFoundError: the folder or a label in root/gt is missing.
    """
    base = root / "rgb_anon" / split / time
    if not base.is_dir():
        raise FileNotFoundError(f"data: no folder {base}")
    out: list[Item] = []
    for sequence in sorted(p for p in base.iterdir() if p.is_dir()):
        out += list_folder(sequence, root / "gt" / split / time / sequence.name)
    return out
