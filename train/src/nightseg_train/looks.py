"""Looks at labelled sets: a run's confusion matrices per frame, kept in the run's folder so that a look is one look.

Sets to choose on may be looked at as often as one likes. Of a set to test on, each look is asked for (`--look`) and is
a line of the log, which also holds the looks of `nightseg eval`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from nightseg_train import checkpoint, data, metrics, streams
from nightseg_train.classes import IGNORE, NAMES
from nightseg_train.data.others import MSRS_NAMES
from nightseg_train.metrics.miou import Matrix
from nightseg_train.runs import Finished, Look

HEAD = ("date", "bundle", "bundle_sha256", "set", "frames", "figures")
TO_TEST_ON = ("day_test", "dusk_test", "night_coarse", "*_proxy")  # names of their folders
Masks = Callable[[Path, tuple[int, int]], data.Picture]  # picture file, size (height, width) of the mask -> class ids
# MSRS's own classes: what each of CamVid's counts as; all others are background.
TO_MSRS: Mapping[str, str] = {"car": "car", "pedestrian": "person", "bicyclist": "bike"}


@dataclass(frozen=True)
class Set:
    """A labelled part by the name of the table.

    Attributes:
        name: how tables call it.
        set, root, part: see streams.Part.
        test: it is a set to test on.
        apart: classes with too few pixels; a mean without them is given, too.
    """

    name: str
    set: str
    root: str
    part: str
    test: bool = False
    apart: tuple[str, ...] = ()

    def items(self, base: Path) -> tuple[list[data.Item], tuple[str, ...]]:
        """Return its labelled pictures and the classes of the labels."""
        return streams.read([streams.Part(self.set, self.root, self.part)], base)


def table(run: tuple[str, ...], labels: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return the class of the labels for each class of a run, by id.

    Raises:
        ValueError: the classes differ and there is no way from one to the other.
    """
    ids = np.full(256, IGNORE, np.uint8)
    if run == labels:
        ids[: len(run)] = np.arange(len(run))
    elif (run, labels) == (NAMES, MSRS_NAMES):
        ids[: len(run)] = [MSRS_NAMES.index(TO_MSRS.get(n, MSRS_NAMES[0])) for n in run]
    else:
        raise ValueError(f"looks: the classes {', '.join(run)} cannot be scored on labels of {', '.join(labels)}")
    return ids


def confusions(
    masks: Masks, found: tuple[str, ...], items: Iterable[data.Item], labels: tuple[str, ...]
) -> list[Matrix]:
    """Return a confusion matrix per labelled picture, in the order of the items.

    Args:
        masks: what is scored.
        found: its classes.
        items: the pictures.
        labels: the classes of their labels.

    Raises:
        ValueError: a picture has no label, or the classes do not fit.
    """
    out, ids = [], table(found, labels)
    for item in items:
        if item.label is None:
            raise ValueError(f"looks: {item.image} has no label")
        label = data.read_label(item.label, len(labels))
        mask = masks(item.image, (label.shape[0], label.shape[1]))
        out.append(metrics.confusion(label, ids[mask], len(labels)))
    return out


def score(run: Finished, items: Iterable[data.Item], labels: tuple[str, ...], look: Look) -> list[Matrix]:
    """Return a run's confusion matrix per labelled picture, in the order of the items; errors as of confusions."""
    return confusions(lambda image, size: run.mask(image, size, look), run.names, items, labels)


def kept(folder: Path, s: Set, look: Look) -> Path:
    """Return the file in which a run's look at a set is kept."""
    tail = re.sub(r"[^a-z0-9]+", "-", look.name()).strip("-")
    return folder / "looks" / f"{s.name}{'.' + tail if tail else ''}.npz"


def matrices(
    run: Finished, s: Set, look: Look, base: Path, log: Path, allowed: Sequence[str] = ()
) -> list[Matrix] | None:
    """Return a run's matrices on a set, from the kept file where there is one; None: a look would be needed.

    Args:
        run: the run.
        s: the set.
        look: how it is looked at.
        base: root of the checkout.
        log: where a look at a set to test on becomes a line.
        allowed: names of the sets to test on that may be looked at now.
    """
    file, seen = kept(run.folder, s, look), seen_of(run, look)
    where = f"{s.set} {s.root} {s.part}"
    if file.is_file():
        held = np.load(file)
        if str(held["snapshot"]) == seen.sha256 and str(held["where"]) == where:
            return list(held["matrices"])
    if s.test and s.name not in allowed:
        return None
    items, labels = s.items(base)
    found = score(run, items, labels, look)
    if s.test:
        add(log, seen, s.name, found)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, matrices=np.stack(found), snapshot=seen.sha256, where=where)
    return found


@dataclass(frozen=True)
class Seen:
    """What a line of the log says of what was looked at: its name, the hash of its weights, and how it was run."""

    name: str
    sha256: str
    how: str


def seen_of(run: Finished, look: Look) -> Seen:
    """Return what the log says of a run."""
    return Seen(
        f"run {run.folder.name}", checkpoint.sha256(run.folder / "best.pt"), f"fp32/{look.name() or 'as trained'}"
    )


def add(file: Path, seen: Seen, name: str, found: Sequence[Matrix]) -> None:
    """Add a look at a set to test on, by its name, to the log, in the form that `nightseg eval` writes."""
    new = not file.exists() or file.stat().st_size == 0
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    figure = f"{seen.how} {metrics.mean_iou(np.sum(found, 0)):.2f}"
    with file.open("a", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        if new:
            rows.writerow(HEAD)
        rows.writerow([now, seen.name, seen.sha256, name, len(found), figure])


def reserved(folder: Path) -> str | None:
    """Return the name of the set to test on that a folder belongs to, by the names of the folders above it, or None."""
    for part in reversed((*folder.parts, *folder.resolve().parts)):
        if any(fnmatch(part, pattern) for pattern in TO_TEST_ON):
            return part
    return None
