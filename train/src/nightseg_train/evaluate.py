"""`eval`: mIoU of a bundle, of a run, or of ESPNetv2 as it was published, on a labelled set.

    python -m nightseg_train eval --bundle model/bundles/street-11 --set day_val
    python -m nightseg_train eval --run .cache/train/street-11/student --set night_dev --no-relight
    python -m nightseg_train eval --espnet --images DIR --labels DIR

Sets to choose on have names; any other labelled folder is given by its two folders. One that belongs to a set to test
on is refused without --look, and each look is a line of the log.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nightseg_train import config, data, looks, metrics, runs, runtime, scoring, streams, subjects
from nightseg_train.runs import Look
from nightseg_train.streams import Part
from nightseg_train.subjects import Subject

# Sets to choose on: name of the set (data/sets.py), folder below `shared`, part.
SETS = {"day_val": ("camvid", "data/camvid_dusk", "day_val"), "night_dev": ("msrs", "data/msrs_night", "night_dev")}
ESPNET = "models/espnetv2_cityscapes/espnetv2_s_2.0_city_1024x512.safetensors"
LOG = config.ROOT / "docs/looks.csv"
# What an option is for, and its value where it is not given.
FOR: dict[str, tuple[tuple[str, ...], object]] = {
    "no_relight": (("bundle", "run"), False),
    "no_weights": (("run",), False),
    "prepare": (("run",), "none"),
    "precision": (("bundle",), "fp32"),
    "provider": (("bundle",), "cpu"),
    "std": (("bundle",), 0.0),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    what = parser.add_argument_group("what is scored, one of these").add_mutually_exclusive_group(required=True)
    what.add_argument("--bundle", type=Path, help="folder of a bundle")
    what.add_argument("--run", type=Path, help="folder of a run")
    what.add_argument("--espnet", action="store_true", help="ESPNetv2 with its weights from Cityscapes")
    where = parser.add_argument_group("where")
    where.add_argument("--set", choices=sorted(SETS), help="a set to choose on")
    where.add_argument("--images", type=Path, help="folder of pictures")
    where.add_argument("--labels", type=Path, help="folder of their labels, in the classes of what is scored")
    where.add_argument("--shared", type=Path, default=config.ROOT.parent / "shared", help="folder of the shared data")
    where.add_argument("--look", action="store_true", help="a folder of a set to test on is meant")
    where.add_argument("--log", type=Path, default=LOG, help="log of the looks at sets to test on")
    how = parser.add_argument_group("how")
    how.add_argument("--no-relight", action="store_true", help="bundle, run: without the relight net")
    how.add_argument("--no-weights", action="store_true", help="run: without its class weights")
    how.add_argument("--prepare", choices=sorted(runs.PREPARE), default="none", help="run: what pictures go through")
    how.add_argument("--precision", choices=["fp32", "int8"], default="fp32", help="bundle")
    how.add_argument("--provider", choices=sorted(runtime.PROVIDERS), default="cpu", help="bundle")
    how.add_argument("--std", type=float, default=0.0, help="bundle: spread of the class weights")


def pictures(args: argparse.Namespace) -> tuple[list[data.Item], tuple[str, ...], str | None]:
    """Return labelled pictures, the classes of their labels if known, and which set to test on they are of, or None.

    Raises:
        FileNotFoundError: a folder or a label is missing.
        ValueError: not one of --set and --images with --labels is given, or a set to test on is not to be looked at.
    """
    if args.set and not (args.images or args.labels):
        name, root, part = SETS[args.set]
        return *streams.read([Part(name, str(args.shared / root), part)], Path()), None
    if args.set or not (args.images and args.labels):
        raise ValueError("eval: --set, or --images with --labels, tells where to score")
    reserved = looks.reserved(args.images) or looks.reserved(args.labels)
    if reserved and not args.look:
        raise ValueError(f"eval: {reserved} is a set to test on, which is looked at once, at the end; --look does it")
    return data.list_folder(args.images, args.labels), (), reserved


def subject(args: argparse.Namespace) -> Subject:
    """Return what is to be scored.

    Raises:
        FileNotFoundError, ValueError: it is missing or does not fit, or an option is not for it.
    """
    kind = "espnet" if args.espnet else "bundle" if args.run is None else "run"
    for option, (kinds, default) in FOR.items():
        if kind not in kinds and getattr(args, option) != default:
            raise ValueError(f"eval: --{option.replace('_', '-')} is for --{' and --'.join(kinds)}, not for --{kind}")
    if args.espnet:
        return subjects.of_espnet(args.shared / ESPNET)
    if args.run is not None:
        look = Look(args.prepare, not args.no_relight, not args.no_weights)
        return subjects.of_run(runs.read(args.run, config.ROOT), look)
    relight = not args.no_relight
    return subjects.of_bundle(args.bundle, args.precision, args.provider, args.threads, args.std, relight)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    items, labels, reserved = pictures(args)  # first: what is not to be looked at is refused before anything is loaded
    s = subject(args)
    labels = labels or s.names
    bar = tqdm(items, desc="looking", mininterval=10, disable=None)
    found = looks.confusions(s, bar, labels)
    if reserved:
        looks.add(args.log, s.seen, reserved, found)
    result = metrics.score(np.sum(found, 0), len(found))
    sys.stdout.write(json.dumps(scoring.as_dict(result, labels), indent=1) + "\n")
