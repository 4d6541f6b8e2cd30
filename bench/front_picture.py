"""The picture of front.py: mIoU against time, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 56, 200, 24, 64  # margins; labels stand in the right one
LINE = 14  # least distance of two labels
COLOURS = {"fp32": "#5b7fb5", "int8": "#c2571a"}


@dataclass(frozen=True)
class Point:
    """A network: its name, precision, ms a picture, and mIoU in percent."""

    name: str
    precision: str
    ms: float
    miou: float


def front(values: Sequence[tuple[float, float]]) -> list[int]:
    """Return which (ms, mIoU) nothing beats: no other is as fast and as good, and better in one of them."""
    return [
        i for i, (ms, miou) in enumerate(values)
        if not any(m <= ms and a >= miou and (m, a) != (ms, miou) for m, a in values)
    ]  # fmt: skip


def spread(places: Sequence[float], least: float) -> list[float]:
    """Return places at least so far apart, in the same order of size, moved down where they were too near."""
    moved, last = [0.0] * len(places), -math.inf
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        moved[i] = last = max(places[i], last + least)
    return moved


class Scale:
    """Places on the canvas; times are on a logarithmic scale."""

    def __init__(self, points: Sequence[Point], idle: Sequence[tuple[str, float]]) -> None:
        """Take in all of them."""
        ms = [p.ms for p in points] + [t for _, t in idle]
        self.low, self.high = min(ms) / 1.15, max(ms) * 1.15
        self.bottom = 5 * math.floor(min(p.miou for p in points) / 5) - (10 if idle else 0)  # room for their names
        self.top = 5 * math.ceil(max(p.miou for p in points) / 5)
        if self.top == self.bottom:
            self.top += 5

    def x(self, ms: float) -> float:
        """Return the place of a time."""
        share = math.log(ms / self.low) / math.log(self.high / self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, miou: float) -> float:
        """Return the place of a score."""
        return TOP + (self.top - miou) / (self.top - self.bottom) * (HEIGHT - TOP - BOTTOM)


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Return words on the canvas."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def line(a: tuple[float, float], b: tuple[float, float], more: str) -> str:
    """Return a line."""
    return f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" {more}/>'


def axes(s: Scale) -> list[str]:
    """Return grid, ticks and what the axes are."""
    found, floor = [], HEIGHT - BOTTOM
    for ms in (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000):
        if s.low <= ms <= s.high:
            found.append(line((s.x(ms), TOP), (s.x(ms), floor), 'stroke="#ddd"'))
            found.append(text(s.x(ms), floor + 16, f"{ms}", 'text-anchor="middle"'))
    for miou in range(s.bottom, s.top + 1, 5):
        found.append(line((LEFT, s.y(miou)), (WIDTH - RIGHT, s.y(miou)), 'stroke="#ddd"'))
        found.append(text(LEFT - 8, s.y(miou) + 4, f"{miou}", 'text-anchor="end"'))
    middle = (LEFT + WIDTH - RIGHT) / 2
    found.append(text(middle, HEIGHT - 8, "ms a picture of 640 x 480, two cores, logarithmic", 'text-anchor="middle"'))
    turned = f'text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})"'
    found.append(text(14, HEIGHT / 2, "mIoU, mean of day_val and night_dev, %", turned))
    return found


def picture(points: Sequence[Point], idle: Sequence[tuple[str, float]]) -> str:
    """Return the picture.

    Args:
        points: the networks with a score; those of one name are joined.
        idle: names and times of networks without one, shown as marks on the axis.
    """
    s = Scale(points, idle)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        *axes(s),
    ]
    best = sorted((points[i].ms, points[i].miou) for i in front([(p.ms, p.miou) for p in points]))
    corners = []
    for i, (ms, miou) in enumerate(best):
        corners += [(ms, best[i - 1][1])] if i else []
        corners.append((ms, miou))
    path = " ".join(f"{s.x(ms):.1f},{s.y(miou):.1f}" for ms, miou in [*corners, (s.high, best[-1][1])])
    parts.append(f'<polyline points="{path}" fill="none" stroke="#999" stroke-dasharray="5 4"/>')
    parts += joined(points, s)
    for p in points:
        filled = COLOURS[p.precision] if p.precision == "int8" else "#fff"
        parts.append(f'<circle cx="{s.x(p.ms):.1f}" cy="{s.y(p.miou):.1f}" r="5" fill="{filled}" '
                     f'stroke="{COLOURS[p.precision]}" stroke-width="2"/>')  # fmt: skip
    parts += labels(points, s)
    parts += marks(idle, s)
    for i, (word, fill) in enumerate((("float", "#fff"), ("int8", COLOURS["int8"]))):
        colour = COLOURS["int8" if word == "int8" else "fp32"]
        x = LEFT + 16 + 70 * i
        parts.append(f'<circle cx="{x}" cy="{TOP + 12}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2"/>')
        parts.append(text(x + 10, TOP + 16, word))
    return "\n".join([*parts, "</svg>"]) + "\n"


def marks(idle: Sequence[tuple[str, float]], s: Scale) -> list[str]:
    """Return a mark on the axis for each network without a score, with its name above."""
    found, floor = [], HEIGHT - BOTTOM
    for (name, ms), x in zip(idle, spread([s.x(ms) for _, ms in idle], LINE), strict=True):
        found.append(line((s.x(ms), floor), (s.x(ms), floor - 10), f'stroke="{COLOURS["int8"]}" stroke-width="2"'))
        found.append(text(x, floor - 14, f"{name}, no score", f'transform="rotate(-60 {x:.1f} {floor - 14})"'))
    return found


def joined(points: Sequence[Point], s: Scale) -> list[str]:
    """Return a line between float and int8 of each network that has both."""
    found = []
    for name in dict.fromkeys(p.name for p in points):
        own = [p for p in points if p.name == name]
        if len(own) == 2:
            a, b = ((s.x(p.ms), s.y(p.miou)) for p in own)
            found.append(line(a, b, 'stroke="#bbb"'))
    return found


def labels(points: Sequence[Point], s: Scale) -> list[str]:
    """Return the name of each network in the right margin, with a thin line to its slowest point."""
    last = {p.name: p for p in sorted(points, key=lambda p: p.ms)}
    shown = list(last.values())
    places = spread([s.y(p.miou) for p in shown], LINE)
    found = []
    for p, y in zip(shown, places, strict=True):
        edge = (WIDTH - RIGHT + 8, y)
        found.append(line((s.x(p.ms) + 6, s.y(p.miou)), edge, 'stroke="#ccc" stroke-width="0.7"'))
        found.append(text(edge[0] + 4, y + 4, p.name))
    return found
