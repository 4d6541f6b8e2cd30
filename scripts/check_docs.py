#!/usr/bin/env python3
"""Check the Markdown files: links to files and headings that are not there, and make targets that do not exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TARGET = re.compile(r"(?:`|^    |^\$ )make ([a-z][a-z0-9-]*)", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as they are made of their words."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}


def faults(page: Path, targets: set[str]) -> list[str]:
    """Return what is wrong with one page."""
    text = page.read_text(encoding="utf-8")
    found = [f"no make target {name}" for name in TARGET.findall(text) if name not in targets]
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists():
            found.append(f"no file {link}")
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text(encoding="utf-8")):
            found.append(f"no heading {link}")
    return found


def main() -> int:
    """Check every page that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    pages = [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]
    bad = [f"{page.relative_to(ROOT)}: {fault}" for page in pages for fault in faults(page, targets)]
    sys.stdout.write("".join(f"{line}\n" for line in bad) + f"{len(pages)} pages, {len(bad)} faults\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
