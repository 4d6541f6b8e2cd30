"""Looks at labelled sets: the confusion matrices per frame of what is scored, kept so that a look is one look.

Sets to choose on may be looked at as often as one likes. Of a set to test on, each look is asked for (`--look`) and is
a line of the log, which also holds the looks of `nightseg eval`.
"""

from __future__ import annotations

import csv
import json
import lzma
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from nightseg_train import data, metrics, streams
from nightseg_train.classes import IGNORE, NAMES
from nightseg_train.data.others import MSRS_NAMES
from nightseg_train.metrics.miou import Matrix
from nightseg_train.subjects import Seen, Subject

HEAD = ("date", "bundle", "bundle_sha256", "set", "frames", "figures")
TO_TEST_ON = ("day_test", "dusk_test", "night_coarse", "*_proxy")  # names of their folders
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


def confusions(subject: Subject, items: Iterable[data.Item], labels: tuple[str, ...]) -> list[Matrix]:
    """Return a confusion matrix per labelled picture, in the order of the items.

    Args:
        subject: what is scored.
        items: the pictures.
        labels: the classes of their labels.

    Raises:
        ValueError: a picture has no label, or the classes do not fit.
    """
    out, ids = [], table(subject.names, labels)
    for item in items:
        if item.label is None:
            raise ValueError(f"looks: {item.image} has no label")
        label = data.read_label(item.label, len(labels))
        mask = subject.masks(item.image, (label.shape[0], label.shape[1]))
        out.append(metrics.confusion(label, ids[mask], len(labels)))
    return out


def kept(folder: Path, s: Set, how: str) -> Path:
    """Return the file of a folder in which a look at a set is kept."""
    return folder / f"{s.name}.{re.sub(r'[^a-z0-9.]+', '-', how)}.xz"


def held(folder: Path, s: Set, how: str, sha256: str | None = None) -> list[Matrix] | None:
    """Return the matrices that are kept of a look at a set, None where there are none.

    Args:
        folder: where they are kept.
        s: the set.
        how: how it was looked at.
        sha256: of the weights; None: of whatever weights.
    """
    file = kept(folder, s, how)
    if not file.is_file():
        return None
    line, _, counts = lzma.decompress(file.read_bytes()).partition(b"\n")
    about = json.loads(line)
    if about["where"] != _where(s) or sha256 not in (None, about["sha256"]):
        return None
    planes = np.frombuffer(counts, np.uint8).reshape(4, -1, about["frames"])
    frames = np.ascontiguousarray(np.moveaxis(planes, 0, 2)).view("<u4")[:, :, 0].T
    return list(frames.reshape(about["frames"], *about["shape"]).astype(np.int64))


def keep(file: Path, found: Sequence[Matrix], s: Set, sha256: str) -> None:
    """Keep the matrices of a look: a line of JSON, then the counts (below 2^32) byte by byte and cell by cell.

    In that order they are a third as large, compressed, as frame by frame.
    """
    counts = np.stack(found).reshape(len(found), -1).T.astype("<u4", order="C")
    planes = np.moveaxis(counts.view(np.uint8).reshape(*counts.shape, 4), 2, 0)
    about = {"where": _where(s), "sha256": sha256, "frames": len(found), "shape": found[0].shape}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(lzma.compress(json.dumps(about).encode() + b"\n" + planes.tobytes(), preset=9))


def matrices(
    subject: Subject, s: Set, folder: Path, base: Path, log: Path, allowed: Sequence[str] = ()
) -> list[Matrix] | None:
    """Return a subject's matrices on a set, from the kept file where there is one; None: a look would be needed.

    Args:
        subject: what is scored.
        s: the set.
        folder: where looks at this subject are kept.
        base: root of the checkout.
        log: where a look at a set to test on becomes a line.
        allowed: names of the sets to test on that may be looked at now.
    """
    before = held(folder, s, subject.seen.how, subject.seen.sha256)
    if before is not None or (s.test and s.name not in allowed):
        return before
    items, labels = s.items(base)
    found = confusions(subject, items, labels)
    if s.test:
        add(log, subject.seen, s.name, found)
    keep(kept(folder, s, subject.seen.how), found, s, subject.seen.sha256)
    return found


def _where(s: Set) -> str:
    return f"{s.set} {s.root} {s.part}"


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
