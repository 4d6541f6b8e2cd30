"""How a data set lies on the disk, as data: a Part is one folder tree of pictures with, perhaps, one of labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nightseg_train import classes
from nightseg_train.classes import CITYSCAPES, Class
from nightseg_train.data.folders import Item, natural

ANY = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Part:
    """One split of a data set.

    A picture's label has the picture's place below the label folder, and its name with the end replaced.

    Attributes:
        name: how the part is called, such as "train/night".
        images: folder of the pictures, relative to the root; all folders below it are searched.
        image_ends: the ends of a picture's file name, in the order they are tried.
        labels: the folders that may hold the labels, relative to the root; none: the part has no labels.
        label_ends: the ends of a label's file name, in the order they are tried.
        need: every picture must have a label.
        classes: those of the labels, in the order of their ids.
        count: how many pictures the published part has, where that is known.
        archives: what the publisher calls the downloads that hold it, where that is known.
        homes: folders below the root that the part may lie in; downloads unpack to one of their own.
    """

    name: str
    images: str
    image_ends: tuple[str, ...] = ANY
    labels: tuple[str, ...] = ()
    label_ends: tuple[str, ...] = (".png",)
    need: bool = False
    classes: tuple[Class, ...] = CITYSCAPES
    count: int | None = None
    archives: tuple[str, ...] = ()
    homes: tuple[str, ...] = ("",)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return classes.names(self.classes)

    def home(self, root: Path) -> Path | None:
        """Return the first home below root that has the folder of the pictures, or None."""
        return next((root / h for h in self.homes if (root / h / self.images).is_dir()), None)


@dataclass(frozen=True)
class Family:
    """A data set: its name, what layout is expected (one line), and its parts, which may depend on what is there."""

    name: str
    about: str
    parts: Callable[[Path], tuple[Part, ...]]


def place(path: Path, base: Path) -> list[list[tuple[int, int, str]]]:
    """Return the sort key of a file below base: folder by folder, then by name, numbers by value."""
    return [natural(Path(p)) for p in path.relative_to(base).parts]


def stem_of(path: Path, ends: tuple[str, ...]) -> str | None:
    """Return the file's name without the first of the ends that it has, or None where it has none."""
    return next((path.name[: -len(e)] for e in ends if path.name.lower().endswith(e.lower())), None)


def scan(root: Path, part: Part) -> list[Item]:
    """Return the pictures of a part in natural order; label is None where none is found, needed or not.

    Raises:
        FileNotFoundError: the folder of the pictures is missing; the message names the download, where it is known.
    """
    home = part.home(root)
    if home is None:
        raise FileNotFoundError(f"data: no folder {root / part.homes[0] / part.images}{fetch(part)}")
    base = home / part.images
    files = sorted(
        (p for p in base.rglob("*") if stem_of(p, part.image_ends) and p.is_file()), key=lambda p: place(p, base)
    )
    return [Item(p, _label(p, base, home, part)) for p in files]


def _label(image: Path, base: Path, home: Path, part: Part) -> Path | None:
    stem = stem_of(image, part.image_ends)
    for folder in part.labels:
        for end in part.label_ends:
            path = home / folder / image.parent.relative_to(base) / f"{stem}{end}"
            if path.is_file():
                return path
    return None


def fetch(part: Part) -> str:
    """Return the end of a message that says what to download, or nothing."""
    return f"; it is in {' and '.join(part.archives)}" if part.archives else ""


def read_part(root: Path, part: Part) -> list[Item]:
    """Return the pictures of a part in natural order, each with its label or None.

    Raises:
        FileNotFoundError: a folder is missing, holds no picture, or lacks the label of a picture that must have one.
    """
    items = scan(root, part)
    if not items:
        raise FileNotFoundError(f"data: no pictures *{part.image_ends[0]} in {root / part.images}{fetch(part)}")
    return labelled(items, root, part)


def labelled(items: list[Item], root: Path, part: Part) -> list[Item]:
    """Return the items as they are.

    Raises:
        FileNotFoundError: one lacks the label that every picture of the part must have.
    """
    lacking = next((i.image for i in items if i.label is None), None)
    if part.need and lacking is not None:
        raise FileNotFoundError(f"data: no label of {lacking} in {root / part.labels[0]}{fetch(part)}")
    return items
