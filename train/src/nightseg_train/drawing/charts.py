"""Charts as inline SVG: a curve by step, and a confusion matrix. Colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightseg_train.drawing.page import Html, el, join

WIDTH, HEIGHT = 360, 190  # of a curve, in the units of its view box
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 24
Kind = Literal["dots", "noisy", "plain"]
MOST = 600  # points of a line; a curve of 360 units shows no more
CELL = 30  # of a confusion matrix


@dataclass(frozen=True)
class Curve:
    """Values by step, as they are logged; both of one length, in the order of the steps."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each value and its neighbours: a twentieth of all values, and at least five.

    At the ends the mean is over the neighbours that there are.
    """
    half = max(len(values) // 40, 2)
    at = np.arange(len(values))
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])
    mean: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return mean


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return round numbers from low to high, at most `most` + 1 of them; high is above low."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _span(values: NDArray[np.float64], from_zero: bool) -> tuple[float, float]:
    """Return what the vertical axis covers."""
    low, high = float(values.min()), float(values.max())
    if from_zero:
        return min(low, 0.0), (high if high > min(low, 0.0) else 1.0) * 1.02
    pad = max((high - low) * 0.15, 1.0)  # a tenth of a percent is not to look like a mountain
    return (max(low - pad, 0.0) if low >= 0 else low - pad), high + pad


def curve(c: Curve, end: float, kind: Kind, best: float | None = None) -> Html:
    """Return a chart of one curve from step 0 to step `end`.

    Args:
        c: the curve, at least one point.
        end: last step of the axis.
        kind: "dots": few points that all count, each a dot, on an axis that need not begin at 0; "noisy": drawn
            faintly below their running mean, on an axis from 0; "plain": as they are, on an axis from 0.
        best: step that is marked by an upright line.
    """
    low, high = _span(c.values, kind != "dots")

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(end, 1.0)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    def path(values: NDArray[np.float64], name: str) -> Html:
        every = -(-len(values) // MOST)
        points = zip(c.steps[::every], values[::every], strict=True)
        return el("polyline", class_=name, points=" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points))

    parts = []
    for v in ticks(low, high):
        parts.append(el("line", class_="gridline", x1=LEFT, x2=WIDTH - RIGHT, y1=y(v), y2=y(v)))
        parts.append(el("text", f"{v:g}", class_="axis", x=LEFT - 6, y=y(v) + 4, text_anchor="end"))
    for v in ticks(0.0, max(end, 1.0)):
        anchor = "end" if x(v) > WIDTH - 30 else "middle"
        parts.append(el("text", f"{v:,.0f}", class_="axis", x=x(v), y=HEIGHT - 7, text_anchor=anchor))
    if best is not None:
        parts.append(el("line", class_="best", x1=x(best), x2=x(best), y1=TOP, y2=HEIGHT - BOTTOM))
    if kind == "noisy":
        parts.append(path(c.values, "raw"))
    parts.append(path(smooth(c.values) if kind == "noisy" else c.values, "line"))
    if kind == "dots":
        for a, b in zip(c.steps, c.values, strict=True):
            told = el("title", f"step {a:.0f}: {b:.2f}")
            parts.append(el("circle", told, class_="dot", cx=x(float(a)), cy=y(float(b)), r=3.5))
    return el("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")


def confusion(counts: NDArray[np.int64], names: Sequence[str]) -> Html:
    """Return a confusion matrix as a picture: each row in percent of its label's pixels.

    Args:
        counts: classes x classes; rows are labels, columns predictions.
        names: of the classes.
    """
    side = 12 + round(6.2 * max(len(n) for n in names))
    top = 24 + round(side * 0.72)
    size = CELL * len(names)
    parts = [
        el("text", "predicted as", class_="axis", x=side, y=12),
        el("text", "label", class_="axis", x=side - 8, y=top - 8, text_anchor="end"),
    ]
    for i, name in enumerate(names):
        at = CELL * i + CELL / 2
        turned = f"translate({side + at + 3:g} {top - 6}) rotate(-45)"
        parts.append(el("text", name, x=side - 8, y=top + at + 4, text_anchor="end"))
        parts.append(el("text", name, transform=turned))
        parts += [_cell(counts, names, i, k, side + CELL * k, top + CELL * i) for k in range(len(names))]
    width, height = side + size + round(side * 0.6), top + size + 2
    picture = el("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", style=f"min-width:{round(width * 0.67)}px")
    return el("div", picture, class_="wide")


def _cell(counts: NDArray[np.int64], names: Sequence[str], row: int, column: int, x: float, y: float) -> Html:
    """Return a square of a confusion matrix: its share of the row as strength and number, what it means on hovering."""
    pixels = int(counts[row].sum())
    place = {"x": x + 1, "y": y + 1, "width": CELL - 2, "height": CELL - 2, "rx": 3}
    if pixels == 0:
        return el("rect", el("title", f"no {names[row]} in the labels"), class_="none", **place)
    share = float(counts[row, column]) / pixels
    kind = "right" if row == column else "false"
    told = el("title", f"{100 * share:.1f} % of {names[row]} taken for {names[column]}")
    # the root lifts weak shares, which are the mistakes one looks for
    square = el("rect", told, class_=kind, fill_opacity=round(0.04 + 0.96 * share**0.7, 3), **place)
    if share < 0.005:
        return square
    on = "on" if share > 0.45 else None
    text = el("text", f"{100 * share:.0f}", class_=on, x=x + CELL / 2, y=y + CELL / 2 + 4, text_anchor="middle")
    return join(square, text)
