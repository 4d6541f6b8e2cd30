"""The table of what nightseg must reach, measured.

`nightseg bench` (core time, wall time, decision), `nightseg bench codecs` (encoding), the segmentation network in int8
and fp32 on each provider in runs that take turns, and `versus` (both Python loops). It takes ten minutes and refuses a
busy machine.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import common
from accuracy import put
from common import Limit, Load, Spread, log

TIMES_INT8 = {"openvino": 3.0, "cpu": 2.0}  # how many times as fast as fp32 the int8 segmentation net has to be


def core(args: argparse.Namespace) -> tuple[list[Limit], dict[str, Any]]:
    """Run nightseg bench; return its limits, and all that it says."""
    command = [common.program(), "bench", str(args.images), "--bundle", str(args.bundle), "--starts", "0", "--json"]
    command += ["--rounds", str(args.rounds)] + (["--force"] if args.force else [])
    found = common.call(command)
    return [Limit(r["what"], r["value"], r["limit"]) for r in found["limits"]], found


def integers(args: argparse.Namespace, load: Load) -> tuple[list[Limit], dict[str, Any]]:
    """Time the segmentation network in both precisions on each provider, one frame at a time."""
    times: dict[tuple[str, str], list[float]] = {}
    keys = [(provider, precision) for provider in TIMES_INT8 for precision in ("fp32", "int8")]
    for n in range(args.rounds):
        for provider, precision in keys if n % 2 == 0 else keys[::-1]:
            command = [common.program(), "bench", str(args.images), "--bundle", str(args.bundle), "--rounds", "1"]
            command += ["--frames", "30", "--starts", "0", "--broker", "none", "--relight", "none", "--parallel", "1"]
            load.restart()
            said = common.call([*command, "--provider", provider, "--precision", precision, "--force", "--json"])
            load.judge(load.cores(), common.QUIET_DURING, args.force)
            times.setdefault((provider, precision), []).append(said["segment_wall"]["median"])
    held, found = [], {}
    for provider, least in TIMES_INT8.items():
        whole, small = Spread.of(times[provider, "fp32"]), Spread.of(times[provider, "int8"])
        found[provider] = {"fp32_ms": whole.rounded(2), "int8_ms": small.rounded(2)}
        what = f"segmentation, {provider}: fp32 ({whole.median:.1f} ms) to int8 ({small.median:.1f} ms)"
        held.append(Limit(what, whole.median / small.median, least, at_least=True))
    return held, found


def encoding(args: argparse.Namespace) -> tuple[list[Limit], dict[str, Any]]:
    """Time the codecs on predicted night masks."""
    command = [common.program(), "bench", "codecs", str(args.images), "--bundle", str(args.bundle), "--json"]
    found = common.call(command + (["--force"] if args.force else []))
    return [Limit(r["what"], r["value"], r["limit"]) for r in found["limits"]], found


def loops(args: argparse.Namespace) -> tuple[list[Limit], dict[str, Any]]:
    """Run versus."""
    command = [sys.executable, str(Path(__file__).with_name("versus.py")), str(args.images)]
    command += ["--bundle", str(args.bundle), "--rounds", str(args.rounds)] + (["--force"] if args.force else [])
    found = common.call(command)
    held = [Limit("frames/s to those of the plain Python loop (fp32)", found["times_as_fast"], 4.0, at_least=True)]
    if "times_as_fast_best" in found:
        ms = {name: v["median"] for name, v in found["core_ms_per_frame"].items()}
        ours, theirs = ms.values()
        held.append(
            Limit("frames/s to those of the best Python loop", found["times_as_fast_best"], 1.15, at_least=True)
        )
        held.append(Limit(f"processor time to its ({ours:.1f} to {theirs:.1f} ms)", ours / theirs, 1.0))
    return held, found


def graphics(args: argparse.Namespace) -> None:
    """Run nightseg bench on each provider of NVIDIA that is here, in each precision; print the table and a JSON object.

    Where there is none it says so, and that is all.
    """
    said = common.call([common.program(), "doctor", "--json"], allowed=(0, 1, 3))
    library = next((c["text"] for c in said["checks"] if c["name"] == "onnxruntime"), "no library")
    here = [p for p in ("tensorrt", "cuda") if p in library.split("providers ")[-1].split(", ")]
    if not here:
        log.info("skipped: ONNX Runtime has no provider of NVIDIA here (%s); see docs/jetson.md", library)
        common.emit({"skipped": library})
        return
    rows = ["| provider | precision | networks, ms | loop, ms | all else, processor ms |", "|---|---|---:|---:|---:|"]
    found = []
    for provider in here:
        for precision in ("fp32", "int8"):
            command = [common.program(), "bench", str(args.images), "--bundle", str(args.bundle), "--starts", "0"]
            command += ["--rounds", str(args.rounds), "--provider", provider, "--precision", precision, "--json"]
            said = common.call(command + (["--force"] if args.force else []))
            found.append(said)
            cells = [f"{said[k]['median']:.2f}" for k in ("networks_wall", "loop_wall", "outside_core")]
            rows.append(f"| {provider} | {precision} | {' | '.join(cells)} |")
    common.emit({"gpu": found})
    text = f"{processor()}\n\n" + "\n".join(rows) + "\n"
    if args.docs:
        put(args.docs, "gpu", text)
    log.info("\n%s", text)


def markdown(limits: Sequence[Limit], about: str) -> str:
    """Return the table."""
    out = [about, "", "| what | must reach | measured | |", "|---|---|---|---|"]
    for one in limits:
        bound = f"{'at least' if one.at_least else 'at most'} {one.limit:g}"
        out.append(f"| {one.what} | {bound} | {one.value:.3g} | {'holds' if one.holds else '**does not hold**'} |")
    return "\n".join(out) + "\n"


def processor() -> str:
    """Return the name of the processor and its number of cores, as this system sees them."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{len(names) or 1} cores of {names[0] if names else platform.machine()}"


def measure(args: argparse.Namespace) -> None:
    """Measure, print the table and one JSON object."""
    common.need(args.images, "name a folder of pictures")
    load = Load()
    if args.gpu:
        return graphics(args)
    common.mosquitto_program()  # versus, which comes last, needs it
    load.quiet(args.force)
    limits: list[Limit] = []
    found: dict[str, Any] = {}
    parts: tuple[tuple[str, Callable[[], tuple[list[Limit], dict[str, Any]]]], ...] = (
        ("loop", lambda: core(args)),
        ("int8", lambda: integers(args, load)),
        ("encode", lambda: encoding(args)),
        ("versus", lambda: loops(args)),
    )
    for name, part in parts:
        log.info("%s", name)
        held, found[name] = part()
        limits += held
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    about = f"{found['loop']['bundle']} (`{found['loop']['bundle_sha256'][:12]}`), {processor()}, {day}."
    text = markdown(limits, about)
    common.emit(found | {"limits": [one.as_dict() for one in limits]})
    if args.docs:
        put(args.docs, "table", text)
    log.info("\n%s", text)
    common.hold(limits, args.check)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and measure."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh table --docs docs/performance.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("images", nargs="?", type=Path, default=common.NIGHT_SEQUENCE, help="folder of pictures")
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    p.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    p.add_argument("--gpu", action="store_true", help="the loop on NVIDIA's providers instead, where there are any")
    p.add_argument("--docs", type=Path, help="page whose table is written anew")
    p.add_argument("--check", action="store_true", help="exit with 3 where a limit does not hold")
    p.add_argument("--force", action="store_true", help="measure although other programs are at work")
    args = p.parse_args(argv)
    if args.rounds < 1:
        p.error("--rounds must be at least 1")
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
