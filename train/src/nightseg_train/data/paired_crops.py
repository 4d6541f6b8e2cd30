"""DANNet's random crops: a labelled picture, and a night and a day picture of one place cut at the same pixels.

Source: the data loaders and transforms of DANNet's authors (arXiv 2104.10834). Where a scaled picture is smaller than
the crop, black (label: 255) is put evenly around it; at the published sizes that does not happen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from nightseg_train.classes import IGNORE
from nightseg_train.data.pictures import Picture

BICUBIC, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST


@dataclass(frozen=True)
class Crop:
    """What a draw does to a picture: scaled to size (height, width), a square of edge pixels cut, perhaps mirrored."""

    size: tuple[int, int]
    top: int
    left: int
    edge: int
    flip: bool

    def cut(self, picture: Picture, out: int, kind: Image.Resampling, fill: int) -> Picture:
        """Return out x out pixels (x 3) of a picture H x W (x 3); kind is the filter of both resizings."""
        full = Image.fromarray(picture).resize((self.size[1], self.size[0]), kind)
        values = _pad(np.asarray(full, np.uint8), self.edge, fill)
        values = values[self.top : self.top + self.edge, self.left : self.left + self.edge]
        if out != self.edge:
            values = np.asarray(Image.fromarray(values).resize((out, out), kind), np.uint8)
        return np.ascontiguousarray(values[:, ::-1] if self.flip else values)


def _pad(values: Picture, edge: int, fill: int) -> Picture:
    h, w = max(edge - values.shape[0], 0), max(edge - values.shape[1], 0)
    if not h and not w:
        return values
    around = [(h // 2, h - h // 2), (w // 2, w - w // 2), (0, 0)][: values.ndim]
    return np.pad(values, around, constant_values=fill)


def draw(
    rng: np.random.Generator, size: tuple[int, int], edge: int, scale: tuple[float, float], flip: float = 0.5
) -> Crop:
    """Return a random crop of a picture of size (height, width): scale, row, column, mirroring, drawn in this order.

    Args:
        rng: the only source of chance: one state, one crop.
        size: of the picture in pixels.
        edge: of the square that is cut, in pixels of the scaled picture.
        scale: lowest and highest factor, drawn evenly.
        flip: probability of mirroring left and right.

    Raises:
        ValueError: a scale is not above 0 or the range is empty, or edge is below 1.
    """
    if not 0 < scale[0] <= scale[1] or edge < 1:
        raise ValueError(f"crop: scale {scale} and edge {edge} must be above 0, the scales in order")
    factor = rng.uniform(*scale)
    h, w = max(int(size[0] * factor), 1), max(int(size[1] * factor), 1)
    top = int(rng.integers(max(h - edge, 0) + 1))
    left = int(rng.integers(max(w - edge, 0) + 1))
    return Crop((h, w), top, left, edge, bool(rng.random() < flip))


def source(
    image: Picture,
    label: Picture,
    rng: np.random.Generator,
    edge: int = 512,
    scale: tuple[float, float] = (0.5, 1.0),
    flip: float = 0.5,
) -> tuple[Picture, Picture]:
    """Return edge x edge x 3 of a picture (bicubic) and edge x edge of its label (nearest), at the same place.

    Made for 2048 x 1024, which is never smaller than a crop of 512.

    Raises:
        ValueError: picture and label differ in size, or see draw.
    """
    if image.shape[:2] != label.shape:
        raise ValueError(f"crop: a picture of {image.shape[:2]} with a label of {label.shape}")
    crop = draw(rng, (image.shape[0], image.shape[1]), edge, scale, flip)
    return crop.cut(image, edge, BICUBIC, 0), crop.cut(label, edge, NEAREST, IGNORE)


def pair(
    night: Picture,
    day: Picture,
    rng: np.random.Generator,
    edge: int = 960,
    out: int = 512,
    scale: tuple[float, float] = (0.9, 1.1),
    flip: float = 0.5,
) -> tuple[Picture, Picture]:
    """Return out x out x 3 of a night and of a day picture: same scale, crop and mirroring; both bicubic.

    Made for 1920 x 1080, which at 0.9 is 1728 x 972, so that a crop of 960 fits.

    Raises:
        ValueError: the pictures differ in size, or see draw.
    """
    if night.shape != day.shape:
        raise ValueError(f"crop: a night picture of {night.shape} with a day picture of {day.shape}")
    crop = draw(rng, (night.shape[0], night.shape[1]), edge, scale, flip)
    return crop.cut(night, out, BICUBIC, 0), crop.cut(day, out, BICUBIC, 0)
