"""Charts as SVG: series of points over two axes, joined by lines or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 44, 48
COLOURS = ("#1f69b4", "#d6660d", "#2a8a4a", "#8a3fa0", "#7a7a7a")


@dataclass(frozen=True)
class Series:
    """Points (x, y), each with the name that stands beside it ("" for none), and a name for all of them."""

    name: str
    points: Sequence[tuple[float, float, str]]
    line: bool = True


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and its range."""

    title: str
    low: float
    high: float

    def ticks(self, most: int = 6) -> list[float]:
        """Return round numbers within the range."""
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 9) for i in range(first, last + 1)]

    def place(self, value: float, start: float, end: float) -> float:
        """Return where a value lies between two places of the picture."""
        return start + (value - self.low) / (self.high - self.low) * (end - start)


def svg(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Return the chart."""
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 22, title, size=15),
    ]
    for v in x.ticks():
        at = x.place(v, LEFT, right)
        out += [_line(at, TOP, at, floor, "#e0e0e0"), _text(at, floor + 17, f"{v:g}", "middle")]
    for v in y.ticks():
        at = y.place(v, floor, TOP)
        out += [_line(LEFT, at, right, at, "#e0e0e0"), _text(LEFT - 6, at + 4, f"{v:g}", "end")]
    out += [_text((LEFT + right) / 2, HEIGHT - 10, x.title, "middle")]
    middle = (TOP + floor) / 2
    out += [f'<g transform="rotate(-90 16 {middle:g})">{_text(16, middle, y.title, "middle")}</g>']
    for i, s in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        places = [(x.place(a, LEFT, right), y.place(b, floor, TOP), name) for a, b, name in s.points]
        if s.line:
            route = " ".join(f"{a:.1f},{b:.1f}" for a, b, _ in places)
            out.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for a, b, name in places:
            out.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}"/>')
            flip = a > WIDTH * 0.7
            out.append(_text(a - 7 if flip else a + 7, b - 6, name, "end" if flip else "start") if name else "")
        if s.name:
            out += [_line(LEFT + 10, TOP + 12 + 17 * i, LEFT + 28, TOP + 12 + 17 * i, colour, 3)]
            out += [_text(LEFT + 34, TOP + 16 + 17 * i, s.name)]
    return "\n".join(line for line in [*out, "</svg>"] if line) + "\n"


def _text(x: float, y: float, words: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="#222">{escape(words)}</text>'


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, width: int = 1) -> str:
    ends = f'x1="{x0:g}" y1="{y0:g}" x2="{x1:g}" y2="{y1:g}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'
