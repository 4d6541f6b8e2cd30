"""Hold `nightseg calibrate quantize` against onnxruntime.quantization and NNCF, side by side.

All make the integer segmentation network of one bundle out of the same frames of a night drive: those that nightseg
chose, relit by the float relight network where the bundle is best so. Figures: how far the logits are from float
(SQNR) and how many pixels of the masks are as in float, on night frames without labels that were not calibrated on;
mIoU on the sets to choose on; time as a share of float's, in rounds that take turns. Frames of night_dev are not
calibrated on.

Broken off, it goes on: networks and figures are kept in .cache/quantisers, by bundle and number of frames.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import common
import python_loop as plain
import quantiser_nets as nets
import quantiser_scores as scores
from accuracy import put
from common import SHARED, log
from quantiser_nets import SHIPPED, WAYS, Way
from quantiser_scores import Found, Shot
from replays import table

FLOAT, DEFAULT = "float", "ours-minmax"  # the latter as nightseg does it without being told more
UNLABELLED = SHARED / "data/msrs_night/night_train_unlabelled/images"
LABELLED = {"day_val": "camvid_dusk/day_val", "night_dev": "msrs_night/night_dev"}
CLIPS = SHARED / "data/night_sequence/clips"
NIGHT = "night"
CLIP_FRAMES = 100  # of each clip, evenly
CLIP_PART = 0.95  # of its length: what files say of it is not exact
SAVE_EVERY = 30  # seconds
WITHIN = 0.3  # points of mIoU that ours may be below the best of the others


class Job:
    """The work on one bundle and number of frames, in a folder that keeps what is done."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Open the bundle and the folder."""
        self.args = args
        self.bundle = nets.load(args.bundle)
        self.names = [c["name"] for c in json.loads((args.bundle / "bundle.json").read_text("utf-8"))["classes"]]
        self.folder: Path = args.keep / f"{self.bundle.sha256[:12]}-{args.frames}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.weights = plain.class_weights(self.bundle.shares, self.bundle.reweight).astype(np.float32)
        self.chosen: list[Path] = []

    # Networks.

    def drive(self) -> Path:
        """Return the folder to calibrate on: links to the night frames that are no frames of night_dev."""
        common.need(UNLABELLED, "the pictures are in the folder shared beside the checkout")
        folder = self.folder / "drive"
        folder.mkdir(exist_ok=True)
        held = {p.name for p in (SHARED / "data" / LABELLED["night_dev"] / "images").iterdir()}
        for picture in plain.list_pictures(UNLABELLED):
            link = folder / picture.name
            if picture.name not in held and not link.exists():
                link.symlink_to(os.path.relpath(picture, folder))
        return folder

    def file(self, way: Way) -> Path:
        """Return where a network lies."""
        return nets.integer_file(self.bundle) if way == SHIPPED else self.folder / way.file

    def make(self) -> None:
        """Make the networks that are missing, ours first: they choose the frames."""
        drive = self.drive()
        for way in WAYS:
            if way.program == nets.OURS:
                self._ours(way, drive)
        pictures = plain.list_pictures(drive)
        self.chosen = [pictures[i] for i in self._record()["frames"]]
        missing = [w for w in WAYS if not self.file(w).exists()]
        if not missing:
            return
        shown = nets.Shown(self.bundle, self.args.threads)
        inputs = shown.inputs([plain.read(p, self.bundle.shape) for p in self.chosen])
        ready = nets.prepared(self.bundle, self.folder / "ready.onnx")
        for way in missing:
            (nets.by_nncf if way.program == nets.NNCF else nets.by_onnxruntime)(way, ready, inputs, self.file(way))

    def _ours(self, way: Way, drive: Path) -> None:
        out = self.folder / f"{way.key}.bundle"
        if not out.exists():
            refusal = nets.by_nightseg(way.method, self.bundle, drive, self.args.frames, self.args.threads, out)
            self.refusal(way).write_text(refusal, encoding="utf-8")
        if not self.file(way).exists():
            self.file(way).symlink_to(os.path.relpath(nets.integer_file(nets.load(out)), self.folder))

    def refusal(self, way: Way) -> Path:
        """Return the file that tells why nightseg refused a network of its own; empty where it did not."""
        return self.folder / f"{way.key}.refusal"

    def _record(self) -> dict[str, Any]:
        path = self.folder / "ours-minmax.bundle/bundle.json"
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))["calibration"]
        return found

    # Figures.

    def shots(self) -> list[Shot]:
        """Return the pictures to compare on: labelled ones, and night frames that were not calibrated on."""
        found = []
        for name, where in LABELLED.items():
            for picture in plain.list_pictures(SHARED / "data" / where / "images"):
                label = picture.parents[1] / "labels" / f"{picture.stem}.png"
                found.append(Shot(name, picture, common.need(label, "each picture of the set has one")))
        used = {p.name for p in self.chosen}
        rest = [p for p in plain.list_pictures(self.folder / "drive") if p.name not in used]
        found += [Shot(NIGHT, p) for p in rest + plain.list_pictures(common.NIGHT_SEQUENCE)]
        for clip in sorted(CLIPS.glob("*.mp4")):
            for i in range(CLIP_FRAMES):
                found.append(Shot(NIGHT, clip, at=i * int(CLIP_PART * scores.clip_length(clip)) // CLIP_FRAMES))
        return found

    def wanted(self, shots: Sequence[Shot]) -> NDArray[np.bool_]:
        """Return which pictures are compared on: all, or fewer night frames, evenly."""
        night = np.flatnonzero([s.group == NIGHT for s in shots])
        found = np.ones(len(shots), np.bool_)
        if 0 < self.args.night < len(night):
            found[night] = False
            found[night[np.arange(self.args.night) * len(night) // self.args.night]] = True
        return found

    def score(self, shots: Sequence[Shot]) -> dict[str, Found]:
        """Take the pictures through float and the networks that have not seen them."""
        keys = [FLOAT, *(w.key for w in WAYS)]
        what = scores.digest(shots)
        found = {k: Found.load(self.folder / f"{k}.npz", what, len(shots), len(self.names)) for k in keys}
        left = np.any([f.left for f in found.values()], axis=0) & self.wanted(shots)
        if not left.any():
            return found
        shown = nets.Shown(self.bundle, self.args.threads)
        opened = {w.key: nets.Session(self.file(w), provider_of(w), self.args.threads)
                  for w in WAYS if found[w.key].left.any()}  # fmt: skip
        whole = nets.Session(self.folder / "ready.onnx", "cpu", self.args.threads)
        progress, saved = nets.Progress("frames", int(left.sum())), time.monotonic()
        for i, rgb in scores.play(shots, self.bundle.shape):
            if not left[i]:
                continue
            x, label = shown(rgb), scores.label_of(shots[i])
            truth = scores.View.of(whole.logits(x), label, self.bundle, self.weights)
            if found[FLOAT].left[i]:
                found[FLOAT].add(i, truth, truth)
            for key, session in opened.items():
                if found[key].left[i]:
                    own = scores.View.of(session.logits(x), label, self.bundle, self.weights)
                    found[key].add(i, truth, own)
            progress()
            if time.monotonic() - saved > SAVE_EVERY:
                self._save(found)
                saved = time.monotonic()
        self._save(found)
        return found

    def _save(self, found: dict[str, Found]) -> None:
        for key, one in found.items():
            one.save(self.folder / f"{key}.npz")

    def times(self) -> dict[str, dict[str, Any]]:
        """Time all networks on both providers, one run of each in turn: ms of float and shares of that."""
        x = nets.Shown(self.bundle, self.args.threads)(plain.read(self.chosen[0], self.bundle.shape))
        load, found = common.Load(), {}
        for provider in nets.available():
            files = {FLOAT: self.folder / "ready.onnx"}
            files |= {w.key: self.file(w) for w in WAYS if provider == "openvino" or not w.openvino_only}
            opened = {k: nets.Session(f, provider, self.args.time_threads) for k, f in files.items()}
            load.restart()
            found[provider] = take_turns(opened, x, self.args.rounds)
            found[provider]["others"] = load.cores()
            log.info("%s: float %.1f ms; other programs kept %.2f cores busy", provider,
                     found[provider]["float_ms"], found[provider]["others"])  # fmt: skip
        return found


def provider_of(way: Way) -> str:
    """Return the provider that a network is scored on: the processor's; NNCF makes its networks for OpenVINO."""
    return "openvino" if way.program == nets.NNCF and "openvino" in nets.available() else "cpu"


def take_turns(opened: dict[str, nets.Session], x: plain.Floats, rounds: int) -> dict[str, Any]:
    """Run each network once a round, the order turned round each time.

    Returns:
        Least ms of float, and for each network its least time as a share of that: what else the machine does only
        adds to a time.
    """
    keys = list(opened)
    ms = {k: np.zeros(rounds) for k in keys}
    for n in range(-3, rounds):  # three rounds to warm up
        for k in keys if n % 2 == 0 else keys[::-1]:
            began = time.perf_counter()
            opened[k].logits(x)
            if n >= 0:
                ms[k][n] = 1000 * (time.perf_counter() - began)
    return {"float_ms": float(ms[FLOAT].min()), "shares": {k: float(v.min() / ms[FLOAT].min()) for k, v in ms.items()}}


def figures(job: Job, shots: Sequence[Shot], found: dict[str, Found]) -> dict[str, dict[str, Any]]:
    """Return the figures of each network, by its key."""
    groups = {g: np.array([s.group == g for s in shots]) & job.wanted(shots) for g in (*LABELLED, NIGHT)}
    night, base, out = groups[NIGHT], found[FLOAT], {}
    for key, one in found.items():
        pooled = one.float_counts[night].sum(0)
        name, lowest = scores.worst(pooled, job.names)
        sets = {s: scores.miou(one.label_counts[groups[s]].sum(0)) for s in LABELLED}
        bounds = {s: scores.interval(one.label_counts[groups[s]], base.label_counts[groups[s]]) for s in LABELLED}
        out[key] = {
            "sqnr": scores.decibels(float(one.signal[night].sum()), float(one.noise[night].sum())),
            "agreement": scores.agreement(pooled), "worst_class": name, "worst_iou": lowest,
            "miou": sets, "interval": bounds, "mean": sum(sets.values()) / len(sets),
        }  # fmt: skip
    return out


def render(job: Job, shots: Sequence[Shot], of: dict[str, dict[str, Any]], times: dict[str, Any]) -> str:
    """Return the section: a line on how, and the table."""
    night = sum(s.group == NIGHT for s, seen in zip(shots, job.wanted(shots), strict=True) if seen)
    head = ["made by", "ranges", "SQNR, dB", "as float, %", "lowest IoU with float, %"]
    head += [f"{name} mIoU (minus float, 95 % interval)" for name in LABELLED]
    head += [f"time to float, {p}" for p in times]
    rows = [["float", "", "", "", "", *(f"{of[FLOAT]['miou'][s]:.1f}" for s in LABELLED), *("1" for _ in times)]]
    refused = [w for w in WAYS if job.refusal(w).exists() and job.refusal(w).stat().st_size]
    for way in WAYS:
        f = of[way.key]
        how = f"{way.method} [refused]" if way in refused else way.method
        cells = [way.program, how, f"{f['sqnr']:.1f}", f"{f['agreement']:.2f}",
                 f"{f['worst_iou']:.1f} {f['worst_class']}"]  # fmt: skip
        for name in LABELLED:
            low, high = f["interval"][name]
            change = f["miou"][name] - of[FLOAT]["miou"][name]
            cells.append(f"{f['miou'][name]:.1f} ({change:+.1f}, {low:+.1f} to {high:+.1f})")
        shares = [times[p]["shares"].get(way.key) for p in times]
        rows.append([*cells, *("-" if s is None else f"{s:.2f}" for s in shares)])
    spent = "; ".join(
        f"float takes {t['float_ms']:.1f} ms on {p} (other programs kept {t['others']:.2f} cores busy)"
        for p, t in times.items()
    )
    about = (
        f"Bundle {job.bundle.folder.name} (`{job.bundle.sha256[:12]}`), {len(job.chosen)} frames of "
        f"`night_train_unlabelled`; compared on {night} other night frames; "
        f"{job.args.time_threads} threads, {job.args.rounds} rounds that take turns: {spent}. "
        f"{datetime.now(UTC):%Y-%m-%d}."
    )
    why = {w: job.refusal(w).read_text(encoding="utf-8").removeprefix("nightseg: ") for w in refused}
    notes = "".join(f"\n{w.program} {w.method} [refused]: {text}\n" for w, text in why.items())
    return f"{about}\n\n" + table(head, rows) + notes


def judge(of: dict[str, dict[str, Any]], times: dict[str, Any]) -> dict[str, common.Limit]:
    """Hold each of ours against the best of the others that is not slower: mIoU, the mean of both sets."""
    limits = {}
    for way in WAYS:
        if way.program != nets.OURS:
            continue
        rivals = [w for w in WAYS if w.program not in (nets.OURS, SHIPPED.program) and as_fast(w, way, times)]
        if rivals:
            best = max(rivals, key=lambda w: float(of[w.key]["mean"]))
            what = f"{way.key}: points of mIoU below {best.key}, the best of the others that is as fast"
            limits[way.key] = common.Limit(what, of[best.key]["mean"] - of[way.key]["mean"], WITHIN)
    return limits


def as_fast(rival: Way, way: Way, times: dict[str, Any]) -> bool:
    """Tell whether a network takes at most 5 % more time than ours wherever both were timed."""
    both = [t["shares"] for t in times.values() if rival.key in t["shares"]]
    return all(s[rival.key] <= 1.05 * s[way.key] for s in both)


def measure(args: argparse.Namespace) -> None:
    """Make the networks, compare and time them, and write the table."""
    cv2.setNumThreads(args.threads)
    job = Job(args)
    job.make()
    shots = job.shots()
    of = figures(job, shots, job.score(shots))
    times = job.times()
    text = render(job, shots, of, times)
    sys.stdout.write(text)
    kept = {"bundle": job.bundle.sha256, "figures": of, "times": times}
    (job.folder / "found.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if args.docs:
        put(args.docs, "quantisers", text)
    limits = judge(of, times)
    common.hold([v for k, v in limits.items() if k != DEFAULT], check=False)  # told, and no limit
    common.hold([v for k, v in limits.items() if k == DEFAULT], args.check)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and compare."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh quantisers --docs docs/quantisation.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    p.add_argument("--frames", type=int, default=32, help="night frames to calibrate on")
    p.add_argument("--threads", type=int, default=1, help="of all but the timing")
    p.add_argument("--time-threads", type=int, default=2, help="of the networks while they are timed")
    p.add_argument("--night", type=int, default=0, help="night frames to compare on, at most; 0: all, more than 300")
    p.add_argument("--rounds", type=int, default=40, help="runs of each network that are timed")
    p.add_argument("--docs", type=Path, help="Markdown file to put the table into, between marks")
    p.add_argument("--keep", type=Path, default=common.ROOT / ".cache/quantisers", help="folder of what is done")
    p.add_argument("--check", action="store_true", help=f"exit with 3 where ours is {WITHIN} points below the others")
    args = p.parse_args(argv)
    if min(args.frames, args.threads, args.time_threads, args.rounds) < 1:
        p.error("numbers must be above 0")
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
