"""How the cost grows: with the pictures, over ten thousand frames, and with the cameras on one device.

Shapes: `nightseg bench` at each shape of the bundle, runs that take turns; the cost of a frame is to grow no faster
than its pixels. Frames: a replay of --frames frames, in tenths: rate and memory are to stay as they are. Cameras: the
service with 1, 2 and 4 cameras at 30 frames a second that share one engine; what each gets, and how late.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chart
import common
import live
from accuracy import put
from common import Limit, Load, Spread, log

CAMERA_RATE = 30.0
FLAT_MB = 5.0  # growth of the memory over the frames that still counts as flat
PARTS = ("shapes", "frames", "cameras")


def shapes(args: argparse.Namespace, load: Load) -> tuple[list[dict[str, Any]], list[Limit]]:
    """Time one frame at each shape of the bundle; return a row a shape, smallest first."""
    manifest = json.loads((args.bundle / "bundle.json").read_text(encoding="utf-8"))
    sizes = sorted((w, h) for h, w in manifest["shapes"])
    found: dict[tuple[int, int], list[dict[str, Any]]] = {s: [] for s in sizes}
    for n in range(args.rounds):
        for w, h in sizes if n % 2 == 0 else sizes[::-1]:
            command = [common.program(), "bench", str(args.images), "--bundle", str(args.bundle), "--rounds", "1"]
            command += ["--frames", str(args.bench_frames), "--starts", "0", "--force", "--json"]
            load.restart()
            found[w, h].append(common.call([*command, "--shape", f"{w}x{h}"]))
            load.judge(load.cores(), common.QUIET_DURING, args.force)
            log.info("round %d: %dx%d: %.1f ms", n + 1, w, h, found[w, h][-1]["loop_wall"]["median"])
    rows: list[dict[str, Any]] = []
    for (w, h), runs in found.items():
        at = {k: Spread.of([r[k]["median"] for r in runs]) for k in ("networks_wall", "outside_core", "loop_wall")}
        rows.append({"shape": f"{w}x{h}", "megapixels": w * h / 1e6} | {k: v.rounded(2) for k, v in at.items()})
    rows.sort(key=lambda r: r["megapixels"])
    per = [r["loop_wall"]["median"] / r["megapixels"] for r in rows]
    held = [Limit("ms per megapixel, largest shape to smallest", per[-1] / per[0], 1.0)]
    return rows, held


def draw(rows: Sequence[dict[str, Any]]) -> str:
    """Return the chart of the shapes."""
    x = chart.Axis("megapixels", 0, 1.08 * max(r["megapixels"] for r in rows))
    y = chart.Axis("ms a frame", 0, 1.1 * max(r["loop_wall"]["median"] for r in rows))

    def series(name: str, key: str, named: bool = False) -> chart.Series:
        points = [(r["megapixels"], r[key]["median"], r["shape"] if named else "") for r in rows]
        return chart.Series(name, points)

    return chart.svg(
        "Cost of a frame by its size", x, y,
        [series("whole loop, wall time", "loop_wall", True), series("networks alone, wall time", "networks_wall"),
         series("all else, processor time", "outside_core")],
    )  # fmt: skip


def tenths(samples: Sequence[tuple[float, int, float]]) -> list[dict[str, float]]:
    """Return rate and memory of each tenth of a run, from (seconds, masks so far, MB), at least 11 of them."""
    total = samples[-1][1]
    out, start = [], 0
    for i in range(1, 11):
        end = next(k for k, s in enumerate(samples) if s[1] * 10 >= total * i)
        (t0, m0, _), (t1, m1, _) = samples[start], samples[end]
        rate = (m1 - m0) / (t1 - t0) if t1 > t0 else float("nan")
        memory = statistics.mean(s[2] for s in samples[start : end + 1])
        out.append({"frames": m1, "fps": round(rate, 2), "mb": round(memory, 1)})
        start = end
    return out


def frames(args: argparse.Namespace, load: Load) -> tuple[list[dict[str, float]], list[Limit]]:
    """Replay many frames to a broker and look at rate and memory each second; return a row a tenth."""
    samples: list[tuple[float, int, float]] = []
    with tempfile.TemporaryDirectory() as folder, common.broker(args.broker, Path(folder), load) as url:
        command = [
            common.program(),
            "replay",
            str(args.images),
            "--bundle",
            str(args.bundle),
            "--loop",
            "--rate",
            "max",
        ]
        command += ["--gate", "always", "--frames", str(args.frames), "--broker", url, "--json"]
        heard = live.Heard()
        with live.listen(url, heard):
            ours = ["--fleet", live.FLEET, "--device", live.DEVICE, "--camera", live.CAMERA]
            run = subprocess.Popen([*command, *ours], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            load.beside(run.pid)
            load.restart()
            while run.poll() is None:
                time.sleep(1)
                try:
                    memory = live.resident_mb(run.pid)
                except (OSError, ValueError):
                    break  # it has ended
                with heard.lock:
                    if heard.stats and (not samples or heard.stats[-1][0] != samples[-1][0]):
                        at, doc = heard.stats[-1]
                        samples.append((at, doc["masks"], memory))
            out, _ = run.communicate()
    load.judge(load.cores(), common.QUIET_DURING, args.force)
    summary = common.last_json(out)
    if run.returncode or summary["frames"] != args.frames or len(samples) < 11:
        raise RuntimeError(f"replay ended with {run.returncode} after {summary['frames']} of {args.frames} frames")
    rows = tenths(samples)
    middle = statistics.median(r["fps"] for r in rows)
    held = [
        Limit("rate of the last tenth to the median", rows[-1]["fps"] / middle, 0.95, at_least=True),
        Limit("growth of the memory, second tenth to last, MB", rows[-1]["mb"] - rows[1]["mb"], FLAT_MB),
    ]
    return rows, held


def cameras(args: argparse.Namespace, load: Load) -> tuple[list[dict[str, Any]], list[Limit]]:
    """Run the service with several cameras on one engine; return a row a number of cameras."""
    rows, held = [], []
    for n in args.cameras:
        row = together(args, load, n)
        rows.append(row)
        fps = [c["fps"] for c in row["cameras"]]
        held.append(Limit(f"{n} cameras: least served to most served", min(fps) / max(fps), 0.9, at_least=True))
        log.info("%d cameras: %s frames/s, p99 %s ms", n, fps, [c["p99_ms"] for c in row["cameras"]])
    return rows, held


def together(args: argparse.Namespace, load: Load, n: int) -> dict[str, Any]:
    """Run the service with n cameras for a while; return what each gets."""
    ids = [f"cam{i + 1}" for i in range(n)]
    with tempfile.TemporaryDirectory() as folder, common.broker(args.broker, Path(folder), load) as url:
        doc = {
            "fleet": live.FLEET, "device": live.DEVICE, "bundle": str(args.bundle), "state_dir": f"{folder}/state",
            "broker": {"url": url}, "relight": {"mode": "bundle", "gate": "always"}, "publish": {"qos": 0},
            "cameras": [{"id": c, "source": str(args.images), "rate": CAMERA_RATE, "loop": True} for c in ids],
            "log": {"level": "warn"},
        }  # fmt: skip
        config = Path(folder) / "nightseg.yaml"
        config.write_text(json.dumps(doc), encoding="utf-8")
        base = ["--broker", url, "--fleet", live.FLEET, "--device", live.DEVICE, "--quiet", "--json"]
        service = subprocess.Popen([common.program(), "run", "--strict", "--config", str(config)])
        watchers: list[subprocess.Popen[str]] = []
        try:
            load.beside(service.pid)
            time.sleep(args.settle)
            for c in ids:
                command = [common.program(), "watch", *base, "--camera", c]
                watchers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
                load.beside(watchers[-1].pid)
            load.restart()
            time.sleep(args.seconds)
            load.judge(load.cores(), common.QUIET_DURING, args.force)
            said = [live.finish(w) for w in watchers]
        finally:
            for w in watchers:
                common.stop(w)
            common.stop(service)
    per = [
        {"camera": c, "fps": round(s["masks"] / args.seconds, 1), "p50_ms": s["latency_p50_ms"],
         "p99_ms": s["latency_p99_ms"]}
        for c, s in zip(ids, said, strict=True)
    ]  # fmt: skip
    return {"n": n, "fps": round(sum(c["fps"] for c in per), 1), "cameras": per}


def markdown(found: dict[str, Any]) -> str:
    """Return the tables of what was measured."""
    out = []
    if "shapes" in found:
        out += ["| shape | megapixels | networks alone, ms | all else, processor ms | loop, ms | ms per megapixel |",
                "|---|---:|---:|---:|---:|---:|"]  # fmt: skip
        for r in found["shapes"]:
            wall = r["loop_wall"]["median"]
            out.append(f"| {r['shape']} | {r['megapixels']:.2f} | {r['networks_wall']['median']:.1f} | "
                       f"{r['outside_core']['median']:.2f} | {wall:.1f} | {wall / r['megapixels']:.0f} |")  # fmt: skip
        out.append("")
    if "frames" in found:
        out += ["| frames | frames/s | resident memory, MB |", "|---:|---:|---:|"]
        out += [f"| {r['frames']:.0f} | {r['fps']:.1f} | {r['mb']:.0f} |" for r in found["frames"]] + [""]
    if "cameras" in found:
        out += ["| cameras | frames/s, all | frames/s, each | p50 / p99 of each, ms |", "|---:|---:|---|---|"]
        for r in found["cameras"]:
            each = ", ".join(f"{c['fps']:g}" for c in r["cameras"])
            late = ", ".join(f"{c['p50_ms']:.0f} / {c['p99_ms']:.0f}" for c in r["cameras"])
            out.append(f"| {r['n']} | {r['fps']:g} | {each} | {late} |")
    return "\n".join(out).rstrip() + "\n"


def measure(args: argparse.Namespace) -> None:
    """Measure what was asked for, print one JSON object, write table and chart where they are to go."""
    common.need(args.images, "name a folder of pictures")
    load = Load()
    load.quiet(args.force)
    found: dict[str, Any] = {}
    limits: list[Limit] = []
    for part in args.parts:
        log.info("%s", part)
        found[part], held = {"shapes": shapes, "frames": frames, "cameras": cameras}[part](args, load)
        limits += held
    common.emit(found | {"limits": [one.as_dict() for one in limits]})
    log.info("%s", markdown(found))
    if args.docs:
        put(args.docs, "growth", markdown(found))
        if "shapes" in found:
            args.docs.with_name("growth.svg").write_text(draw(found["shapes"]), encoding="utf-8")
    common.hold(limits, args.check)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and measure."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh growth --docs docs/performance.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("images", nargs="?", type=Path, default=common.NIGHT_SEQUENCE, help="folder of pictures")
    p.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    p.add_argument("--rounds", type=int, default=3, help="shapes: runs of each")
    p.add_argument("--bench-frames", type=int, default=60, help="shapes: frames of a run")
    p.add_argument("--frames", type=int, default=10000, help="frames: how many")
    p.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 4], help="cameras: how many")
    p.add_argument("--seconds", type=float, default=30, help="cameras: time to measure each number of them")
    p.add_argument("--settle", type=float, default=10, help="cameras: seconds before")
    p.add_argument("--broker", default="mosquitto", help="mosquitto, process or a mqtt:// URL")
    p.add_argument("--docs", type=Path, help="page whose tables are written anew; growth.svg goes beside it")
    p.add_argument("--check", action="store_true", help="exit with 3 where a limit does not hold")
    p.add_argument("--force", action="store_true", help="measure although other programs are at work")
    args = p.parse_args(argv)
    if min(args.cameras) < 1 or args.frames < 100 or args.rounds < 1:
        p.error("--cameras and --rounds must be at least 1, --frames at least 100")
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
