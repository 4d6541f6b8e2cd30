"""Pictures as RGB bytes and labels as class ids: reading, and the resize that the program in the vehicle shares."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nightseg_train.classes import IGNORE
from nightseg_train.data.ids import LABEL_IDS_END, LABEL_IDS_MAX, TRAIN_ID_OF

Picture = NDArray[np.uint8]
SIZE = (480, 640)  # height, width of the network's input


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
    """Return class ids as H x W bytes (255: not labelled), at the file's own size unless size (height, width) is given.

    A file named ..._labelIds.png holds the label ids of Cityscapes, which become train ids (see ids.py).

    Raises:
        ValueError: the file is not an 8-bit grey or palette picture, or holds an id that is no class.
    """
    ids = read_ids(path)
    bad = wrong_ids(path, ids, classes)
    if bad:
        raise ValueError(f"data: {path} holds the id {bad[0]}, which is no class")
    if path.stem.endswith(LABEL_IDS_END):
        ids = TRAIN_ID_OF[ids]
    if size is not None and ids.shape != size:
        ids = np.asarray(cv2.resize(ids, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), np.uint8)
    return np.ascontiguousarray(ids, np.uint8)


def read_ids(path: Path) -> Picture:
    """Return the ids of a label file as they stand in it, H x W bytes; of a palette picture, the indices.

    Raises:
        ValueError: the file is not an 8-bit grey or palette picture.
    """
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if ids is not None and ids.ndim == 3:  # OpenCV gives colours for a palette
        with Image.open(path) as picture:
            ids = np.asarray(picture) if picture.mode == "P" else ids
    if ids is None or ids.ndim != 2 or ids.dtype != np.uint8:
        raise ValueError(f"data: {path} is not an 8-bit picture of class ids")
    return np.ascontiguousarray(ids, np.uint8)


def wrong_ids(path: Path, ids: Picture, classes: int) -> list[int]:
    """Return the ids, in order, that a label file of that name may not hold where there are that many classes."""
    present = np.flatnonzero(np.bincount(ids.ravel(), minlength=256))
    if path.stem.endswith(LABEL_IDS_END):
        mapped = TRAIN_ID_OF[present]
        bad = ((present > LABEL_IDS_MAX) & (present != IGNORE)) | ((mapped >= classes) & (mapped != IGNORE))
    else:
        bad = (present >= classes) & (present != IGNORE)
    return [int(v) for v in present[bad]]
