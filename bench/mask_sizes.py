"""Sizes of predicted night masks in nightseg's two codecs and in other forms, and the time to make them.

`nightseg bench codecs` predicts the masks, and times its codecs; then other programs' libraries encode the same masks:
zlib and Pillow (PNG), zstd, COCO's run lengths, and outlines. Sizes are without the JSON header of a message, which is
the same for all. Times are processor time of one thread; a dash stands where Python itself would be what is timed.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import common
import mask_codecs as codecs
from accuracy import put
from common import SHARED
from python_loop import Picture, list_pictures, load_bundle
from quantiser_nets import Progress
from replays import table

SOURCES = [common.NIGHT_SEQUENCE, SHARED / "data/msrs_night/night_train_unlabelled/images"]
TEXT_CHUNK = 12 + len("nightseg") + 1  # what a PNG file adds to the JSON header
RLE_REST = len("rle-zstd") - len("png")  # how much longer the header of the other codec is


@dataclass
class Sizes:
    """Sizes in bytes and times in ns of one form, mask by mask."""

    name: str
    timed: bool = True
    sizes: list[int] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)
    equal: list[float] = field(default_factory=list)  # share of the pixels that come back; empty: all

    def cells(self) -> list[str]:
        """Return the row of the table."""
        name = self.name + (f" ({100 * float(np.mean(self.equal)):.1f} % of the pixels)" if self.equal else "")
        ms = f"{np.median(self.spent) / 1e6:.2f}" if self.timed else "-"
        return [name, f"{np.mean(self.sizes):,.0f}", f"{np.percentile(self.sizes, 95):,.0f}", ms]


class Forms:
    """All other forms, and what they made so far."""

    def __init__(self, palette: bytes, classes: int) -> None:
        """Begin with no mask; the palette has a colour for each class."""
        self._palette, self._classes = palette[: 3 * classes], classes
        self.found: dict[str, Sizes] = {}

    def _put(self, name: str, make: Callable[[], bytes], timed: bool = True) -> None:
        began = time.thread_time_ns()
        made = make()
        spent = time.thread_time_ns() - began
        one = self.found.setdefault(name, Sizes(name, timed))
        one.sizes.append(len(made))
        one.spent.append(spent)

    def add(self, mask: Picture) -> None:
        """Encode a mask in each form."""
        raw = mask.tobytes()
        self._put("raw", lambda: raw, timed=False)
        self._put("raw, zstd", lambda: codecs.zstd(raw))
        self._put("PNG, 8 bits, Pillow", lambda: codecs.pillow_png(mask, 8, self._palette))
        self._put("PNG, 4 bits, Pillow", lambda: codecs.pillow_png(mask, 4, self._palette))
        for bits in (8, 4):
            one = self.found.setdefault(name := f"PNG, {bits} bits, zlib's best", Sizes(name))
            size, spent = codecs.best_png(mask, bits, self._classes, time.thread_time_ns)
            one.sizes.append(size)
            one.spent.append(spent)
        self._put("run lengths", lambda: codecs.run_length(mask), timed=False)
        self._put("run lengths, zstd", lambda: codecs.zstd(codecs.run_length(mask)), timed=False)
        self._put("COCO run lengths of all classes", lambda: codecs.coco(mask), timed=False)
        self._put("the same, zstd", lambda: codecs.zstd(codecs.coco(mask)), timed=False)
        for eps in (0.0, 1.0, 2.0):
            outlines = codecs.contours(mask, eps)
            word = f"outlines within {eps:g} pixel{'s' if eps > 1 else ''}" if eps else "outlines"
            self._put(f"{word}, JSON", lambda o=outlines: codecs.polygons_json(o), timed=False)  # type: ignore[misc]
            self._put(name := f"{word}, packed, zstd", lambda o=outlines: codecs.polygons_packed(o), False)  # type: ignore[misc]
            self.found[name].equal.append(float((codecs.painted(outlines, mask.shape[:2]) == mask).mean()))


def read_message(path: Path) -> tuple[Picture, int]:
    """Return the classes of a PNG message, and how long its JSON header is."""
    img = Image.open(io.BytesIO(path.read_bytes()))
    return np.asarray(img, np.uint8), len(str(img.info["nightseg"]))


def ours(said: dict[str, Any], header: float) -> list[list[str]]:
    """Return the rows of nightseg's codecs, without the header."""
    rows = []
    for c in said["codecs"]:
        extra = header + (TEXT_CHUNK if c["codec"] == "png" else RLE_REST)
        rows.append([
            f"**nightseg, {c['codec']}**", f"{c['bytes_mean'] - extra:,.0f}", f"{c['bytes_p95'] - extra:,.0f}",
            f"{c['ms_core']['median']:.2f} (p99 {c['ms_core_p99']:.2f})",
        ])  # fmt: skip
    return rows


def measure(args: argparse.Namespace) -> None:
    """Predict, encode, and write the table."""
    bundle = load_bundle(args.bundle)
    for source in args.sources:
        common.need(source, "name folders of pictures")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "masks"
        command = [
            common.program(), "bench", "codecs", *map(str, args.sources), "--bundle", str(args.bundle), "--precision",
            args.precision, "--frames", str(args.frames), "--rounds", str(args.rounds), "--out", str(folder), "--json",
        ]  # fmt: skip
        said = common.call(command + (["--force"] if args.force else []))
        forms, headers, paths = Forms(bundle.palette, len(bundle.shares)), [], list_pictures(folder)
        progress = Progress("masks", len(paths))
        for path in paths:
            mask, header = read_message(path)
            headers.append(header)
            forms.add(mask)
            progress()
    text = render(said, float(np.mean(headers)), forms)
    sys.stdout.write(text)
    if args.docs:
        put(args.docs, "codecs", text)
    limits = [common.Limit(one["what"], one["value"], one["limit"]) for one in said["limits"]]
    common.hold(limits, args.check)


def render(said: dict[str, Any], header: float, forms: Forms) -> str:
    """Return the section: a line on how, and the table."""
    rows = ours(said, header) + [one.cells() for one in forms.found.values()]
    height, width = said["shape"]
    about = (
        f"{said['masks']} masks of {width} x {height} pixels ({', '.join(f'`{s}`' for s in said['sources'])}) by "
        f"{said['bundle']} (`{said['bundle_sha256'][:12]}`), {said['precision']} on {said['provider']}; bytes without "
        f"the JSON header, which takes {header:.0f}; other programs kept "
        f"{said['other_programs_cores']:.2f} cores busy; {datetime.now(UTC):%Y-%m-%d}."
    )
    return f"{about}\n\n" + table(["form", "bytes, mean", "p95", "ms of one core"], rows)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and measure."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh mask_sizes --docs docs/performance.md --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("sources", type=Path, nargs="*", default=SOURCES, help="folders of pictures")
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    p.add_argument("--precision", default="int8", help="of the networks")
    p.add_argument("--frames", type=int, default=40, help="of each folder, at most")
    p.add_argument("--rounds", type=int, default=5, help="times that nightseg encodes each mask")
    p.add_argument("--docs", type=Path, help="Markdown file to put the table into, between marks")
    p.add_argument("--check", action="store_true", help="exit with 3 where nightseg takes longer than it may")
    p.add_argument("--force", action="store_true", help="time although other programs are at work")
    args = p.parse_args(argv)
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
