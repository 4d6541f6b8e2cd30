#!/usr/bin/env python3
"""Draw docs/board.svg: what is wired to the 40-pin header of a Jetson Orin Nano developer kit.

python3 scripts/draw_board.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

# Pins of the header that are used, by number: label and colour.
POWER, GROUND, BUS, LINE, REST = "#c2410c", "#404040", "#1d4ed8", "#15803d", "#d4d4d4"
PINS = {
    1: ("3.3 V", POWER),
    3: ("SDA", BUS),
    5: ("SCL", BUS),
    9: ("GND", GROUND),
    13: ("PY.00", LINE),
    29: ("PQ.05", LINE),
    31: ("PQ.06", LINE),
    39: ("GND", GROUND),
}
PITCH, TOP, LEFT = 26, 84, 64
CSS = "text{font:13px sans-serif;fill:#171717}.s{font-size:11px;fill:#525252}.b{font-weight:600}"


def pin_y(pin: int) -> int:
    """Return the height of a pin of the odd row."""
    return TOP + (pin - 1) // 2 * PITCH


class Drawing:
    """The elements of the picture."""

    def __init__(self) -> None:
        """Begin with the header."""
        self.out: list[str] = []
        self.text(LEFT - 28, 30, "40-pin header (J12), seen from above", "b")
        self.text(LEFT - 28, 48, "pin 1 is marked on the board; 3.3 V logic", "s")
        self.box(LEFT - 20, TOP - 20, 66, 19 * PITCH + 40, "#f5f5f5")
        for pin in range(1, 41):
            x, y = LEFT + (0 if pin % 2 else 26), pin_y(pin)
            label, colour = PINS.get(pin, ("", REST))
            self.out.append(f'<circle cx="{x}" cy="{y}" r="9" fill="{colour}"/>')
            fill = "#fff" if label else "#525252"
            self.out.append(
                f'<text x="{x}" y="{y + 4}" text-anchor="middle" style="font-size:10px;fill:{fill}">{pin}</text>'
            )
            if label:
                self.text(LEFT - 26, y + 4, label, "s", "end")

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Write words."""
        self.out.append(f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{words}</text>')

    def box(self, x: float, y: float, width: float, height: float, fill: str = "#fff") -> None:
        """Draw a box."""
        self.out.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="#a3a3a3"/>'
        )

    def wire(self, colour: str, *points: tuple[float, float]) -> None:
        """Draw a wire."""
        path = " ".join(f"{x},{y}" for x, y in points)
        self.out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        """Draw a joint of wires."""
        self.out.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>')

    def part(self, x: float, y: float, name: str, note: str, pins: tuple[tuple[str, str], ...]) -> list[float]:
        """Draw a part with its pins at the left side; return their heights."""
        height = 22 * len(pins) + 18
        self.box(x, y, 250, height)
        self.text(x + 96, y + height / 2 - 2, name, "b")
        self.text(x + 96, y + height / 2 + 15, note, "s")
        heights = []
        for n, (label, colour) in enumerate(pins):
            at = y + 20 + 22 * n
            self.out.append(f'<circle cx="{x}" cy="{at}" r="5" fill="{colour}"/>')
            self.text(x + 12, at + 4, label, "s")
            heights.append(at)
        return heights

    def done(self, width: int, height: int) -> str:
        """Return the picture."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        )
        title = "<title>Wiring of the 40-pin header of a Jetson Orin Nano developer kit</title>"
        back = f'<rect width="{width}" height="{height}" fill="#fff"/>'
        return "\n".join([head, title, f"<style>{CSS}</style>", back, *self.out, "</svg>"]) + "\n"


def draw() -> str:
    """Return the picture."""
    d = Drawing()
    parts = 430
    # Vertical rails, one per net; the odd row of the header is at the left, so wires pass over the even one.
    rails = {1: 180, 3: 210, 5: 240, 9: 360}
    i2c = (("VCC", POWER), ("SDA", BUS), ("SCL", BUS), ("GND", GROUND))
    light = d.part(parts, 66, "light sensor", "BH1750, address 0x23", i2c)
    battery = d.part(parts, 196, "INA219", "0x40, shunt in the supply", i2c)
    ends: dict[int, list[float]] = {pin: [light[n], battery[n]] for n, pin in enumerate((1, 3, 5, 9))}
    lamp = d.part(parts, 322, "lamp", "logic-level MOSFET", (("gate", LINE), ("source", GROUND)))
    module = (("VCC", POWER), ("signal", LINE), ("GND", GROUND))
    led = d.part(parts, 398, "status LED", "with a transistor", module)
    button = d.part(parts, 496, "button", "1 kOhm to VCC", module)
    ends[1] += [led[0], button[0]]
    ends[9] += [lamp[1], led[2], button[2]]
    for pin, x in rails.items():
        colour, y = PINS[pin][1], pin_y(pin)
        heights = [y, *ends[pin]]
        d.wire(colour, (LEFT + 10, y), (LEFT + 16, y - 13), (x, y - 13))
        d.wire(colour, (x, min(y - 13, *heights)), (x, max(heights)))
        for h in ends[pin]:
            d.wire(colour, (x, h), (parts - 6, h))
            d.dot(x, h, colour)
    for pin, x, h in ((13, 270, lamp[0]), (29, 300, led[1]), (31, 330, button[1])):
        y = pin_y(pin)
        d.wire(LINE, (LEFT + 10, y), (LEFT + 16, y - 13), (x, y - 13), (x, h), (parts - 6, h))
    d.text(160, 600, "Lines of the header drive next to nothing: LED and lamp need a transistor. The lamp has a", "s")
    d.text(160, 616, "supply of its own. All grounds are joined; pins 9 and 39 are ground.", "s")
    return d.done(720, 636)


def main() -> None:
    """Write the picture."""
    default = Path(__file__).resolve().parents[1] / "docs" / "board.svg"
    to = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    to.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
