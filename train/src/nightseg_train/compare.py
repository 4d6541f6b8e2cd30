"""`compare`: many runs beside each other on labelled sets, with paired intervals against one of them.

    python -m nightseg_train compare --config train/configs/benchmark/table.yaml --docs docs/benchmark.md

A row is a run, or a bundle as it ships. Rows whose run is neither finished here nor kept from elsewhere are left out
and named. A row with several seeds shows their mean and their spread; each row shows what it cost and what it rests on.
Sets to test on need `--look SET`, once. What was found, frame by frame, and what a run cost is kept in a folder of the
checkout: the tables can be made anew, and rows added, where the runs themselves are no more. `--card BUNDLE` writes the
mIoU of all rows on all sets into the bundle's model card.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nightseg_train import bundle, cards, config, fit, looks, metrics, runs, subjects
from nightseg_train.looks import Set
from nightseg_train.metrics.bootstrap import Bootstrap, middle
from nightseg_train.metrics.miou import Matrix
from nightseg_train.origins import Origin
from nightseg_train.runs import Look

log = logging.getLogger(__name__)
LOG = "docs/looks.csv"
DONE = "done.json"
LEGEND = (
    "IoU in percent, the mean over the seeds; ±: their standard deviation. Intervals: block bootstrap over frames, "
    "that of a difference over the same resamples of both rows. Pictures and minutes: training of one seed, without "
    "what came before it. Labels and weights: what the row rests on, with all that came before it."
)
NOTES = (
    "In brackets the 95 % interval (block bootstrap over frames); ±: standard deviation over seeds. Bundles run at "
    "their own class weights. How rows were made, per class, and what each rests on: docs/benchmark.md of nightseg."
)


@dataclass(frozen=True)
class Row:
    """A line of the table: of a run or of a bundle, one of the two.

    Attributes:
        label: how the table calls it.
        run: folder of the run below that of the table, or ../ and so on for one elsewhere.
        bundle: folder of the bundle.
        seeds: its runs are RUN-sSEED; none: RUN itself.
        look: how they are looked at; of a bundle the relight net can be left out, no more.
        precision: of the bundle, fp32 or int8.
        note: what a footnote says of it, such as the time of a teacher that its own time leaves out.
    """

    label: str
    run: str = ""
    bundle: str = ""
    seeds: tuple[int, ...] = ()
    look: Look = field(default_factory=Look)
    precision: str = "fp32"
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            ValueError: not one of run and bundle is named, or it is one that the other settings are not for.
        """
        if bool(self.run) == bool(self.bundle):
            raise ValueError(f"rows: {self.label!r} needs one of the two, run or bundle")
        if self.bundle and (self.seeds or self.look != Look(relight=self.look.relight)):
            raise ValueError(f"rows: {self.label!r} is a bundle: it has no seeds, and only relight of the looks")


@dataclass(frozen=True)
class Table:
    """Settings.

    Attributes:
        work: folder of the runs.
        keep: folder of the checkout in which what was found and what it cost is kept, a folder a run or bundle.
        base: label of the row that others are compared with.
        sets, rows: of the tables.
    """

    work: str
    keep: str
    base: str
    sets: tuple[Set, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Cell:
    """What a row scored on a set; figures in percent, lists by seed or by class.

    Attributes:
        miou: per seed.
        low, high: 95 % interval of the mean over the seeds (block bootstrap over frames).
        gain: mean minus the base row's, and its paired interval; None for the base row and where there is no base.
        per_class: mean over the seeds, None where the labels lack the class.
        without: mIoU without the classes set apart, mean over the seeds; None where none is.
        frames: of the set.
    """

    miou: list[float]
    low: float
    high: float
    gain: tuple[float, float, float] | None
    per_class: list[float | None]
    without: float | None
    frames: int

    def __str__(self) -> str:
        """Return the mean, its spread over the seeds where there are several, and the interval."""
        spread = f" ± {np.std(self.miou, ddof=1):.1f}" if len(self.miou) > 1 else ""
        return f"{np.mean(self.miou):.1f}{spread} ({self.low:.1f} to {self.high:.1f})"

    def as_tree(self) -> dict[str, object]:
        """Return plain values of two decimals."""
        gain = None if self.gain is None else [round(v, 2) for v in self.gain]
        return {
            "miou": [round(v, 2) for v in self.miou], "interval": [round(self.low, 2), round(self.high, 2)],
            "gain": gain, "per_class": [None if v is None else round(v, 2) for v in self.per_class],
            "without": None if self.without is None else round(self.without, 2),
        }  # fmt: skip


Figures = dict[str, list[list[Matrix]]]  # label of a row -> per seed, per frame


def without(apart: Sequence[int]) -> Callable[[Matrix], float]:
    """Return the mean IoU over the labelled classes that are not set apart, in percent."""

    def figure(m: Matrix) -> float:
        iou = np.array(metrics.score(m, 0).per_class)
        iou[list(apart)] = np.nan
        return float(np.nanmean(iou))

    return figure


def _resampled(seeds: Sequence[Sequence[Matrix]], bootstrap: Bootstrap) -> NDArray[np.float64]:
    """Return the mean mIoU over the seeds in each resample of the frames."""
    values: NDArray[np.float64] = np.mean([bootstrap.values(s) for s in seeds], 0)
    return values


def cell(seeds: list[list[Matrix]], base: list[list[Matrix]] | None, apart: Sequence[int]) -> Cell:
    """Return what a row scored, and how far it is from the base row.

    Raises:
        ValueError: there is no frame.
    """
    bootstrap = Bootstrap()
    sums = [np.sum(s, 0) for s in seeds]
    miou = [metrics.mean_iou(m) for m in sums]
    values = _resampled(seeds, bootstrap)
    interval, gain = middle(values), None
    if base is not None:
        apart_by = middle(values - _resampled(base, bootstrap))
        mean = float(np.mean(miou)) - float(np.mean([metrics.mean_iou(np.sum(s, 0)) for s in base]))
        gain = (mean, apart_by.low, apart_by.high)
    classes = np.array([metrics.score(m, 0).per_class for m in sums])
    per_class = [None if np.isnan(v).any() else float(v.mean()) for v in classes.T]
    rest = float(np.mean([without(apart)(m) for m in sums])) if apart else None
    return Cell(miou, interval.low, interval.high, gain, per_class, rest, len(seeds[0]))


@dataclass(frozen=True)
class Spent:
    """What a row took without what came before it, pictures seen and minutes of training of a seed, and its origin.

    Pictures and minutes are None where nothing tells them.
    """

    images: int | None
    minutes: float | None
    origin: Origin

    def cells(self) -> list[str]:
        """Return the pictures and the minutes as a table shows them."""
        return [
            "-" if self.images is None else str(self.images),
            "-" if self.minutes is None else f"{self.minutes:.1f}",
        ]


def gather(t: Table, s: Set, base: Path, log_file: Path, allowed: Sequence[str]) -> Figures:
    """Return the matrices of every row that was or may be looked at; tells of the runs that are not there.

    Raises:
        FileNotFoundError, ValueError: a set or a bundle is missing or does not fit.
    """
    out: Figures = {}
    for row in tqdm(t.rows, desc=s.name, mininterval=5, disable=None):
        found = []
        for folder in folders(t, row, base):
            there = base / t.keep / folder.name
            if row.bundle:
                subject = subjects.of_bundle(folder, row.precision, relight=row.look.relight)
                seen = looks.matrices(subject, s, there, base, log_file, allowed)
            elif (folder / DONE).is_file():
                note(folder, there, base)
                subject = subjects.of_run(runs.read(folder, base), row.look)
                seen = looks.matrices(subject, s, there, base, log_file, allowed)
            else:
                seen = looks.held(there, s, subjects.how(row.look))
                if not (there / DONE).is_file():
                    log.warning("compare: %s (%s) is not finished", row.label, folder.name)
            found += [] if seen is None else [seen]
        if found:
            out[row.label] = found
    return out


def folders(t: Table, row: Row, base: Path) -> list[Path]:
    """Return the folders of a row's runs, or of its bundle."""
    if row.bundle:
        return [base / row.bundle]
    return [base / t.work / (row.run if n is None else f"{row.run}-s{n}") for n in row.seeds or (None,)]


def note(folder: Path, there: Path, base: Path) -> None:
    """Keep what a finished run took: pictures, seconds and origin.

    Raises:
        FileNotFoundError, ValueError: its end does not tell its origin, and its settings are not there or not read.
    """
    done = json.loads((folder / DONE).read_text(encoding="utf-8"))
    origin = Origin.of(done.get("origin")) or fit.origin(fit.read_settings(folder), base)
    tree = {"images": done.get("images"), "seconds": done.get("seconds"), "origin": asdict(origin)}
    there.mkdir(parents=True, exist_ok=True)
    (there / DONE).write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def spent(t: Table, row: Row, base: Path) -> Spent:
    """Return what that kept seed of a row took which took least: something else may have been at work meanwhile."""
    if row.bundle:
        manifest = bundle.told(base / row.bundle)
        return Spent(None, None, Origin.of(manifest.get("training", {}).get("origin")) or Origin())
    ends = [base / t.keep / f.name / DONE for f in folders(t, row, base)]
    told = [json.loads(f.read_text(encoding="utf-8")) for f in ends if f.is_file()]
    done = min(told, key=lambda tree: float(tree["seconds"] or 0))
    minutes = None if done["seconds"] is None else float(done["seconds"]) / 60
    return Spent(done["images"], minutes, Origin.of(done["origin"]) or Origin())


def score(t: Table, s: Set, figures: Figures, names: tuple[str, ...]) -> dict[str, Cell]:
    """Return what each row scored on a set, by its label."""
    apart, base = [names.index(n) for n in s.apart], figures.get(t.base)
    return {row: cell(seeds, None if row == t.base else base, apart) for row, seeds in figures.items()}


def markdown(t: Table, s: Set, scored: Mapping[str, Cell], base: Path, names: tuple[str, ...]) -> str:
    """Return a set's table."""
    rows = [r for r in t.rows if r.label in scored]
    notes = list(dict.fromkeys(r.note for r in rows if r.note))
    head = ["row", "seeds", "pictures", "minutes", "mIoU, 95 % interval"]
    head += [f"without {', '.join(s.apart)}"] if s.apart else []
    head += [f"against {t.base}", *names, "labels", "weights"]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        c, cost = scored[row.label], spent(t, row, base)
        mark = f" [{notes.index(row.note) + 1}]" if row.note else ""
        cells = [f"{row.label}{mark}", str(len(c.miou)), *cost.cells()]
        cells.append(str(c))
        cells += [f"{c.without:.1f}"] if c.without is not None else []
        cells.append("" if c.gain is None else f"{c.gain[0]:+.1f} ({c.gain[1]:+.1f} to {c.gain[2]:+.1f})")
        cells += ["-" if v is None else f"{v:.1f}" for v in c.per_class]
        lines.append(_line([*cells, ", ".join(cost.origin.labels), ", ".join(cost.origin.weights)]))
    about = f"{scored[rows[0].label].frames} frames. {LEGEND}"
    told = "".join(f"\n[{i}] {note}\n" for i, note in enumerate(notes, 1))
    return f"### {s.name}\n\n{about}\n\n" + "\n".join(lines) + f"\n{told}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def place(text: str, name: str, part: str) -> str:
    """Return a document with what stands between the marks of a name replaced; marks are added at the end if absent.

    The marks are <!-- begin NAME --> and <!-- end NAME -->.
    """
    block = f"<!-- begin {name} -->\n{part}<!-- end {name} -->"
    marks = re.compile(rf"<!-- begin {re.escape(name)} -->.*?<!-- end {re.escape(name)} -->", re.S)
    if marks.search(text):
        return marks.sub(lambda _: block, text)
    return f"{text.rstrip()}\n\n{block}\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--config", type=Path, required=True, help="settings of the table (YAML)")
    parser.add_argument("--sets", nargs="+", help="only these sets (default: all that may be looked at)")
    parser.add_argument("--look", nargs="+", default=[], metavar="SET", help="sets to test on that are looked at now")
    parser.add_argument("--docs", type=Path, help="document whose tables are written anew (default: print them)")
    parser.add_argument("--card", type=Path, metavar="BUNDLE", help="bundle whose model card is written anew")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    t = config.read(Table, args.config)
    known = {s.name: s for s in t.sets}
    for name in [*(args.sets or []), *args.look]:
        if name not in known:
            raise ValueError(f"compare: no set {name}; there are {', '.join(known)}")
    scores: dict[str, dict[str, str]] = {}
    for s in (known[n] for n in args.sets or known):
        figures = gather(t, s, config.ROOT, config.ROOT / LOG, args.look)
        if not figures:
            log.info("compare: nothing to show of %s%s", s.name, "; --look allows it" if s.test else "")
            continue
        names = s.items(config.ROOT)[1]
        scored = score(t, s, figures, names)
        scores[s.name] = {row: str(c) for row, c in scored.items()}
        part = markdown(t, s, scored, config.ROOT, names)
        if args.docs is None:
            sys.stdout.write(part + "\n")
        else:
            old = args.docs.read_text(encoding="utf-8") if args.docs.exists() else ""
            args.docs.write_text(place(old, s.name, part), encoding="utf-8")
    if args.card is not None:
        log.info("compare: wrote %s", cards.write(args.card, scores, NOTES))
