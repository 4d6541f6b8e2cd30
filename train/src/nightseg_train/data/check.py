"""Check of a data set on the disk: what is missing, too few or too many, broken, or labelled wrong.

python -m nightseg_train check --set dark-zurich --root DIR --part val/night
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from nightseg_train.data import layout, lists, pairs, sets
from nightseg_train.data.dark_zurich import DARK_ZURICH
from nightseg_train.data.folders import Item
from nightseg_train.data.layout import Part
from nightseg_train.data.others import BDD100K_NIGHT
from nightseg_train.data.pictures import wrong_ids

NIGHT_PAIRS = 2416  # lines of corresp/train/night, one per night picture
SHOWN = 10  # faults of one part that the text names; the JSON has all
GREY = ("L", "P")  # modes of Pillow with one byte per pixel


@dataclass(frozen=True)
class PairCount:
    """Lines of the published pairs, those whose two pictures are there, and the distinct day pictures of these."""

    rows: int
    complete: int
    days: int


@dataclass
class PartReport:
    """What was found of one part; faults are sentences that name a file."""

    name: str
    pictures: int = 0
    expected: int | None = None
    labels: int = 0
    pairs: PairCount | None = None
    faults: list[str] = field(default_factory=list)


def check_part(root: Path, part: Part, frames: Path | None = None, night_only: bool = False) -> PartReport:
    """Return what is there of a part and what is wrong with it; every picture and label is decoded."""
    report = PartReport(part.name, expected=part.count)
    try:
        items = layout.scan(root, part)
        items = sets.only_night(items, frames) if night_only else items
    except (FileNotFoundError, ValueError) as fault:
        report.faults.append(str(fault))
        return report
    _count(report, items, part)
    report.faults += _files(items, len(part.names), part.name)
    return report


def _count(report: PartReport, items: list[Item], part: Part) -> None:
    report.pictures, report.labels = len(items), sum(i.label is not None for i in items)
    if not items:
        report.faults.append(f"{part.images}: no pictures{layout.fetch(part)}")
    elif part.count is not None and len(items) != part.count:
        report.faults.append(f"{part.images}: {len(items)} pictures, not {part.count}{layout.fetch(part)}")
    if part.need:
        lacking = [i.image for i in items if i.label is None]
        report.faults += [f"{p}: no label in {part.labels[0]}" for p in lacking]


def _files(items: Iterable[Item], classes: int, name: str) -> list[str]:
    out: list[str] = []
    for item in tqdm(list(items), desc=name, disable=None, file=sys.stderr):
        size, fault = decode(item.image)
        out += fault
        if item.label is not None:
            out += label_faults(item.label, size, classes)
    return out


def decode(path: Path) -> tuple[tuple[int, int] | None, list[str]]:
    """Return the size (width, height) of a picture that can be read to its end, and what is wrong with it."""
    try:
        with Image.open(path) as picture:
            picture.verify()
        with Image.open(path) as picture:
            picture.load()
            return picture.size, []
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        return None, [f"{path}: broken: {fault}"]


def label_faults(path: Path, size: tuple[int, int] | None, classes: int) -> list[str]:
    """Return what is wrong with a label of a picture of size (width, height): broken, not grey, size, ids."""
    own, faults = decode(path)
    if own is None:
        return faults
    with Image.open(path) as picture:
        if picture.mode not in GREY:
            return [f"{path}: has the mode {picture.mode}, not 8-bit grey: is it a picture of colours?"]
        ids = np.asarray(picture, np.uint8)
    if size is not None and own != size:
        faults.append(f"{path}: is {own[0]}x{own[1]}, its picture {size[0]}x{size[1]}")
    bad = wrong_ids(path, ids, classes)
    if bad:
        faults.append(f"{path}: holds {', '.join(map(str, bad))}, not among the {classes} classes")
    return faults


def check_pairs(root: Path, part: Part) -> tuple[PairCount | None, list[str]]:
    """Return the count of the published pairs of train/night or train/twilight, and what is wrong with them."""
    home = part.home(root)
    if home is None:
        return None, []  # the pictures themselves are missing, which check_part says
    time = part.name.removeprefix("train/")
    try:
        rows = pairs.correspondence_rows(home, time)
    except (FileNotFoundError, ValueError) as fault:
        return None, [str(fault)]
    faults, days, complete = [], set(), 0
    for row in rows:
        pair = pairs.partners(row, home / "rgb_anon")
        lacking = [p for p in (pair.dark, pair.day) if not p.is_file()]
        faults += [f"{row.file}:{row.line}: no picture {p}" for p in lacking]
        if not lacking:
            complete += 1
            days.add(pair.day)
    if time == "night" and len(rows) != NIGHT_PAIRS:
        faults.insert(0, f"corresp/train/night: {len(rows)} pairs, not {NIGHT_PAIRS}{layout.fetch(part)}")
    return PairCount(len(rows), complete, len(days)), faults


def check_set(name: str, root: Path, chosen: tuple[str, ...] = (), frames: Path | None = None) -> list[PartReport]:
    """Return a report per part of a data set, all or those chosen.

    Raises:
        ValueError: there is no such set or part.
    """
    out = []
    for part in sets.parts(name, root, chosen):
        report = check_part(root, part, frames, name == BDD100K_NIGHT.name)
        if name == DARK_ZURICH.name and part.name in ("train/night", "train/twilight"):
            report.pairs, faults = check_pairs(root, part)
            report.faults += faults
        out.append(report)
    return out or [PartReport("all", faults=[f"{root}: nothing of {name}; expected is {sets.FAMILIES[name].about}"])]


def check_list(file: Path, root: Path, classes: int) -> list[PartReport]:
    """Return the report of the pictures that a list file names (see lists.py)."""
    report = PartReport(file.name)
    try:
        items = lists.read_list(file, root)
    except (OSError, ValueError) as fault:
        report.faults.append(str(fault))
        return [report]
    report.pictures, report.labels = len(items), sum(i.label is not None for i in items)
    report.faults += _files(items, classes, file.name)
    return [report]


def as_text(reports: Iterable[PartReport]) -> str:
    """Return a line per part, and below it its first faults."""
    lines = []
    for r in reports:
        expected = "" if r.expected is None else f" of {r.expected}"
        line = f"{r.name}: {r.pictures}{expected} pictures, {r.labels} labels"
        if r.pairs is not None:
            line += f", {r.pairs.rows} pairs ({r.pairs.complete} complete, {r.pairs.days} distinct day pictures)"
        lines.append(f"{line}: {'ok' if not r.faults else f'{len(r.faults)} wrong'}")
        lines += [f"  {fault}" for fault in r.faults[:SHOWN]]
        if len(r.faults) > SHOWN:
            lines.append(f"  and {len(r.faults) - SHOWN} more; --json names all")
    return "\n".join(lines) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command `check`."""
    about = "\n".join(f"  {f.name}: {f.about}" for f in sets.FAMILIES.values())
    parser.description = f"Check a data set on the disk; the exit code is 1 where something is wrong.\n\nsets:\n{about}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--set", choices=sorted(sets.FAMILIES))
    what.add_argument("--list", type=Path, help="a list file instead: image[,label] per line, relative to --root")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument(
        "--part", action="append", default=[], help="only this part, such as val/night; may be repeated"
    )
    parser.add_argument("--frames", type=Path, help="bdd100k-night: the list of the night frames")
    parser.add_argument("--classes", type=int, default=19, help="--list: classes of the labels (default 19)")
    parser.add_argument("--json", action="store_true", help="all faults, as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command `check`; return 1 where something is wrong."""
    if args.list is not None:
        reports = check_list(args.list, args.root, args.classes)
    else:
        reports = check_set(args.set, args.root, tuple(args.part), args.frames)
    faulty = any(r.faults for r in reports)
    if args.json:
        tree = {"root": str(args.root), "ok": not faulty, "parts": [dataclasses.asdict(r) for r in reports]}
        sys.stdout.write(json.dumps(tree, indent=1) + "\n")
    else:
        sys.stdout.write(as_text(reports))
    return int(faulty)
