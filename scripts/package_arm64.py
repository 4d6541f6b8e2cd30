#!/usr/bin/env python3
"""The arm64 package, made on another machine: looked into, and its program run on an emulated processor.

`make e2e-arm64` builds it first. The libraries of the C and C++ run time are those of Debian's cross compiler.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import tempfile
from pathlib import Path

from package import OUT, ROOT, FailedError, check, output, say

SYSROOT = "/usr/aarch64-linux-gnu"
AARCH64 = 183  # e_machine of ELF
# What a package of Debian brings, and the newest symbols of the version that the package asks for.
BRINGS = {
    "libc6": {"libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "ld-linux-aarch64.so.1"},
    "libstdc++6": {"libstdc++.so.6"},
    "libgcc-s1": {"libgcc_s.so.1"},
}
NEWEST = {
    "GLIBC": ("libc6", {"2.34": (2, 34)}),
    "GLIBCXX": ("libstdc++6", {"11": (3, 4, 29)}),
}


def package() -> Path:
    """Return the newest arm64 package of the service."""
    found = sorted(OUT.glob("nightseg_*_arm64.deb"), key=lambda f: f.stat().st_mtime)
    check(bool(found), "there is no arm64 package in out/: make deb ARCH=arm64")
    return found[-1]


def programs(tree: Path) -> list[Path]:
    """Return all ELF files."""
    files = (f for f in tree.rglob("*") if f.is_file() and not f.is_symlink())
    return sorted(f for f in files if f.open("rb").read(4) == b"\x7fELF")


def check_machine(tree: Path) -> str:
    """Hold that all programs and libraries are of the machine."""
    found = programs(tree)
    for file in found:
        head = file.open("rb").read(20)
        machine = struct.unpack_from("<H", head, 18)[0]
        check(head[4] == 2 and machine == AARCH64, f"{file.relative_to(tree)}: ELF machine {machine}")
    names = {f.name for f in found}
    check("nightseg" in names and any(n.startswith("libonnxruntime.so") for n in names), f"only {names}")
    check(not any("openvino" in n for n in names), f"OpenVINO, which the wheel for arm64 does not have: {names}")
    check(output("dpkg-deb", "-f", package(), "Architecture").strip() == "arm64", "Architecture is not arm64")
    return f"{len(found)} programs and libraries, all aarch64"


def check_depends(tree: Path) -> str:
    """Hold that what the programs need is in the package, or in those that it depends on."""
    depends = dict(re.findall(r"(\S+) \(>= ([^)]+)\)", output("dpkg-deb", "-f", package(), "Depends")))
    own = {f.name for f in tree.rglob("*.so*")}
    needed: set[str] = set()
    newest: dict[str, tuple[int, ...]] = {}
    for file in programs(tree):
        text = output("aarch64-linux-gnu-readelf", "-dV", "--wide", file)
        needed |= set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.+?)\]", text))
        for kind, number in re.findall(r"Name: (GLIBC|GLIBCXX)_([\d.]+)", text):
            newest[kind] = max(newest.get(kind, ()), tuple(map(int, number.split("."))))
    missing = needed - own - set().union(*(libs for name, libs in BRINGS.items() if name in depends))
    check(not missing, f"nothing that it depends on brings {missing}; Depends: {depends}")
    for kind, (name, known) in NEWEST.items():
        check(depends.get(name) in known, f"{name} (>= {depends.get(name)}): this check knows {list(known)}")
        check(newest[kind] <= known[depends[name]], f"{kind}_{newest[kind]} is newer than {name} {depends[name]}")
    return f"{len(needed)} libraries, symbols up to {newest}: within {depends}"


def run(tree: Path, *args: str | Path) -> str:
    """Run the program on an emulated processor."""
    qemu = ("qemu-aarch64-static", "-L", SYSROOT)
    return output(*qemu, tree / "usr/bin/nightseg", *args, patience=3600)


def check_version(tree: Path) -> str:
    """Hold that the program starts, and knows its version."""
    said = run(tree, "--version").strip()
    check(package().name.split("_")[1] in said, said)
    return said


def flags(tree: Path, bundle: Path) -> tuple[str | Path, ...]:
    """Return where the unpacked package has what the program would find by itself when installed."""
    return (
        "--lib-dir",
        tree / "usr/lib/nightseg",
        "--bundle",
        bundle,
        "--cache-dir",
        tree / "cache",
        "--provider",
        "cpu",
    )


def check_doctor(tree: Path) -> str:
    """Let doctor look at the emulated machine."""
    said = run(tree, "doctor", "--json", *flags(tree, ROOT / "model/testdata/tiny"))
    found = {c["name"]: c for c in json.loads(said[said.index("{") :])["checks"]}
    check("arm64" in found["program"]["text"], str(found["program"]))
    for name in ("onnxruntime", "bundle", "engine"):
        check(found[name]["state"] != "FAIL", str(found[name]))
    check(found["jpeg"]["state"] == "warn", str(found["jpeg"]))
    return str(found["program"]["text"])


def check_replay(tree: Path) -> str:
    """Play a synthetic drive through the loop, with small networks."""
    bundle = flags(tree, ROOT / "model/testdata/tiny")
    said = run(tree, "replay", "synth://?seed=1&loop=4", "--frames", "20", "--rate", "max", "--json", *bundle)
    result = json.loads(said[said.index("{") :])
    check(result["frames"] == 20 and result["provider"] == "cpu", said)
    return "20 frames"


def check_synth11(tree: Path) -> str:
    """Replay the golden vectors of the package's own networks: these processors compute what they should."""
    where = tree / "usr/share/nightseg/bundles/synth-11"
    lib = ("--lib-dir", tree / "usr/lib/nightseg", "--cache-dir", tree / "cache")
    said = run(tree, "bundle", "verify", where, "--provider", "cpu", "--precision", "int8", *lib)
    held = [line.strip() for line in said.splitlines() if "onnxruntime cpu " in line]
    check(len(held) == 1 and held[0].startswith("holds"), said)
    return held[0]


def main() -> int:
    """Run the checks on the unpacked package."""
    failed = 0
    steps = [check_machine, check_depends, check_version, check_doctor, check_replay, check_synth11]
    with tempfile.TemporaryDirectory() as folder:
        output("dpkg-deb", "-x", package(), folder)
        for step in steps:
            name = step.__name__.removeprefix("check_")
            try:
                say(f"ok    {name:10} {step(Path(folder))}")
            except (FailedError, OSError, ValueError, KeyError) as e:
                failed += 1
                say(f"FAIL  {name:10} {e}")
    say(f"{len(steps) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
