#!/usr/bin/env python3
"""The packages in a booted Debian 12: installed, run, harmed, upgraded, removed, and cut off from power.

    scripts/vm/run.py [PHASE...] [--cycles 20] [--patience 1] [--report docs/reliability-vm.md]

It takes root, qemu, debootstrap and mosquitto. Each phase but `install` boots a layer over the disk that `install` has
left, so that one of them can be run alone; `install` is done again when the packages are others. Results are kept in
out/vm/results.json, the serial console in out/vm/serial.log.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import board
import faults
import install
import networks
import powercuts
import report
import service
import update
import upgrade
from machine import CACHE, OUT, ROOT, FailedError, accelerator, output
from session import Session, say

PHASES: dict[str, Callable[[Session], None]] = {
    "install": install.run,
    "networks": networks.run,
    "service": service.run,
    "board": board.run,
    "faults": faults.run,
    "update": update.run,
    "upgrade": upgrade.run,
    "powercuts": powercuts.run,
}


def sources() -> str:
    """Return a hash of all that goes into the packages, but for the docs."""
    parts = ["cmd", "edge", "camera", "relight", "firmware", "model", "packaging", "go.mod", "scripts/deb.sh"]
    listed = output("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *parts)
    files = sorted({ROOT / name for name in listed.split("\0") if name})
    return hashlib.sha256(b"".join(f.read_bytes() for f in files if f.is_file())).hexdigest()[:16]


def packages() -> dict[str, list[Path]]:
    """Build the packages in two versions, where the sources are others than the last time."""
    out, stamp = ROOT / "out", OUT / "packages"
    made = sources()
    kept = stamp.read_text().split() if stamp.exists() else []
    if kept[:1] != [made] or not all((out / name).exists() for name in kept[1:]):
        names = []
        for number in (1, 2):
            version = f"0.1.0~vm{number}"
            say(f"building the packages, version {version}")
            build = subprocess.run(
                [ROOT / "scripts/deb.sh"], env={**os.environ, "VERSION": version, "ARCH": ""}, cwd=ROOT,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            )  # fmt: skip
            if build.returncode != 0:
                raise FailedError(build.stdout)
            made_now = sorted(out.glob(f"*_{version}_*.deb"))
            # The service first: its file names the version.
            names += [p.name for p in sorted(made_now, key=lambda p: not p.name.startswith("nightseg_"))]
        stamp.write_text("\n".join([made, *names]))
        kept = [made, *names]
    files = [out / name for name in kept[1:]]
    half = len(files) // 2
    return {"old": files[:half], "new": files[half:]}


def installed(debs: dict[str, list[Path]]) -> str:
    """Return what the disk of the phase install is made of."""
    base = (CACHE / "stamp").read_text()
    return base + "".join(hashlib.sha256(p.read_bytes()).hexdigest() for p in debs["old"])


def one(s: Session, phase: str, stamp: str) -> bool:
    """Run a phase; tell whether it held."""
    s.phase = phase
    s.broker.start()
    try:
        PHASES[phase](s)
        if phase == "install":
            (CACHE / "installed").write_text(stamp)
        return True
    except (FailedError, OSError, subprocess.SubprocessError) as e:
        say(f"FAIL  phase {phase}: {e}\n{s.tails()}")
        return False
    finally:
        if s.machine is not None:
            s.machine.remove()
        s.machine = None
        s.broker.stop()
        s.save()


def main() -> int:
    """Run the phases that were asked for."""
    parser = argparse.ArgumentParser(description="the packages in a booted Debian 12")
    parser.add_argument("phases", nargs="*", choices=[*PHASES, []], help="those to run; all where none is named")
    parser.add_argument("--cycles", type=int, default=20, help="power cuts")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the cuts; 0: another one each time")
    parser.add_argument("--patience", type=float, default=1, help="what all time limits are multiplied by")
    parser.add_argument("--report", type=Path, help="file for the tables of all phases that have been run")
    args = parser.parse_args()
    if os.geteuid() != 0:
        say("e2e-vm: making the machine's disk takes root")
        return 1
    begin = time.monotonic()
    OUT.mkdir(parents=True, exist_ok=True)
    debs = packages()
    subprocess.run([ROOT / "scripts/vm/image.sh"], check=True)
    shutil.copytree(ROOT / "model/testdata/tiny", OUT / "tiny", dirs_exist_ok=True)
    seed = args.seed or random.randrange(1, 1 << 16)
    s = Session(accelerator(), args.patience, debs, args.cycles, seed)
    s.facts = report.facts(s)
    say(f"e2e-vm: {s.facts['machine']}; seed {seed}; {', '.join(p.name for p in debs['old'])}")
    stamp, wanted = installed(debs), args.phases or list(PHASES)
    kept = CACHE / "installed"
    if "install" not in wanted and (not kept.exists() or kept.read_text() != stamp):
        wanted = ["install", *wanted]
    if "install" in wanted:
        kept.unlink(missing_ok=True)
    failed = []
    try:
        for phase in sorted(wanted, key=list(PHASES).index):
            if not one(s, phase, stamp):
                failed.append(phase)
                if phase == "install":
                    break
    finally:
        s.broker.remove()
    (args.report or OUT / "report.md").write_text(report.text())
    good = sum(r.state == "ok" for r in s.results)
    minutes = (time.monotonic() - begin) / 60
    say(f"{good} passed, {len(s.results) - good} failed ({', '.join(failed) or 'none'}), after {minutes:.0f} min")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
