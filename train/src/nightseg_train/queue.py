"""`queue`: many trainings, one after the other, in the background if you like; goes on where it stopped.

    python -m nightseg_train queue --config train/configs/benchmark/queue.yaml

Each entry is a run (`fit`), a file of soft targets (`targets`) or a bundle (`export`). What is finished is left alone;
one that fails is told of, and what does not need it goes on. --list tells how far it is.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nightseg_train import bundle, config, export, targets
from nightseg_train.fit import Fit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A settings file, relative to the queue's: of a run with its seeds, of soft targets, or of a bundle."""

    fit: str = ""
    targets: str = ""
    export: str = ""
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an entry that is of several kinds, or of none.

        Raises:
            ValueError: it is.
        """
        if sum(map(bool, (self.fit, self.targets, self.export))) != 1:
            raise ValueError("queue: an entry has one of `fit`, `targets` and `export`")


@dataclass(frozen=True)
class Queue:
    """What is to be done, in order."""

    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Job:
    """One command, and the file that is there when it has ended."""

    command: tuple[str, ...]
    done: Path

    def name(self) -> str:
        """Return how messages call it."""
        return " ".join(self.command)

    def state(self) -> str:
        """Return "done", "begun" (a run that has a folder) or "to do"."""
        begun = (self.done.parent / "settings.json").is_file()
        return "done" if self.done.exists() else "begun" if begun else "to do"


def jobs(path: Path, base: Path) -> list[Job]:
    """Return the jobs of a queue's file in order.

    Raises:
        FileNotFoundError, ValueError: a file is missing or wrong.
    """
    out = []
    for entry in config.read(Queue, path).entries:
        file = path.parent / (entry.fit or entry.targets or entry.export)
        if entry.targets:
            out.append(Job(("targets", "--config", str(file)), base / config.read(targets.Targets, file).out))
            continue
        if entry.export:
            made = base / config.read(export.Export, file).out / bundle.MANIFEST
            out.append(Job(("export", "--config", str(file)), made))
            continue
        s = config.read(Fit, file)
        for seed in entry.seeds or (None,):
            name = s.name if seed is None else f"{s.name}-s{seed}"
            more = () if seed is None else ("--seed", str(seed))
            out.append(Job(("fit", "--config", str(file), *more), base / s.work / name / "done.json"))
    return out


def work(path: Path, base: Path) -> list[str]:
    """Do all jobs that are not done; return the names of those that failed.

    The file is read anew after each job, so that entries can be added meanwhile. Where that fails, the jobs go on that
    were known before; what is wrong is told of, and at the end, if it is still so, among what failed.

    Raises:
        FileNotFoundError, ValueError: a file is missing or wrong at the start.
    """
    failed: list[str] = []
    known = jobs(path, base)
    while True:
        wrong: list[str] = []
        try:
            known = jobs(path, base)
        except (OSError, ValueError) as fault:
            wrong = [str(fault)]
            log.error("queue: %s; going on with the entries as they were", fault)
        todo = [j for j in known if not j.done.exists() and j.name() not in failed]
        if not todo:
            return failed + wrong
        job, began = todo[0], time.monotonic()
        log.info("queue: %s; %d more", job.name(), len(todo) - 1)
        code = subprocess.run([sys.executable, "-m", "nightseg_train", *job.command], check=False).returncode
        log.info("queue: %s after %.0f s", "done" if code == 0 else f"failed ({code})", time.monotonic() - began)
        if code != 0 or not job.done.exists():
            failed.append(job.name())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--config", type=Path, required=True, help="settings of the queue (YAML)")
    parser.add_argument("--list", action="store_true", help="only tell what is done, begun and to do")


def run(args: argparse.Namespace) -> int:
    """Run the command; 1 where a job failed."""
    if args.list:
        for job in jobs(args.config, config.ROOT):
            sys.stdout.write(f"{job.state():<6} {job.name()}\n")
        return 0
    failed = work(args.config, config.ROOT)
    for name in failed:
        log.error("queue: failed: %s", name)
    return 1 if failed else 0
