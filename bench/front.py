"""Accuracy against time: mIoU of the networks that were scored, beside what each takes, as a table and a picture.

Scores are those of the tables in docs/accuracy.md, docs/accuracy-synth-11.md and docs/benchmark.md, the mean of the two
sets to choose on; nothing is scored here. Times are those of `nightseg_train time-nets`, one run of each network in
turn; a network that brightens the picture first pays for its relight network, too. Candidates that nobody trained
have a time and no score.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import common
from accuracy import TRAINER, put
from common import log
from front_picture import Point, front, picture
from replays import table

SETS = ("day_val", "night_dev")
DOCS = common.ROOT / "docs"
NET, RELIGHT, TEACHER = "lite0", "relight 8", "espnetv2 s=2"
ROWS = {  # of docs/benchmark.md, all float: what the picture calls them, the net, and whether it relights
    "2 darkened": ("darkened days alone", NET, False),
    "6 ours": ("row 6 of the benchmark", NET, True),
    "teacher of 6": ("ESPNetv2, fine-tuned", TEACHER, False),
}


@dataclass(frozen=True)
class Scored:
    """A network with a score.

    Attributes:
        name: of it.
        precision: "fp32" or "int8".
        net: its name in time-nets.
        relit: the relight network runs before it.
        miou: in percent, by set.
    """

    name: str
    precision: str
    net: str
    relit: bool
    miou: dict[str, float]

    def mean(self) -> float:
        """Return the mean over the sets."""
        return sum(self.miou.values()) / len(self.miou)

    def ms(self, times: dict[str, dict[str, float]]) -> float:
        """Return the time of a picture in ms."""
        return times[self.net][self.precision] + (times[RELIGHT][self.precision] if self.relit else 0)


def of_bundle(name: str, folder: Path, std: float) -> tuple[list[Scored], str]:
    """Return what `bench/run.sh accuracy` kept of a bundle, at the std nearest to its own, and the bundle's name.

    Raises:
        ValueError: the sets were scored with different bundles.
    """
    kept = {s: json.loads((folder / f"{s}.json").read_text(encoding="utf-8"))["nightseg"] for s in SETS}
    bundles = {f"{k['bundle']} (`{k['bundle_sha256'][:12]}`)" for k in kept.values()}
    if len(bundles) != 1:
        raise ValueError(f"{folder}: scored with {' and '.join(sorted(bundles))}: run bench/run.sh accuracy again")
    nearest = min((float(v["std"]) for v in kept[SETS[0]]["variants"]), key=lambda v: abs(v - std))
    found = []
    for precision in ("fp32", "int8"):
        for relight in ("none", "network"):
            key = (precision, relight, nearest)
            miou = {s: variant(k["variants"], key) for s, k in kept.items()}
            word = name if relight == "network" else f"{name}, no relight"
            found.append(Scored(word, precision, NET, relight == "network", miou))
    return found, bundles.pop()


def variant(variants: Sequence[dict[str, Any]], key: tuple[str, str, float]) -> float:
    """Return the mIoU of a precision, relight mode and std.

    Raises:
        ValueError: it was not scored.
    """
    for v in variants:
        if (v["precision"], v["relight"], v["std"]) == key:
            return float(v["miou"])
    raise ValueError(f"no score of {key}")


def of_table(text: str, section: str) -> dict[str, float]:
    """Return the mIoU of each row of a section of docs/benchmark.md, footnote marks left out."""
    part = text[text.index(f"<!-- begin {section} -->") : text.index(f"<!-- end {section} -->")]
    found, column = {}, -1
    for line in part.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if not line.startswith("|") or cells[0].startswith("---"):
            continue
        if cells[0] == "row":
            column = next(i for i, c in enumerate(cells) if c.startswith("mIoU"))
        elif column >= 0 and (value := re.match(r"[\d.]+", cells[column])):
            found[re.sub(r" \[\d+\]$", "", cells[0])] = float(value[0])
    return found


def of_benchmark(path: Path) -> list[Scored]:
    """Return the rows of the benchmark that are named above.

    Raises:
        ValueError: one is not there.
    """
    text = path.read_text(encoding="utf-8")
    tables, found = {s: of_table(text, s) for s in SETS}, []
    for row, (name, net, relit) in ROWS.items():
        if any(row not in t for t in tables.values()):
            raise ValueError(f"{path}: no row {row!r}")
        found.append(Scored(name, "fp32", net, relit, {s: t[row] for s, t in tables.items()}))
    return found


def of_espnet(folder: Path) -> Scored:
    """Return what was kept of the ESPNetv2 that was not trained here."""
    kept = {s: json.loads((folder / f"{s}.json").read_text(encoding="utf-8"))["espnet"]["miou"] for s in SETS}
    return Scored("ESPNetv2, Cityscapes weights", "fp32", TEACHER, False, kept)


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Return the times, new ones or those that are kept."""
    if args.render:
        kept: dict[str, Any] = json.loads(args.keep.read_text(encoding="utf-8"))
        return kept
    common.need(TRAINER, "make the trainer's environment with make setup-train")
    os.environ["PYTHONPATH"] = str(common.ROOT / "train/src")
    command = [str(TRAINER), "-m", "nightseg_train", "time-nets", "--rounds", str(args.rounds), "--json"]
    log.info("timing the candidates: %d rounds", args.rounds)
    load = common.Load()
    said = common.call(command + (["--force"] if args.force else []))
    said |= {"others": round(load.cores(), 2), "rounds": args.rounds, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    args.keep.parent.mkdir(parents=True, exist_ok=True)
    args.keep.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return said


def render(scored: Sequence[Scored], said: dict[str, Any], bundles: Sequence[str]) -> str:
    """Return the section: a line on how, and the table, fastest first."""
    times = {n["name"]: n for n in said["nets"]}
    best = front([(s.ms(times), s.mean()) for s in scored])
    head = ["network", "precision", "ms", *(f"{s} mIoU" for s in SETS), "mean", "on the front"]
    lines = []
    for i, s in enumerate(scored):
        cells = [s.name, s.precision, f"{s.ms(times):.1f}", *(f"{s.miou[k]:.1f}" for k in SETS), f"{s.mean():.1f}",
                 "yes" if i in best else ""]  # fmt: skip
        lines.append((s.ms(times), cells))
    used = {NET, TEACHER}
    for name, n in times.items():
        if name not in used and not name.startswith("relight"):
            blank = [*("-" for _ in SETS), "not scored", ""]
            lines += [(n[p], [name, p, f"{n[p]:.1f}", *blank]) for p in ("fp32", "int8")]
    about = (
        f"{said['provider']}, {said['threads']} threads, {said['rounds']} rounds in which the networks take turns, "
        f"{said['date']}; other programs kept {said['others']:.2f} cores busy. Scores: {', '.join(bundles)}, and "
        "[benchmark.md](benchmark.md)."
    )
    return f"{about}\n\n" + table(head, [cells for _, cells in sorted(lines, key=lambda one: one[0])])


def measure(args: argparse.Namespace) -> None:
    """Collect the scores, time, and write table and picture."""
    scored, bundles = [], []
    for name, folder in (("street-11", args.scores), ("synth-11", args.scores / "synth-11")):
        manifest = json.loads((common.BUNDLE.parent / name / "bundle.json").read_text(encoding="utf-8"))
        more, bundle = of_bundle(name, folder, float(manifest["reweight"]["std"]))
        scored += more
        bundles.append(bundle)
    scored += [*of_benchmark(args.benchmark), of_espnet(args.scores)]
    said = measured(args)
    times = {n["name"]: n for n in said["nets"]}
    text = render(scored, said, bundles)
    sys.stdout.write(text)
    points = [Point(s.name, s.precision, s.ms(times), s.mean()) for s in scored]
    idle = [(n["name"], n["int8"]) for n in said["nets"] if n["name"].startswith("ddrnet")]
    if args.docs:
        put(args.docs, "front", text)
        args.picture.write_text(picture(points, idle), encoding="utf-8")
    best = {points[i].name for i in front([(p.ms, p.miou) for p in points])}
    log.info("on the front: %s", ", ".join(sorted(best)))
    if args.check and not any(name.startswith("street-11") for name in best):
        raise common.RefusedError("the bundle that ships is not on the front")


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and measure."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh front --docs docs/performance.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--rounds", type=int, default=40, help="runs of each network that are timed")
    p.add_argument("--scores", type=Path, default=DOCS / "accuracy", help="what bench/run.sh accuracy kept")
    p.add_argument("--benchmark", type=Path, default=DOCS / "benchmark.md", help="tables of the benchmark")
    p.add_argument("--docs", type=Path, help="Markdown file to put the table into, between marks; draws, too")
    p.add_argument("--picture", type=Path, default=DOCS / "performance/front.svg", help="file of the picture")
    p.add_argument("--keep", type=Path, default=DOCS / "performance/front.json", help="file of the times")
    p.add_argument("--render", action="store_true", help="take the times that are kept; time nothing")
    p.add_argument("--check", action="store_true", help="exit with 3 where the shipped bundle is not on the front")
    p.add_argument("--force", action="store_true", help="time although other programs are at work")
    args = p.parse_args(argv)
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
