"""Time nightseg against two Python loops: same pictures, same broker, runs that take turns.

First the masks: those of nightseg with the float networks must equal those of the plain Python loop, ties within
rounding apart. Then rounds of nightseg as it ships, nightseg with the float networks of the plain loop, that loop, and
the fastest loop that Python allows with the networks that ship (x86-64 only), the order turned round each time. It
refuses (exit code 3) while other programs are at work, and with --check where nightseg is not so many times faster than
the plain loop.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import common
import compare
from common import Limit, Load, Spread, log

NIGHTSEG, FLOAT, PYTHON, BEST = "nightseg", "nightseg fp32 cpu", "python loop", "best python loop"


def commands(args: argparse.Namespace, url: str) -> dict[str, list[str]]:
    """Return the command of each."""
    same = ["--bundle", str(args.bundle), "--frames", str(args.frames), "--broker", url, "--relight", args.relight]
    same += ["--threads", str(args.threads)]
    if args.std is not None:
        same += ["--std", str(args.std)]
    ours = [common.program(), "replay", str(args.images), "--loop", "--rate", "max", "--gate", "always", "--json"]
    ours += [*same, "--fleet", "bench", "--device", "nightseg"]
    here = Path(__file__)
    python = [sys.executable, str(here.with_name("python_loop.py")), str(args.images), *same]
    best = [sys.executable, str(here.with_name("best_loop.py")), str(args.images), *same]
    best += ["--precision", args.precision, "--streams", str(args.streams)]
    found = {
        NIGHTSEG: [*ours, "--precision", args.precision, "--provider", args.provider],
        FLOAT: [*ours, "--precision", "fp32", "--provider", "cpu"],
        PYTHON: python,
    }
    return found | ({BEST: best} if find_spec("openvino") else {})


def rounds(args: argparse.Namespace, url: str, load: Load) -> tuple[dict[str, list[dict[str, object]]], Spread]:
    """Run them in turn, and return what each said, and how busy others kept the machine."""
    others = []
    todo = list(commands(args, url).items())
    said: dict[str, list[dict[str, object]]] = {name: [] for name, _ in todo}
    for n in range(args.rounds):
        for name, command in todo if n % 2 == 0 else todo[::-1]:
            load.restart()
            found = common.call(command)
            others.append(load.cores())
            said[name].append(found)
            log.info("round %d: %s: %.1f frames/s (others: %.2f cores)", n + 1, name, found["fps"], others[-1])
            if found["frames"] != args.frames or found.get("dropped"):
                raise ValueError(f"{name}: {found['frames']} of {args.frames} frames, {found.get('dropped')} dropped")
    return said, Spread.of(others)


def measure(args: argparse.Namespace) -> None:
    """Compare, time, and print one JSON object."""
    args.relight = common.relight_of(args)
    common.need(args.images, "name a folder of pictures")
    load = Load()
    load.quiet(args.force)
    result: dict[str, object] = {"images": str(args.images), "frames": args.frames, "rounds": args.rounds}
    limits: list[Limit] = []
    with tempfile.TemporaryDirectory() as folder:
        if not args.skip_masks:
            found = compare.run(args, Path(folder) / "masks")
            result["masks"] = found.as_dict()
            limits += found.limits()
        with common.broker(args.broker, Path(folder), load) as url:
            said, others = rounds(args, url, load)
    load.judge(others.most, common.QUIET_DURING, args.force)
    fps = {name: Spread.of([float(str(r["fps"])) for r in runs]) for name, runs in said.items()}
    first = said[NIGHTSEG][0]
    result |= {
        "broker": args.broker,
        "relight": args.relight,
        "threads": args.threads,
        "other_programs_cores": others.rounded(),
        "nightseg": {"provider": first["provider"], "precision": first["precision"], "library": first["library"]},
        "python": {key: said[PYTHON][0][key] for key in ("onnxruntime", "opencv", "std", "step_ms")},
        "bundle_sha256": first["bundle_sha256"],
        "fps": {name: s.rounded() for name, s in fps.items()},
        "times_as_fast": round(fps[NIGHTSEG].median / fps[PYTHON].median, 3),
        "times_as_fast_fp32": round(fps[FLOAT].median / fps[PYTHON].median, 3),
        "masks_sha256": {name: sorted({str(r["masks_sha256"]) for r in runs}) for name, runs in said.items()},
    }
    if BEST in fps:
        result["times_as_fast_best"] = round(fps[NIGHTSEG].median / fps[BEST].median, 3)
        result["core_ms_per_frame"] = {
            name: Spread.of([float(str(r["core_ms_per_frame"])) for r in said[name]]).rounded()
            for name in (NIGHTSEG, BEST)
        }
    limits.append(Limit("frames per second to those of the Python loop", fps[NIGHTSEG].median / fps[PYTHON].median,
                        args.at_least, at_least=True))  # fmt: skip
    result["limits"] = [one.as_dict() for one in limits]
    common.emit(result)
    for name, s in fps.items():
        log.info("%-20s %s frames/s", name, s)
    common.hold(limits, args.check)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and measure."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh versus drive/images --rounds 7 --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_arguments(p)
    p.add_argument("--frames", type=int, default=300, help="frames of each run; the folder is played round and round")
    p.add_argument("--rounds", type=int, default=5, help="runs of each")
    p.add_argument("--broker", default="mosquitto", help="mosquitto, process (nightseg's own) or a mqtt:// URL")
    p.add_argument("--precision", default="int8", help="of nightseg's networks")
    p.add_argument("--provider", default="auto", help="of nightseg")
    p.add_argument("--streams", type=int, default=2, help="frames at a time of the best Python loop")
    p.add_argument("--at-least", type=float, default=3.5, help="how many times faster nightseg has to be")
    p.add_argument("--check", action="store_true", help="exit with 3 where it is not")
    p.add_argument("--skip-masks", action="store_true", help="do not compare the masks first")
    p.add_argument("--force", action="store_true", help="time although other programs are at work")
    args = p.parse_args(argv)
    if args.frames < 2 or args.rounds < 1:
        p.error("--frames must be at least 2, --rounds at least 1")
    return common.run_main(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
