"""`report`: a training as one page of HTML: what it was, its curves, what it scores and what it sees.

    python -m nightseg_train report --run .cache/train/benchmark/dark-s1

The page stands alone: style, charts and pictures are in it. It shows the parts that the run chose its snapshot on,
never a set to test on; of each it scores the frames that the training scored.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from nightseg_train import config, data, looks, loop, metrics, runs, scoring, streams, subjects
from nightseg_train.classes import Class
from nightseg_train.drawing import charts, paint
from nightseg_train.drawing.charts import Curve
from nightseg_train.drawing.page import Html, el, join, shell
from nightseg_train.fit import Fit, Validation
from nightseg_train.metrics.bootstrap import Bootstrap
from nightseg_train.metrics.luminance import FEW
from nightseg_train.metrics.miou import Matrix
from nightseg_train.runs import Finished

log = logging.getLogger(__name__)
WIDTH = 400  # of a picture in the page, pixels
TO_TEST_ON = re.compile(r"(^|[_/])test([_/]|$)|_proxy$|_coarse$")  # names of parts that no report may look at
NOT_LOSSES = ("step", "seconds", "wait", "scale")
QUARTERS = ("darkest quarter", "second", "third", "brightest quarter")


@dataclass(frozen=True)
class Spent:
    """How far a run came; None: not known. Seconds are of training."""

    ended: bool
    steps: int | None = None
    images: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Seen:
    """What a run makes of a part: one matrix and one mean luma (0..255) per labelled frame."""

    part: Validation
    items: Sequence[data.Item]
    matrices: Sequence[Matrix]
    lumas: Sequence[float]

    def name(self) -> str:
        """Return how the log calls the part."""
        return f"{self.part.set}/{self.part.part}"

    def total(self) -> Matrix:
        """Return the matrix of all frames."""
        total: Matrix = np.sum(self.matrices, 0)
        return total


def read_log(folder: Path) -> dict[str, Curve]:
    """Return a run's log by column; rows in which a column is empty are left out of it. No log: nothing."""
    path = folder / "log.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for name in rows[0] if rows else ():
        points = [(float(r["step"]), float(r[name])) for r in rows if r[name]]
        if points:
            steps, values = np.array(points, np.float64).T
            found[name] = Curve(steps, values)
    return found


def spent(folder: Path, lines: Mapping[str, Curve]) -> Spent:
    """Return how far a run came: from done.json where it has ended, else from its log."""
    path = folder / "done.json"
    done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    steps, seconds = (
        (int if k == "step" else float)(lines[k].values[-1]) if k in lines else None for k in ("step", "seconds")
    )
    return Spent(path.is_file(), done.get("steps", steps), done.get("images"), done.get("seconds", seconds))


def see(run: Finished, part: Validation, base: Path) -> Seen:
    """Score a run on the frames of a part that its training scored.

    Raises:
        FileNotFoundError: a picture or a label is missing.
        ValueError: it is a set to test on, or its classes do not fit.
    """
    if TO_TEST_ON.search(part.part):
        raise ValueError(
            f"report: {run.folder} was validated on {part.set} {part.part}, a set to test on; a report shows none"
        )
    items, labels = streams.read([streams.Part(part.set, part.root, part.part)], base)
    items, matrices, lumas = items[:: part.stride], [], []
    subject = subjects.of_run(run, runs.AS_IS)
    for item in tqdm(items, desc=f"{part.set}/{part.part}", mininterval=5, disable=None):
        matrices += looks.confusions(subject, [item], labels)
        lumas.append(metrics.mean_luma(data.read_image(item.image, run.settings.size)))
    return Seen(part, items, matrices, lumas)


def relit(run: Finished, picture: data.Picture) -> data.Picture | None:
    """Return RGB bytes H x W x 3 as the relight net hands them on, cut to 0..255; None: the method has no such net."""
    net = run.method.modules().get("relight")
    if net is None:
        return None
    with torch.inference_mode():
        y = net(scoring.to_tensor(picture).to(next(net.parameters()).device))[0].float().cpu()
    pixels = y.permute(1, 2, 0) * torch.tensor(scoring.STD) + torch.tensor(scoring.MEAN)
    return np.asarray((pixels * 255).round().clamp(0, 255).numpy(), np.uint8)


def pictures(run: Finished, item: data.Item) -> dict[str, str]:
    """Return a frame's pictures by caption, as data URIs of one size.

    Raises:
        ValueError: the frame has no label.
    """
    if item.label is None:
        raise ValueError(f"report: {item.image} has no label")
    frame, palette = data.read_image(item.image, None), paint.colours(run.classes)
    size = paint.fitted((frame.shape[0], frame.shape[1]), WIDTH)
    label = data.read_label(item.label, len(run.names))
    stretched = data.read_image(item.image, run.settings.size)
    logits = run.predict(stretched)
    mask = scoring.decide(logits, (label.shape[0], label.shape[1]), align_corners=run.method.align_corners)
    lit = relit(run, stretched)
    return (
        {"frame": paint.jpeg(frame, size)}
        | ({} if lit is None else {"relit": paint.jpeg(lit, size)})
        | {"prediction": paint.png(mask, size, palette), "label": paint.png(label, size, palette)}
    )


def figure(value: float | None, digits: int = 1) -> str:
    """Return a number for the page, a dash where there is none."""
    return "-" if value is None or np.isnan(value) else f"{value:,.{digits}f}"


def _interval(seen: Seen) -> str:
    i = Bootstrap().interval(seen.matrices)
    return f"{figure(i.low)} to {figure(i.high)}"


def _tile(head: str, value: str, note: str) -> Html:
    return el(
        "div", el("span", head, class_="soft"), el("b", value), el("span", note, class_="soft"), class_="card tile"
    )


def _tiles(run: Finished, cost: Spent, seen: Sequence[Seen]) -> Html:
    tiles = [_tile("choose", figure(run.scores.get(loop.CHOOSE)), f"weighted mIoU, step {run.step:,}")]
    for s in seen:
        miou = metrics.mean_iou(s.total())
        tiles.append(_tile(s.name(), figure(miou), f"mIoU ({_interval(s)})"))
    minutes = None if cost.seconds is None else cost.seconds / 60
    tiles.append(_tile("steps", figure(cost.steps, 0), f"of {run.settings.loop.steps:,}"))
    tiles.append(_tile("pictures seen", figure(cost.images, 0), "repeats counted"))
    tiles.append(_tile("minutes", figure(minutes), "of training"))
    return el("div", *tiles, class_="tiles")


def _facts(run: Finished) -> Html:
    """Return what the method is and what it needs."""
    s, needs = run.settings, run.method.needs
    own = s.own()
    labelled = s.streams.source or (*s.windows.labelled, *s.windows.rendered)
    kinds = ", ".join(needs.unlabelled) or "none"
    nets = [f"{k}: {getattr(own, k, type(m).__name__)}, {_size(m)}" for k, m in run.method.modules().items()]
    facts = {
        "method": s.method,
        "networks": "; ".join(nets),
        "started from": ", ".join(s.start) or "random weights",
        "labelled pictures": ", ".join(f"{p.set} {p.part}" for p in labelled) if needs.labelled else "none",
        "unlabelled pictures": kinds + ("; pairs of the same place" if needs.pairs else ""),
        "soft targets": (s.windows.targets or "yes") if needs.soft else "none",
        "rests on": run.origin.text(),
        "scores of the best snapshot": ", ".join(f"{k} {v:.2f}" for k, v in run.scores.items()),
        "seed": str(s.seed),
    }
    rows = [join(el("dt", k), el("dd", v)) for k, v in facts.items()]
    return el("div", el("dl", *rows), class_="card")


def _size(net: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters"


def _panel(title: str, note: str, chart: Html) -> Html:
    return el("figure", el("h3", title), chart, el("figcaption", note), class_="card")


def _curves(run: Finished, lines: Mapping[str, Curve]) -> Html:
    """Return the scores and the losses by step."""
    head = el("h2", "Curves", id="curves")
    if "step" not in lines:
        return join(head, el("p", "The run's folder holds no log.", class_="soft"))
    end = float(lines["step"].values[-1])
    scores = [k for k in (loop.CHOOSE, *(f"{v.set}/{v.part}" for v in run.settings.validate)) if k in lines]
    above, below = [], []
    for name in scores:
        c = lines[name]
        note = f"best {c.values.max():.1f}, last {c.values[-1]:.1f}"
        above.append(_panel(f"{name}, mIoU in %", note, charts.curve(c, end, "dots", float(run.step))))
    for name in (k for k in lines if k not in (*NOT_LOSSES, *scores)):
        c = lines[name]
        low = charts.smooth(c.values)
        note = f"running mean {low[0]:.3g} at first, {low[-1]:.3g} at last"
        below.append(_panel(f"loss: {name}", note, charts.curve(c, end, "noisy", float(run.step))))
    if "scale" in lines:
        below.append(
            _panel("learning rate", "as a share of what it starts with", charts.curve(lines["scale"], end, "plain"))
        )
    about = "Faint: as logged; strong: running mean. Across: steps. Dashed: the best snapshot."
    scored = el("div", *above, class_="grid") if above else el("p", "The log holds no score.", class_="soft")
    gap = el("p", about, class_="soft", style="margin-top:12px")
    return join(head, scored, gap, el("div", *below, class_="grid"))


def _bar(head: Html, value: float, *more: str) -> Html:
    """Return a row of a table: head, bar and figure of a value in percent, more cells; no bar where it is NaN."""
    bar = el("td", *([] if np.isnan(value) else [el("div", style=f"width:{value:.1f}%")]), class_="bar")
    return el("tr", el("th", head, scope="row"), bar, el("td", figure(value)), *(el("td", m) for m in more))


def _table(*rows: Html, head: Sequence[str]) -> Html:
    top = el("thead", el("tr", *(el("th", h, scope="col") for h in head)))
    return el("table", top, el("tbody", *rows))


def _swatch(colour: paint.Colour) -> Html:
    return el("span", class_="swatch", style="background:rgb({},{},{})".format(*colour))


def classes(seen: Seen, known: Sequence[Class]) -> Html:
    """Return the IoU per class, with the share of each class in the labelled pixels."""
    total = seen.total()
    found, pixels = metrics.score(total, len(seen.items)).per_class, total.sum(1)
    rows = []
    for c, iou, count in zip(known, found, pixels, strict=True):
        share = figure(100 * count / max(int(pixels.sum()), 1)) if count else "-"
        rows.append(_bar(join(_swatch(c.colour), c.name), iou, share))
    return _table(*rows, head=("class", "", "IoU, %", "share, %"))


def quarters(seen: Seen) -> Html:
    """Return the mIoU by brightness of the frames."""
    found = metrics.quartiles(seen.matrices, seen.lumas)
    if not found:
        return el("p", f"None: the part has fewer than {FEW} frames.", class_="soft")
    rows = [_bar(join(n), q.score.miou, figure(q.luma)) for n, q in zip(QUARTERS, found, strict=True)]
    note = "Luma: mean of a quarter's frames, 0 to 255. Each quarter's mean is over the classes in its own labels."
    return join(_table(*rows, head=("frames", "", "mIoU, %", "luma")), el("p", note, class_="soft"))


def _legend(known: Sequence[Class]) -> Html:
    entries = [el("li", _swatch(c.colour), c.name) for c in known]
    return el("ul", *entries, el("li", _swatch(paint.BLACK), "not labelled"), class_="legend")


def _frames(run: Finished, seen: Seen, count: int) -> Html:
    """Return rows of pictures of `count` frames, evenly spread over the part."""
    picks = np.unique(np.linspace(0, len(seen.items) - 1, min(count, len(seen.items))).round().astype(int))
    rows = []
    for at in tqdm(picks, desc=f"{seen.name()}, pictures", mininterval=5, disable=None):
        name, found = seen.items[at].image.stem, pictures(run, seen.items[at])
        shown = [
            el("figure", el("img", src=uri, alt=f"{name}: {what}"), el("figcaption", what))
            for what, uri in found.items()
        ]
        told = f"mIoU {figure(metrics.mean_iou(seen.matrices[at]))}, luma {figure(seen.lumas[at])}"
        head = el("p", el("strong", name), " ", el("span", told, class_="soft"))
        rows.append(el("div", head, el("div", *shown, class_="row", style=f"--columns:{len(shown)}"), class_="frame"))
    return join(*rows)


def _section(run: Finished, seen: Seen, count: int) -> Html:
    """Return all that is shown of a part."""
    miou, then = metrics.mean_iou(seen.total()), run.scores.get(seen.name(), float("nan"))
    some = f", one in {seen.part.stride} of the part" if seen.part.stride > 1 else ""
    about = (
        f"mIoU {figure(miou)} % ({_interval(seen)}: 95 % interval of a block bootstrap over frames); "
        f"{len(seen.items)} frames{some}; weight {seen.part.weight:g} in the choice of the snapshot."
    )
    parts = [el("h2", seen.name(), id=_anchor(seen)), el("p", about)]
    if not np.isnan(then) and abs(then - miou) > 0.1:
        told = f"The snapshot was recorded with {then:.2f} here: data, code or precision were others then."
        parts.append(el("p", told, class_="card warn"))
    left = [
        el("div", el("h3", "IoU per class"), classes(seen, run.classes), class_="card"),
        el("div", el("h3", "mIoU by brightness"), quarters(seen), class_="card"),
    ]
    matrix = charts.confusion(seen.total()[:, : len(run.names)], run.names)
    note = "Each row in percent of the label's pixels; a grey row: the class is not in the labels."
    right = el("figure", el("h3", "Confusion"), matrix, el("figcaption", note), class_="card")
    parts.append(el("div", el("div", *left, class_="stack"), right, class_="two"))
    if count:
        parts += [el("h3", "Frames", style="margin-top:22px"), _legend(run.classes), _frames(run, seen, count)]
    return join(*parts)


def _anchor(seen: Seen) -> str:
    return re.sub(r"[^a-z0-9]+", "-", seen.name().lower())


def render(run: Finished, seen: Sequence[Seen], frames: int) -> str:
    """Return the page of a run.

    Args:
        run: the run.
        seen: what it makes of each part that it was validated on.
        frames: how many frames of each part are shown.
    """
    s: Fit = run.settings
    lines = read_log(run.folder)
    cost = spent(run.folder, lines)
    links = [("curves", "curves"), *((_anchor(p), p.name()) for p in seen), ("settings", "settings")]
    parts = [
        el("h1", s.name),
        el("p", f"A training by the method {s.method}, written {datetime.now(UTC):%Y-%m-%d}.", class_="soft"),
        el("nav", *(el("a", text, href=f"#{anchor}") for anchor, text in links)),
    ]
    if not cost.ended:
        parts.append(el("p", "The run has not ended; this is its best snapshot so far.", class_="card warn"))
    parts += [_tiles(run, cost, seen), _facts(run), _curves(run, lines), *(_section(run, p, frames) for p in seen)]
    text = (run.folder / "settings.json").read_text(encoding="utf-8")
    inside = el("details", el("summary", "all of settings.json"), el("pre", text), class_="card")
    return shell(f"{s.name}: report", join(*parts, el("h2", "Settings", id="settings"), inside))


def write(folder: Path, out: Path, frames: int, base: Path) -> Path:
    """Write the page of the run in a folder; return its file.

    Raises:
        FileNotFoundError: the folder holds no run, the run no snapshot, or a picture is missing.
        ValueError: the number of frames is below 0, the run was validated on a set to test on, or data do not fit it.
    """
    if frames < 0:
        raise ValueError(f"report: {frames} frames cannot be shown")
    run = runs.read(folder, base)
    page = render(run, [see(run, part, base) for part in run.settings.validate], frames)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    log.info("report: %s, %.1f MB", out, len(page.encode()) / 1e6)
    return out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--run", type=Path, nargs="+", required=True, metavar="FOLDER", help="folders of runs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page, for one run (default: FOLDER/report.html)")
    parser.add_argument("--frames", type=int, default=6, metavar="N", help="frames shown of each part (default: 6)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if args.out is not None and len(args.run) > 1:
        raise ValueError(f"report: --out names one page, and there are {len(args.run)} runs")
    for folder in args.run:
        write(folder, args.out or folder / "report.html", args.frames, config.ROOT)
