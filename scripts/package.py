#!/usr/bin/env python3
"""The units and the packages: looked at, and installed, run as the service would be, upgraded, removed and purged.

The packages of out/ are installed in an overlay over this machine's own files, in a mount namespace: nothing of it
stays (package_overlay.py). That takes root; without it the package is only unpacked. There is no systemd at work in it:
`make e2e-vm` boots one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNITS = ROOT / "packaging/systemd"
OUT = ROOT / "out"
PATIENCE = 300.0  # seconds that a step may take on a busy machine
# The most that `systemd-analyze security` may find, times ten: a unit, and the drop-in of a platform.
EXPOSURE = {
    ("nightseg.service", ""): 18,
    ("nightseg.service", "nvidia"): 18,
    ("nightseg.service", "jetson"): 19,  # the camera daemon's socket is in /tmp, which it must see
    ("nightseg.service", "board"): 18,
    ("nightseg-replay@.service", ""): 11,
    ("nightseg-lamp.service", ""): 18,
    ("nightseg-update.service", ""): 10,  # root, to write where the service may not
}


class FailedError(Exception):
    """A check that did not hold."""


def check(holds: bool, what: str) -> None:
    """Fail with what was expected."""
    if not holds:
        raise FailedError(what)


def output(*args: str | Path, patience: float = PATIENCE, **kwargs: object) -> str:
    """Run a program to its end; return what it wrote, errors too."""
    done = subprocess.run(
        args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=patience, check=False, **kwargs
    )  # type: ignore[call-overload]
    if done.returncode != 0:
        raise FailedError(f"{' '.join(map(str, args))}: exit code {done.returncode}:\n{done.stdout}")
    return done.stdout


def units(folder: Path, platform: str) -> None:
    """Copy the units to a folder, as the package lays them out, with a program that is here."""
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.path")]:
        (folder / unit.name).write_text(re.sub("/usr/bin/nightseg(-lamp)?", "/bin/true", unit.read_text()))
    if platform:
        drop_in = folder / "nightseg.service.d"
        drop_in.mkdir()
        shutil.copy(UNITS / "platform" / f"{platform}.conf", drop_in / "platform.conf")


def check_units() -> str:
    """Let systemd read the units, and rate how much they leave open."""
    rated = []
    for (name, platform), most in EXPOSURE.items():
        with tempfile.TemporaryDirectory() as folder:
            units(Path(folder), platform)
            unit = Path(folder) / name.replace("@.", "@x.")
            said = output("systemd-analyze", "verify", "--man=no", unit)
            check(not said.strip(), f"systemd-analyze verify {name} {platform}: {said}")
            rate = ("systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={most}")
            text = output(*rate, Path(folder) / name)
            found = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
            check(found is not None, f"no exposure level in {text[-200:]}")
            rated.append(f"{name}{' on ' + platform if platform else ''} {found[1]}")  # type: ignore[index]
    return "exposure: " + ", ".join(rated)


def check_path() -> str:
    """Let systemd read the unit that waits for updates."""
    with tempfile.TemporaryDirectory() as folder:
        units(Path(folder), "")
        said = output("systemd-analyze", "verify", "--man=no", Path(folder) / "nightseg-update.path")
        check(not said.strip(), said)
    return "nightseg-update.path starts nightseg-update.service"


def check_backoff() -> str:
    """Allow nothing in the drop-in but keys of newer systemds."""
    with tempfile.TemporaryDirectory() as folder:
        units(Path(folder), "")
        drop_in = Path(folder) / "nightseg.service.d"
        drop_in.mkdir()
        shutil.copy(UNITS / "10-backoff.conf", drop_in)
        said = output("systemd-analyze", "verify", "--man=no", Path(folder) / "nightseg.service")
        bad = [line for line in said.splitlines() if not re.search("'Restart(Steps|MaxDelaySec)' in section", line)]
        check(not bad, "\n".join(bad))
    return f"{len(said.splitlines())} keys are newer than this systemd"


def check_user() -> str:
    """Make the user in an empty system."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "etc").mkdir()
        output("systemd-sysusers", f"--root={folder}", UNITS / "nightseg.sysusers")
        passwd, group = ((Path(folder) / "etc" / name).read_text() for name in ("passwd", "group"))
    check(re.search(r"^nightseg:.*nologin$", passwd, re.MULTILINE) is not None, passwd)
    for name in ("video", "render", "i2c", "gpio"):
        check(re.search(rf"^{name}:.*:nightseg$", group, re.MULTILINE) is not None, group)
    return "user nightseg, in video, render, i2c and gpio"


def debs() -> dict[str, Path]:
    """Return the newest package of each name in out/."""
    found: dict[str, Path] = {}
    machine = output("dpkg", "--print-architecture").strip()
    for file in sorted(OUT.glob("*.deb"), key=lambda f: f.stat().st_mtime):
        name, _, arch = file.stem.split("_")
        if arch in (machine, "all"):
            found[name] = file
    check({"nightseg", "nightseg-street-11"} <= set(found), f"not all packages are in out/: {sorted(found)}")
    return found


def check_contents() -> str:
    """Look into the packages."""
    told = []
    for name, file in debs().items():
        listed = output("dpkg-deb", "-c", file)
        paths = {line.split()[5] for line in listed.splitlines()}
        must = {
            "nightseg": {
                "./usr/bin/nightseg",
                "./usr/bin/nightseg-lamp",
                "./usr/lib/systemd/system/nightseg.service",
                "./usr/lib/systemd/system/nightseg-update.path",
                "./usr/lib/systemd/system/nightseg-update.service",
                "./etc/nightseg/update-keys.d/",
                "./usr/share/doc/nightseg/updates.md",
                "./usr/share/nightseg/bundles/synth-11/bundle.json",
                "./etc/nightseg/nightseg.yaml",
                "./usr/share/doc/nightseg/service.md",
                "./usr/share/doc/nightseg/copyright",
            },
            "nightseg-capture": {"./usr/bin/nightseg-capture"},
            "nightseg-street-11": {
                "./usr/share/nightseg/bundles/street-11/bundle.json",
                "./usr/share/doc/nightseg-street-11/copyright",
            },
        }[name]
        check(must <= paths, f"{name}: missing {must - paths}")
        check(all(" root/root " in line for line in listed.splitlines()), f"{name}: files that are not root's")
        check(not any("street-11" in p for p in paths) or name == "nightseg-street-11", f"{name} holds street-11")
        info = output("dpkg-deb", "-I", file)
        if name == "nightseg":
            check("/etc/nightseg/nightseg.yaml" in output("dpkg-deb", "-I", file, "conffiles"), "no conffile")
            check("libtbb" not in info, "depends on a library that it holds")
        told.append(f"{name} {file.stat().st_size / 1e6:.1f} MB")
    return ", ".join(told)


def check_lintian() -> str:
    """Let lintian look, where it is."""
    if shutil.which("lintian") is None:
        return skip("lintian", "it is not installed")
    for file in debs().values():
        output("lintian", "--allow-root", "--fail-on", "error,warning", file)
    return "no errors, no warnings"


def check_unpacked() -> str:
    """Run the program of the unpacked package."""
    with tempfile.TemporaryDirectory() as folder:
        output("dpkg-deb", "-x", debs()["nightseg"], folder)
        tree = Path(folder)
        done = output(
            tree / "usr/bin/nightseg", "replay", "synth://?seed=1&loop=4", "--frames", "20", "--rate", "max", "--json",
            "--lib-dir", tree / "usr/lib/nightseg", "--bundle", tree / "usr/share/nightseg/bundles/synth-11",
            "--cache-dir", tree / "cache", cwd=folder,
        )  # fmt: skip
        result = json.loads(done[done.index("{") :])
    check(result["frames"] == 20, f"{result['frames']} frames")
    return f"20 frames on {result['provider']}"


def check_installed() -> str:
    """Install, run, upgrade, remove and purge in an overlay."""
    if os.geteuid() != 0:
        return skip("install", "it takes root")
    base = tempfile.mkdtemp(prefix="nightseg-package-")
    inside = ["unshare", "--mount", "--pid", "--fork", sys.executable, ROOT / "scripts/package_overlay.py", base]
    try:
        done = subprocess.run(inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    finally:
        Path(base).rmdir()
    lines = done.stdout.strip().splitlines() or [""]
    if done.returncode == 77:
        return skip("install", lines[-1])
    check(done.returncode == 0, done.stdout)
    return lines[-1]


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def skip(step: str, why: str) -> str:
    """Say that a step is left out; scripts/test.sh looks for such lines."""
    say(f"skip {step}: {why}")
    return "skipped"


def main() -> int:
    """Run the steps."""
    failed = 0
    steps = [
        check_units, check_path, check_backoff, check_user, check_contents, check_lintian, check_unpacked,
        check_installed,
    ]  # fmt: skip
    for step in steps:
        name = step.__name__.removeprefix("check_")
        try:
            say(f"ok    {name:10} {step()}")
        except (FailedError, OSError) as e:
            failed += 1
            say(f"FAIL  {name:10} {e}")
    say(f"{len(steps) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
