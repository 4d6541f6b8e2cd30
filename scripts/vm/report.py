"""The page that says what was tried: machine, date, a table of checks with times for each phase."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from machine import OUT, ROOT, output

if TYPE_CHECKING:
    from session import Session

TITLES = {
    "install": "Installing",
    "networks": "The networks of the package",
    "service": "The running service",
    "board": "The board around the camera",
    "faults": "Faults",
    "update": "Signed updates",
    "upgrade": "Upgrade, removal, purge",
    "powercuts": "Power cuts",
}
HEAD = """# The packages in a booted machine

Made by `make e2e-vm VM="--report docs/reliability-vm.md"`. What it does and does not show:
[service](service.md#in-a-booted-machine).
"""


def facts(s: Session) -> dict[str, str]:
    """Describe the machines."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    qemu = output("qemu-system-x86_64", "--version").split()[3]
    commit = output("git", "-C", ROOT, "describe", "--always", "--dirty").strip()
    how = "emulated (TCG)" if s.accel == "tcg" else "with KVM"
    machine = (
        f"Debian 12, 2 processors {how}, 2 GB, qemu {qemu}, on {platform.machine()} {cpu[1] if cpu else 'processor'}"
    )
    return {"machine": machine, "commit": commit, "patience": f"{s.patience:g}"}


def text() -> str:
    """Return the page of all results that are kept."""
    kept = json.loads((OUT / "results.json").read_text())
    lines = [HEAD, f"Machine: {kept['facts']['machine']}.\n"]
    for phase in TITLES:
        if phase not in kept["phases"]:
            continue
        found = kept["phases"][phase]
        lines += [f"## {TITLES[phase]}\n", f"{found['date']}, `{found['packages'][0]}`.\n"]
        lines += ["| check | s | |", "|---|---|---|"]
        for step in found["steps"]:
            said = step["text"] if step["state"] == "ok" else f"**FAIL** {step['text'][:300]}"
            lines.append(f"| {step['name']} | {step['seconds']:.0f} | {said.replace('|', '/')} |")
        lines.append("")
    return "\n".join(lines)
