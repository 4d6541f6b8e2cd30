"""Replay real night recordings and hold that every frame's mask arrives, and that the masks are always the same.

Each recording goes once without a broker and then through the embedded broker with `nightseg watch` in another
process, int8 networks, relit as the bundle is best, class weights as the bundle says. It prints a table; exit code
3 where a mask is missing or different.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
from common import SHARED, log

SOURCES = [
    common.NIGHT_SEQUENCE,
    SHARED / "data/night_sequence/clips/diptamath_small_nightRoad.mp4",
    SHARED / "data/night_sequence/clips/tmo324_night.mp4",
    SHARED / "data/msrs_night/night_train_unlabelled/images",
]
ARRIVE = 20  # seconds that the last masks may still take to the subscriber


@dataclass(frozen=True)
class Row:
    """What came of one recording."""

    source: str
    frames: int
    dropped: int
    arrived: list[int]  # masks at the subscriber, of each run
    missing: int
    fps: float
    mask_bytes: int
    hashes: dict[str, str]  # by run, of sender and subscriber

    def problems(self) -> list[str]:
        """Return what is wrong, in words."""
        out = []
        if self.dropped:
            out.append(f"{self.dropped} frames dropped")
        if self.missing or any(n != self.frames for n in self.arrived):
            out.append(f"{self.arrived} of {self.frames} masks arrived")
        if len(set(self.hashes.values())) != 1:
            out.append("masks differ: " + ", ".join(f"{k} {v[:12]}" for k, v in self.hashes.items()))
        return out

    def cells(self) -> list[str]:
        """Return the row of the table."""
        same = "yes" if len(set(self.hashes.values())) == 1 else "NO"
        return [
            self.source, str(self.frames), str(self.dropped), " ".join(map(str, self.arrived)), f"{self.fps:.1f}",
            f"{self.mask_bytes / max(self.frames, 1) / 1024:.1f}", same, f"`{next(iter(self.hashes.values()))[:16]}`",
        ]  # fmt: skip


HEAD = ["recording", "frames", "dropped", "masks at the subscriber", "frames/s", "KB a mask", "same masks",
        "masks_sha256"]  # fmt: skip


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def replay(source: Path, args: argparse.Namespace, more: list[str]) -> dict[str, Any]:
    """Replay a recording and return the object that it prints."""
    command = [
        common.program(), "replay", str(source), "--rate", "max", "--relight", "bundle", "--gate", "always",
        "--precision", args.precision, "--provider", args.provider, "--bundle", str(args.bundle), "--json", *more,
    ]  # fmt: skip
    if args.frames:
        command += ["--frames", str(args.frames)]
    return common.call(command)


def watched(source: Path, frames: int, args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replay through the embedded broker beside a subscriber; return what both say."""
    address = f"127.0.0.1:{common.free_port()}"
    watch = subprocess.Popen(
        [common.program(), "watch", "--broker", f"mqtt://{address}", "--masks", str(frames), "--quiet", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        sent = replay(source, args, ["--broker", "embedded", "--listen", address, "--await-subscriber", "30s"])
        try:
            out, _ = watch.communicate(timeout=ARRIVE)
        except subprocess.TimeoutExpired:
            watch.send_signal(2)  # not all came: it says how many did
            out, _ = watch.communicate(timeout=20)
        return sent, common.last_json(out)
    finally:
        common.stop(watch)


def check(source: Path, args: argparse.Namespace) -> Row:
    """Replay one recording without a broker and, as often as asked for, with one."""
    alone = replay(source, args, ["--broker", "none"])
    hashes, arrived, missing, dropped = {"no broker": str(alone["masks_sha256"])}, [], 0, int(alone["dropped"])
    fps = []
    for n in range(args.runs):
        sent, seen = watched(source, alone["frames"], args)
        hashes |= {f"run {n + 1}": sent["masks_sha256"], f"subscriber {n + 1}": seen["masks_sha256"]}
        arrived.append(int(seen["masks"]))
        missing += seen["missing"]
        dropped += sent["dropped"]
        fps.append(sent["fps"])
        if sent["frames"] != alone["frames"]:
            hashes[f"run {n + 1}"] += f" of {sent['frames']} frames"
    name = str(source.relative_to(SHARED / "data")) if source.is_relative_to(SHARED / "data") else str(source)
    return Row(name, alone["frames"], dropped, arrived, missing, common.Spread.of(fps).median,
               alone["mask_bytes"], hashes)  # fmt: skip


def measure(args: argparse.Namespace) -> None:
    """Replay all recordings and print the table."""
    rows = []
    for source in args.sources:
        common.need(source, "name recordings on the command line")
        rows.append(check(source, args))
        log.info("%s: %s", rows[-1].source, "; ".join(rows[-1].problems()) or "ok")
    if args.json:
        common.emit([vars(r) | {"problems": r.problems()} for r in rows])
    else:
        sys.stdout.write(table(HEAD, [r.cells() for r in rows]))
    wrong = [f"{r.source}: {p}" for r in rows for p in r.problems()]
    if wrong:
        raise common.RefusedError("; ".join(wrong))


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and replay."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh replays; bench/run.sh replays drive/ --frames 20",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("sources", type=Path, nargs="*", default=SOURCES, help="recordings: folders or video files")
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    p.add_argument("--precision", default="int8", help="of the networks")
    p.add_argument("--provider", default="auto", help="of the networks")
    p.add_argument("--frames", type=int, default=0, help="of each recording; 0: all")
    p.add_argument("--runs", type=int, default=2, help="runs with a broker")
    p.add_argument("--json", action="store_true", help="print JSON in place of the table")
    args = p.parse_args(argv)
    if args.frames < 0 or args.runs < 1:
        p.error("--frames must not be below 0, --runs not below 1")
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
