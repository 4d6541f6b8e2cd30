"""Pictures for a page: masks in the colours of their classes, and pictures as data within the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from nightseg_train import data
from nightseg_train.classes import IGNORE, Class
from nightseg_train.metrics import Mask

Colour = tuple[int, int, int]  # R, G, B
BLACK: Colour = (0, 0, 0)  # what is not labelled


def colours(classes: Sequence[Class]) -> tuple[Colour, ...]:
    """Return the colour of each class, by id."""
    return tuple(c.colour for c in classes)


def fitted(size: tuple[int, int], width: int) -> tuple[int, int]:
    """Return size (height, width) shrunk to a width; a smaller one stays as it is."""
    scale = min(width / size[1], 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def jpeg(picture: data.Picture, size: tuple[int, int], quality: int = 88) -> str:
    """Return RGB bytes H x W x 3, stretched to size (height, width), as a data URI."""
    out = io.BytesIO()
    Image.fromarray(data.resize(picture, size)).save(out, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def png(mask: Mask, size: tuple[int, int], palette: Sequence[Colour]) -> str:
    """Return class ids H x W (255: black), brought to size (height, width), as a data URI.

    A PNG of a palette: the colours stay exact, which JPEG's would not, and the file is smaller than one.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE] = BLACK
    picture = Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST)
    picture.putpalette(table.tobytes())
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
