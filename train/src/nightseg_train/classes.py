"""The 11 classes of CamVid, their colours, and the way from Cityscapes train ids to them."""

from __future__ import annotations

from dataclasses import dataclass

IGNORE = 255  # a label that no score and no loss counts


@dataclass(frozen=True)
class Class:
    """One class: its name, its colour (R, G, B) and whether the thing cannot move."""

    name: str
    colour: tuple[int, int, int]
    static: bool


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
NAMES: tuple[str, ...] = tuple(c.name for c in CAMVID)

# CamVid id of each of the 19 Cityscapes train ids, in order (road, sidewalk, building, wall, fence, pole,
# traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle).
FROM_CITYSCAPES: tuple[int, ...] = (3, 4, 1, 1, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10)
