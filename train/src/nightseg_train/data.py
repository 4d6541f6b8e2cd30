"""Readers of picture folders: CamVid layout (images/ and labels/), flat folders, and the Dark Zurich layout."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nightseg_train.classes import IGNORE

Picture = NDArray[np.uint8]
SUFFIXES = {".png", ".jpg", ".jpeg"}
SIZE = (480, 640)  # height, width of the network's input


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


def resize(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return RGB bytes stretched to size (height, width): Pillow's antialiased bilinear filter, rows, then columns.

    The program in the vehicle does the same to the byte; one axis at a time, as the order of Pillow's own passes
    depends on its version and on the sizes.
    """
    rows = Image.fromarray(picture).resize((size[1], picture.shape[0]), Image.Resampling.BILINEAR)
    return np.array(rows.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.uint8)


def read_image(path: Path, size: tuple[int, int] | None = SIZE) -> Picture:
    """Return a picture as H x W x 3 RGB bytes, stretched to size (height, width) where given.

    Raises:
        ValueError: the file is not a picture.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"data: {path} cannot be read as a picture")
    rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    return rgb if size is None or rgb.shape[:2] == size else resize(rgb, size)


def read_label(path: Path, classes: int, size: tuple[int, int] | None = None) -> Picture:
    """Return class ids as H x W bytes (255: not labelled), at the file's own size unless size is given.

    Raises:
        ValueError: the file is not an 8-bit grey or palette PNG, or holds an id that is no class.
    """
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if ids is None or ids.ndim != 2 or ids.dtype != np.uint8:
        raise ValueError(f"data: {path} is not an 8-bit picture of class ids")
    bad = (ids >= classes) & (ids != IGNORE)
    if bool(bad.any()):
        raise ValueError(f"data: {path} holds the id {int(ids[bad][0])}, which is no class")
    if size is not None and ids.shape != size:
        ids = cv2.resize(ids, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(ids, np.uint8)
