"""Shares a_k of the classes in any folder of labels, and DANNet's class weights w_k from them.

    python -m nightseg_train weights --labels gtFine/train --std 0.05 0.16

a_k is the share of class k in all pixels that have a class; w_k: see losses.class_weights.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nightseg_train import classes, losses
from nightseg_train.classes import NAMES
from nightseg_train.data import own
from nightseg_train.data.ids import CITYSCAPES
from nightseg_train.data.layout import place
from nightseg_train.data.pictures import read_label

# a_k of Cityscapes' training labels, by train id, as in DANNet's program; its released weights are scored with them.
CITYSCAPES_SHARES: tuple[float, ...] = (
    0.36869696, 0.06084986, 0.22824049, 0.00655399, 0.00877272, 0.01227341, 0.00207795, 0.0055127, 0.15928651,
    0.01157818, 0.04018982, 0.01218957, 0.00135122, 0.06994545, 0.00267456, 0.00235192, 0.00232904, 0.00098658,
    0.00413907,
)  # fmt: skip
ENDS = ("labelTrainIds", "trainIds", "labelIds")  # of two kinds in one folder, the first is taken


@dataclass(frozen=True)
class Shares:
    """Class shares of a folder of labels.

    Attributes:
        shares: a_k, summing to 1.
        files: label files in which class k stands.
        labels: label files read.
        labelled: share of all pixels that have a class.
    """

    shares: NDArray[np.float64]
    files: NDArray[np.int64]
    labels: int
    labelled: float


def label_files(folder: Path) -> list[Path]:
    """Return the label files of a folder and those below it, in natural order.

    Where names end in _labelTrainIds, _trainIds or _labelIds, only the files of the first such kind are taken (and no
    _color); else all *.png.

    Raises:
        FileNotFoundError: there is none.
    """
    files = sorted(folder.rglob("*.png"), key=lambda p: place(p, folder))
    for end in ENDS:
        kind = [p for p in files if p.stem.endswith(f"_{end}")]
        if kind:
            return kind
    if not files:
        raise FileNotFoundError(f"weights: no *.png in {folder}")
    return files


def measure(files: Sequence[Path], classes: int) -> Shares:
    """Return the class shares of label files; ids 255 do not count.

    Raises:
        ValueError: a file is no label or holds an id that is no class, or nothing at all is labelled.
    """
    counts, found, pixels = np.zeros(256, np.int64), np.zeros(256, np.int64), 0
    for path in tqdm(files, desc="labels", disable=None, file=sys.stderr):
        try:
            one = np.bincount(read_label(path, classes).ravel(), minlength=256)
        except ValueError as fault:
            raise ValueError(f"{fault} (of {classes})") from fault
        counts, found, pixels = counts + one, found + (one > 0), pixels + int(one.sum())
    kept = counts[:classes]
    if not kept.any():
        raise ValueError(f"weights: no pixel of the {len(files)} labels has a class")
    return Shares(kept / kept.sum(), found[:classes], len(files), float(kept.sum() / pixels))


def names_of(classes: int) -> tuple[str, ...]:
    """Return the names of 11 (CamVid) or 19 (Cityscapes) classes, of any other number "0", "1", ..."""
    known = {len(NAMES): NAMES, len(CITYSCAPES): CITYSCAPES}
    return known.get(classes, tuple(str(k) for k in range(classes)))


def as_tree(found: Shares, names: Sequence[str], stds: Sequence[float]) -> dict[str, object]:
    """Return what is to be printed as plain values; names are those of the classes, by id.

    Raises:
        ValueError: a std at which a weight reaches 0.
    """
    shares = found.shares.tolist()
    weights = {f"{s:g}": losses.class_weights(shares, s).tolist() for s in stds}
    return {
        "labels": found.labels,
        "labelled": found.labelled,
        "classes": [
            {"id": k, "name": n, "share": shares[k], "files": int(found.files[k])} for k, n in enumerate(names)
        ],
        "weights": weights,
    }


def as_text(found: Shares, names: Sequence[str], stds: Sequence[float]) -> str:
    """Return a table: id, class, share, files with the class, and the weight per std.

    Raises:
        ValueError: a std at which a weight reaches 0.
    """
    weights = [losses.class_weights(found.shares.tolist(), s).tolist() for s in stds]
    head = f"{'id':>2} {'class':<14} {'share a_k':>10} {'-ln a_k':>8} {'files':>6}" + "".join(
        f" {f'w_k std {s:g}':>13}" for s in stds
    )
    lines = [f"{found.labels} labels, {found.labelled:.1%} of the pixels labelled", head]
    for k, name in enumerate(names):
        a = float(found.shares[k])
        log = f"{-math.log(a):8.4f}" if a > 0 else f"{'none':>8}"
        row = f"{k:>2} {name:<14} {a:>10.6f} {log} {int(found.files[k]):>6}"
        lines.append(row + "".join(f" {w[k]:>13.4f}" for w in weights))
    if not found.shares.all():
        lines.append(f"a class in no label counts as a share of {losses.SHARE_FLOOR:g}")
    return "\n".join(lines) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command `weights`."""
    parser.description = "Measure the class shares of a folder of labels and the class weights they give."
    parser.add_argument("--labels", type=Path, required=True, help="folder of label files, searched to the bottom")
    parser.add_argument(
        "--classes",
        help="their number, or a file classes.json (default: 19 where the files are ..._labelIds.png, else 11)",
    )
    parser.add_argument("--std", type=float, nargs="+", default=[0.05, 0.16], help="of the weights (default 0.05 0.16)")
    parser.add_argument("--json", action="store_true")


def _names(told: str | None, files: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the classes that --classes tells, or that the names of the files suggest."""
    if told is None:
        return CITYSCAPES if files[0].stem.endswith("_labelIds") else NAMES
    return names_of(int(told)) if told.isdecimal() else classes.names(own.read_classes(Path(told)))


def run(args: argparse.Namespace) -> None:
    """Run the command `weights`."""
    files = label_files(args.labels)
    names = _names(args.classes, files)
    try:
        found = measure(files, len(names))
    except ValueError as fault:
        raise ValueError(f"{fault}; --classes N or --classes FILE tells of other classes") from fault
    if args.json:
        sys.stdout.write(json.dumps(as_tree(found, names, args.std), indent=1) + "\n")
    else:
        sys.stdout.write(as_text(found, names, args.std))
