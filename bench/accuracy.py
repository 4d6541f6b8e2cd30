"""Score the shipped bundle on labelled sets, every variant at once, and write the tables of docs/accuracy.md.

For each set `nightseg eval` scores float and int8 networks, with and without the relight network, at several stds of
the class weights, with intervals; the trainer scores ESPNetv2 with its Cityscapes weights untouched. Sets to test on
are looked at once: what was found is kept as JSON beside the tables, and a set that is there already is not scored
again, only its table is written anew; with another bundle it is refused. Each look becomes a line of the log.

Exit code 3 where int8 is more than --within points below float.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
from common import SHARED, log
from python_loop import identity
from replays import table

SETS = {
    "day_val": "camvid_dusk/day_val",
    "night_dev": "msrs_night/night_dev",
    "day_test": "camvid_dusk/day_test",
    "dusk_test": "camvid_dusk/dusk_test",
    "night_coarse": "msrs_night/night_coarse",
}
TO_CHOOSE_ON = ["day_val", "night_dev"]
TO_TEST_ON = ["day_test", "dusk_test", "night_coarse"]
APART = "fence"  # too few pixels by night: reported apart
NIGHT = {"night_dev", "night_coarse"}
TRAINER = common.ROOT / ".cache/venv/train/bin/python"
ESPNET = "ESPNetv2, Cityscapes weights untouched"


def stds(bundle: Path) -> str:
    """Return the stds that a bundle is scored at: without class weights, its own, and the official 0.16 of DANNet."""
    own = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["reweight"]["std"]
    return ",".join(f"{v:g}" for v in sorted({0.0, float(own), 0.16}))


def score(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Score the bundle on a set; a look at a test set is logged by the program."""
    folder = SHARED / "data" / SETS[name]
    command = [
        common.program(), "eval", "--images", str(folder / "images"), "--labels", str(folder / "labels"),
        "--bundle", str(args.bundle), "--provider", args.provider, "--precision", "fp32,int8",
        "--relight", "none,network", "--std", args.std or stds(args.bundle), "--gate", "always",
        "--log", str(args.log), "--json",
    ]  # fmt: skip
    if name in NIGHT:
        command += ["--apart", APART]
    if name in TO_TEST_ON:
        command += ["--look", name]
    return common.call(command)


def score_espnet(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Score the untouched ESPNetv2 on a set with the trainer, which logs a look at a test set."""
    folder = SHARED / "data" / SETS[name]
    common.need(TRAINER, "make the trainer's environment with make setup-train, or leave it out with --no-espnet")
    os.environ["PYTHONPATH"] = str(common.ROOT / "train/src")
    command = [
        str(TRAINER), "-m", "nightseg_train", "eval", "--espnet", "--images", str(folder / "images"),
        "--labels", str(folder / "labels"), "--shared", str(SHARED),
    ]  # fmt: skip
    if name in TO_TEST_ON:
        command += ["--look", "--log", str(args.log)]
    return common.call(command)


def without_apart(per_class: dict[str, float | None]) -> float:
    """Return the mean IoU of the classes that are there, the one apart left out."""
    values = [v for k, v in per_class.items() if v is not None and k != APART]
    return sum(values) / len(values)


def with_interval(value: float, interval: dict[str, float], sign: str = "") -> str:
    """Return a figure with its interval."""
    return f"{value:{sign}.1f} ({interval['low']:{sign}.1f} to {interval['high']:{sign}.1f})"


def render(name: str, kept: dict[str, Any]) -> str:
    """Return the section of a set: a heading, a line on how, and the table."""
    r, espnet = kept["nightseg"], kept.get("espnet")
    night = name in NIGHT
    head = ["networks", "relight", "std", "mIoU, 95 % interval"]
    head += [f"without {APART}"] if night else []
    head += ["int8 minus fp32", *r["classes"]]
    rows = []
    for v in r["variants"]:
        cells = [v["precision"], v["relight"], f"{v['std']:g}", with_interval(v["miou"], v["interval"])]
        if night:
            cells.append(with_interval(v["miou_without_apart"]["miou"], v["miou_without_apart"]["interval"]))
        to = v.get("minus_fp32")
        cells.append(with_interval(to["miou"], to["interval"], "+") if to else "")
        rows.append([*cells, *classes(v["per_class"], r["classes"])])
    if espnet:
        cells = [ESPNET, "none", "0", f"{espnet['miou']:.1f}"]
        cells += [f"{without_apart(espnet['per_class']):.1f}"] if night else []
        rows.append([*cells, "", *classes(espnet["per_class"], r["classes"])])
    return (
        f"### {name}\n\n{r['frames']} frames, {r['labelled_pixels'] / 1e6:.1f} million labelled pixels; bundle "
        f"{r['bundle']} (`{r['bundle_sha256'][:12]}`) on {r['engine']}; bootstrap over blocks of "
        f"{r['bootstrap_block']} frames.\n\n" + table(head, rows)
    )


def classes(per_class: dict[str, float | None], names: Sequence[str]) -> list[str]:
    """Return a cell for each class; a dash for those that the labels do not hold."""
    values = [per_class.get(n) for n in names]
    return ["-" if v is None else f"{v:.1f}" for v in values]


def put(file: Path, section: str, text: str) -> None:
    """Put a section between its marks in a Markdown file; at the end where the marks are not there.

    Raises:
        ValueError: only one of the marks is there.
    """
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    old = file.read_text(encoding="utf-8") if file.exists() else "# Accuracy\n"
    if (begin in old) != (end in old):
        raise ValueError(f"{file}: one of the marks of {section} is missing")
    block = f"{begin}\n{text}{end}"
    if begin in old:
        new = old[: old.index(begin)] + block + old[old.index(end) + len(end) :]
    else:
        new = old.rstrip("\n") + "\n\n" + block + "\n"
    file.write_text(new, encoding="utf-8")


def behind(name: str, kept: dict[str, Any]) -> list[common.Limit]:
    """Return how far int8 is below float, the worst of the variants with the same relight mode."""
    worst: dict[str, float] = {}
    for v in kept["nightseg"]["variants"]:
        if "minus_fp32" in v:
            worst[v["relight"]] = max(worst.get(v["relight"], -100.0), -v["minus_fp32"]["miou"])
    return [common.Limit(f"{name}, relight {k}: points of int8 below fp32", v, 0.0) for k, v in worst.items()]


def kept_before(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return what is kept of a set and still counts.

    Raises:
        RefusedError: a set to test on was looked at with another bundle.
    """
    file = args.keep / f"{name}.json"
    if not file.exists() or (name in TO_CHOOSE_ON and not args.render):
        return {}
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    now = identity(args.bundle)
    if "nightseg" in kept and kept["nightseg"]["bundle_sha256"] != now and not args.render:
        raise common.RefusedError(
            f"{name} was looked at with the bundle {kept['nightseg']['bundle_sha256'][:12]}; this one is {now[:12]}. "
            f"To look again, and say so in docs/accuracy.md, remove {file}"
        )
    return kept


def complete(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the scores of a set: those that are kept, and those that are missing, which are kept at once."""
    file, kept = args.keep / f"{name}.json", kept_before(name, args)
    steps = {"nightseg": score} | ({"espnet": score_espnet} if args.espnet else {})
    for key, step in steps.items():
        if key in kept or args.render:
            continue
        log.info("%s: scoring %s", name, key)
        kept[key] = step(name, args)
        file.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    if "nightseg" not in kept:
        raise ValueError(f"{file} holds no scores: leave --render out to score the set")
    return kept


def measure(args: argparse.Namespace) -> None:
    """Score the sets that are not kept yet, and write the tables."""
    args.keep.mkdir(parents=True, exist_ok=True)
    limits = []
    for name in args.sets:
        kept = complete(name, args)
        text = render(name, kept)
        if args.docs:
            put(args.docs, name, text)
        sys.stdout.write(text + "\n")
        limits += [common.Limit(one.what, one.value, args.within) for one in behind(name, kept)]
    common.hold(limits, check=True)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and score."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="examples:\n  bench/run.sh accuracy\n"
        "  bench/run.sh accuracy --sets day_test dusk_test night_coarse --docs docs/accuracy.md   # once, at the end",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--sets", nargs="+", choices=sorted(SETS), default=TO_CHOOSE_ON,
                   help="sets to score (default: those to choose on)")  # fmt: skip
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    p.add_argument("--provider", default="auto", help="of the networks")
    p.add_argument("--std", help="stds of the class weights, comma between them (default: 0, the bundle's own, 0.16)")
    p.add_argument("--docs", type=Path, help="Markdown file to put the tables into, between marks")
    p.add_argument("--keep", type=Path, default=common.ROOT / "docs/accuracy", help="folder of what was found, as JSON")
    p.add_argument("--log", type=Path, default=common.ROOT / "docs/looks.csv", help="log of looks at test sets")
    p.add_argument("--within", type=float, default=1.0, help="points that int8 may be below float")
    p.add_argument("--no-espnet", dest="espnet", action="store_false", help="leave the untouched ESPNetv2 out")
    p.add_argument("--render", action="store_true", help="write the tables from what is kept; score nothing")
    args = p.parse_args(argv)
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
