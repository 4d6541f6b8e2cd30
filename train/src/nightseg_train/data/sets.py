"""The data sets by name. `read("dark-zurich", root, "val/night")` gives the pictures, labels and classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightseg_train import classes
from nightseg_train.classes import Class
from nightseg_train.data import cityscapes, dark_zurich, layout, others, own
from nightseg_train.data.folders import Item
from nightseg_train.data.layout import Family, Part

FAMILIES: dict[str, Family] = {
    f.name: f
    for f in (
        cityscapes.CITYSCAPES_SET,
        dark_zurich.DARK_ZURICH,
        cityscapes.NIGHTTIME_DRIVING,
        dark_zurich.ACDC,
        others.NIGHTCITY,
        others.BDD100K_NIGHT,
        others.CAMVID,
        others.MSRS,
        dark_zurich.SYNTH,
        own.FOLDER,
    )
}


@dataclass(frozen=True)
class Set:
    """Pictures in natural order, each with its label or None, and the classes of the labels by id."""

    items: list[Item]
    classes: tuple[Class, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return classes.names(self.classes)


def parts(name: str, root: Path, chosen: tuple[str, ...] = ()) -> tuple[Part, ...]:
    """Return the parts of a data set, all or those chosen by name.

    Raises:
        ValueError: there is no such data set, or it has no such part (the message lists what there is).
    """
    if name not in FAMILIES:
        raise ValueError(f"data: no set {name}; there are {', '.join(sorted(FAMILIES))}")
    found = {p.name: p for p in FAMILIES[name].parts(root)}
    for one in chosen:
        if one not in found:
            raise ValueError(f"data: {name} in {root} has no part {one}; there are {', '.join(found) or 'none'}")
    return tuple(found[one] for one in chosen) if chosen else tuple(found.values())


def read(name: str, root: Path, part: str, frames: Path | None = None) -> Set:
    """Return a part of a data set, of bdd100k-night only what the list `frames` names (see others.night_names).

    Raises:
        FileNotFoundError: a folder, a picture or a label that must be there is missing.
        ValueError: no such set or part, or the list of frames is missing, wrong or names nothing that is there.
    """
    one = parts(name, root, (part,))[0]
    if name == others.BDD100K_NIGHT.name:
        return Set(_night(root, one, frames), one.classes)
    return Set(layout.read_part(root, one), one.classes)


def _night(root: Path, part: Part, frames: Path | None) -> list[Item]:
    items = only_night(layout.scan(root, part), frames)
    if not items:
        raise ValueError(f"data: {frames} names no picture of {root / part.images}")
    return layout.labelled(items, root, part)


def only_night(items: list[Item], frames: Path | None) -> list[Item]:
    """Return the items whose picture a list of frames names.

    Raises:
        ValueError: there is no list, or it is wrong.
    """
    if frames is None:
        raise ValueError("data: bdd100k-night needs a list of the night frames (--frames FILE)")
    night = others.night_names(frames)
    return [i for i in items if i.image.stem in night]
