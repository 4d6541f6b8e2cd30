#!/usr/bin/env python3
"""Run `go test -json` with the given arguments: a line per package, failures in full, then what was skipped and why.

The last line of standard output is a summary; the exit code is that of the tests.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict

MODULE = "nightseg/"
# A "test" that is the program under test, started by others: no test was left out.
HELPER = "runs only when another test starts it"
NOTE = re.compile(r"^\s+\S+\.go:\d+: (.*)$")


class Report:
    """What the tests said so far."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.passed = self.failed = 0
        self.skipped: dict[str, list[str]] = defaultdict(list)
        self.said: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.bad_packages: list[str] = []

    def take(self, event: dict[str, object]) -> None:
        """Take one line of `go test -json`."""
        package = str(event.get("Package") or event.get("ImportPath") or "").split(" ")[0].removeprefix(MODULE)
        test, action = str(event.get("Test", "")), event["Action"]
        if action in ("output", "build-output"):
            self.said[package, test].append(str(event["Output"]))
        elif action in ("pass", "fail", "skip"):
            (self._test if test else self._package)(package, test, str(action), event)

    def _test(self, package: str, test: str, action: str, _event: dict[str, object]) -> None:
        said = self.said.pop((package, test), [])
        if action == "skip":
            notes = [m.group(1).strip() for line in said if (m := NOTE.match(line))]
            if any(note.startswith(HELPER) for note in notes):
                return
            self.skipped[" ".join(notes) or "no reason given"].append(f"{package}.{test}")
        elif action == "fail":
            self.failed += 1
            write("".join(said))
        else:
            self.passed += 1

    def _package(self, package: str, test: str, action: str, event: dict[str, object]) -> None:
        said = self.said.pop((package, test), [])
        if action == "skip":  # no test files
            return
        if action == "fail":
            self.bad_packages.append(package)
            failed_build = str(event.get("FailedBuild", "")).split(" ")[0].removeprefix(MODULE)
            write("".join(self.said.pop((failed_build, ""), [])) + "".join(said))
        write(f"{'FAIL' if action == 'fail' else 'ok  '} {package} {float(str(event.get('Elapsed', 0))):.1f} s\n")

    def end(self, code: int) -> None:
        """Write what is left, the skips, and the summary."""
        for (package, _), lines in self.said.items():  # a build that failed without a package event
            if code != 0 and not self.bad_packages:
                write(f"{package}: " + "".join(lines))
        skips = sum(map(len, self.skipped.values()))
        for reason, tests in sorted(self.skipped.items()):
            write(f"skip {reason} ({len(tests)}: {', '.join(tests[:4])}{', ...' if len(tests) > 4 else ''})\n")
        write(f"{self.passed} tests passed, {self.failed} failed, {skips} skipped")
        write(f"; packages that failed: {', '.join(self.bad_packages)}\n" if self.bad_packages else "\n")


def write(text: str) -> None:
    """Write at once, so that progress is seen through a pipe."""
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> int:
    """Run the tests."""
    report = Report()
    with subprocess.Popen(["go", "test", "-json", *sys.argv[1:]], stdout=subprocess.PIPE, text=True) as tests:
        for line in tests.stdout or ():
            try:
                report.take(json.loads(line))
            except ValueError:
                write(line)  # the go command itself complains
    report.end(tests.returncode)
    return tests.returncode


if __name__ == "__main__":
    sys.exit(main())
