"""The 11 classes of CamVid, the 19 of Cityscapes, the 4 of MSRS, their colours, and the way from one to another.

Classes of a user's own come from a file beside their pictures: see data/own.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

IGNORE = 255  # a label that no score and no loss counts


@dataclass(frozen=True)
class Class:
    """One class: its name, its colour (R, G, B) and whether the thing cannot move."""

    name: str
    colour: tuple[int, int, int]
    static: bool


def names(classes: Iterable[Class]) -> tuple[str, ...]:
    """Return the names of classes, in their order."""
    return tuple(c.name for c in classes)


CAMVID: tuple[Class, ...] = (
    Class("sky", (128, 128, 128), True),
    Class("building", (128, 0, 0), True),
    Class("pole", (192, 192, 128), True),
    Class("road", (128, 64, 128), True),
    Class("pavement", (60, 40, 222), True),
    Class("tree", (128, 128, 0), True),
    Class("signsymbol", (192, 128, 128), True),
    Class("fence", (64, 64, 128), True),
    Class("car", (64, 0, 128), False),
    Class("pedestrian", (64, 64, 0), False),
    Class("bicyclist", (0, 128, 192), False),
)
NAMES: tuple[str, ...] = names(CAMVID)

# By train id, with the colours of the data set's own scripts; DANNet takes road to sky for what cannot move.
CITYSCAPES: tuple[Class, ...] = (
    Class("road", (128, 64, 128), True),
    Class("sidewalk", (244, 35, 232), True),
    Class("building", (70, 70, 70), True),
    Class("wall", (102, 102, 156), True),
    Class("fence", (190, 153, 153), True),
    Class("pole", (153, 153, 153), True),
    Class("traffic light", (250, 170, 30), True),
    Class("traffic sign", (220, 220, 0), True),
    Class("vegetation", (107, 142, 35), True),
    Class("terrain", (152, 251, 152), True),
    Class("sky", (70, 130, 180), True),
    Class("person", (220, 20, 60), False),
    Class("rider", (255, 0, 0), False),
    Class("car", (0, 0, 142), False),
    Class("truck", (0, 0, 70), False),
    Class("bus", (0, 60, 100), False),
    Class("train", (0, 80, 100), False),
    Class("motorcycle", (0, 0, 230), False),
    Class("bicycle", (119, 11, 32), False),
)
# Of the folders of MSRS called ..._proxy.
MSRS: tuple[Class, ...] = (
    Class("background", (70, 70, 70), True),
    Class("car", (64, 0, 128), False),
    Class("person", (64, 64, 0), False),
    Class("bike", (0, 128, 192), False),
)
# CamVid id of each of the Cityscapes train ids, in order.
FROM_CITYSCAPES: tuple[int, ...] = (3, 4, 1, 1, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10)
