#!/usr/bin/env python3
"""The packages of out/ in an overlay over this machine's own files: installed, run as the service would be, removed.

scripts/package.py starts it in a mount namespace, as root. There is no systemd at work in it: scripts/vm has that.
"""

from __future__ import annotations

import ctypes
import grp
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

from package import OUT, PATIENCE, UNITS, FailedError, check, debs, output, say

SETTINGS = """
device: car1
broker: {url: "mqtt://127.0.0.1:9"}
cameras:
  - {id: front, source: "synth://?seed=1&fps=5&loop=4&size=320x240"}
  - {id: gone, source: "v4l2:///dev/video99"}
"""


def inside(base: Path) -> int:
    """Install and run the packages in a namespace of their own."""
    try:
        output("mount", "--make-rprivate", "/")
        output("mount", "-t", "tmpfs", "-o", "mode=755", "package", base)
        upper, work, tree = (base / name for name in ("upper", "work", "tree"))
        for folder in (upper, work, tree):
            folder.mkdir()
        layers = f"lowerdir=/,upperdir={upper},workdir={work}"
        output("mount", "-t", "overlay", "overlay", "-o", layers, tree)
        output("mount", "--rbind", "/dev", tree / "dev")
        # As ProtectProc=invisible and ProtectKernelTunables=yes mount them.
        output("mount", "-t", "proc", "-o", "hidepid=invisible", "proc", tree / "proc")
        output("mount", "-t", "sysfs", "-o", "ro", "sysfs", tree / "sys")
        output("mount", "--bind", OUT, tree / "mnt")
    except FailedError as e:
        say(" ".join(str(e).split()))
        return 77
    say(life(tree, upper))
    return 0


def life(tree: Path, upper: Path) -> str:
    """Go through the life of an installation."""
    packages = debs()

    def within(*args: str) -> str:
        return output("chroot", str(tree), *args, cwd="/", env={"PATH": os.environ["PATH"], "HOME": "/root"})

    def dpkg(*args: str) -> None:
        within("dpkg", "--force-confold", *args)

    wants = tree / "etc/systemd/system/multi-user.target.wants/nightseg.service"
    dpkg("-i", *(f"/mnt/{file.name}" for file in packages.values()))
    check(not wants.is_symlink(), "installing enabled the service")
    version = within("nightseg", "--version")
    check(packages["nightseg"].name.split("_")[1] in version, version)
    within("nightseg", "config", "check", "/etc/nightseg/nightseg.yaml")
    for bundle in ("synth-11", "street-11"):
        done = within(
            "nightseg", "replay", "synth://?seed=1&loop=4", "--frames", "5", "--rate", "max", "--json", "--bundle",
            bundle,
        )  # fmt: skip
        result = json.loads(done[done.index("{") :])
        check(result["frames"] == 5, f"{bundle}: {done}")

    settings = tree / "etc/nightseg/nightseg.yaml"
    settings.write_text(SETTINGS)
    within("systemctl", "enable", "nightseg.service")
    check(wants.is_symlink(), "systemctl enable made no link")
    signs = as_service(tree)

    dpkg("-i", f"/mnt/{packages['nightseg'].name}")  # prerm upgrade, postinst configure VERSION
    check(settings.read_text() == SETTINGS, "an upgrade took the settings away")
    check(wants.is_symlink(), "an upgrade disabled the service")
    dpkg("--remove", *packages)
    check(not (tree / "usr/bin/nightseg").exists(), "the program is still there")
    check(settings.exists() and (tree / "var/lib/nightseg/last-good.yaml").exists(), "removal took settings or state")
    dpkg("--purge", *packages)
    left = sorted(leftovers(tree, upper))
    check(not left, f"left after purge: {left}")
    return f"installed, ready and alive ({signs} signs of life), upgraded, removed, purged: nothing is left"


def leftovers(tree: Path, upper: Path) -> list[str]:
    """Return what the layer over the machine's own files holds, but for dpkg's own and the user."""
    known = re.compile(
        r"(var/lib/(dpkg|systemd/deb-systemd-helper-enabled|systemd/deb-systemd-helper-masked)|var/log|var/cache/"
        r"(man|ldconfig|debconf)|tmp|run|root|dev|proc|sys|mnt|etc/ld\.so\.cache|var/lib/man-db"
        r"|etc/(passwd|group|shadow|gshadow|\.pwd\.lock|subuid|subgid)-?)(/|$)"
    )
    return [
        str(p.relative_to(upper))
        for p in upper.rglob("*")
        if not p.is_dir()
        and not known.match(str(p.relative_to(upper)))
        and (tree / p.relative_to(upper)).is_symlink() | (tree / p.relative_to(upper)).exists()
    ] + [
        str(p.relative_to(tree))
        for top in ("etc", "usr/lib", "usr/share", "var")
        for p in tree.glob(top + "/*/nightseg*")
    ]


def allowed_calls() -> list[str]:
    """Return the system calls that the unit allows."""

    def members(name: str) -> set[str]:
        if not name.startswith("@"):
            return {name}
        words = [line.strip() for line in output("systemd-analyze", "syscall-filter", name).splitlines()]
        return set().union(*(members(w) for w in words if w and w != name and not w.startswith("#")))

    calls = members("@default")
    for line in (UNITS / "nightseg.service").read_text().splitlines():
        key, _, value = line.partition("=")
        if key != "SystemCallFilter":
            continue
        named = set().union(*(members(w) for w in value.removeprefix("~").split()))
        calls = calls - named if value.startswith("~") else calls | named
    return sorted(calls)


def confine(tree: Path, calls: list[str]) -> None:
    """Become what the unit makes of the service: user, groups, no capabilities, few system calls."""
    libc, seccomp = ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    os.chroot(tree)
    os.chdir("/var/lib/nightseg")
    user = pwd.getpwnam("nightseg")
    os.setgroups([g.gr_gid for g in grp.getgrall() if "nightseg" in g.gr_mem])
    for cap in range(64):
        libc.prctl(24, cap, 0, 0, 0)  # PR_CAPBSET_DROP
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.umask(0o077)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    context = ctypes.c_void_p(seccomp.seccomp_init(0x00050001))  # EPERM
    for name in calls:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            seccomp.seccomp_rule_add(context, 0x7FFF0000, number, 0)
    if seccomp.seccomp_load(context) != 0:
        raise OSError("the filter of system calls could not be loaded")


def as_service(tree: Path) -> int:
    """Run the program as the unit does, without a broker, with one camera of two; return the signs of life."""
    uid, gid = (int(output("chroot", tree, "id", flag, "nightseg")) for flag in ("-u", "-g"))
    for folder in ("var/lib", "var/cache", "run"):
        path = tree / folder / "nightseg"
        path.mkdir(exist_ok=True)
        os.chown(path, uid, gid)
    calls = allowed_calls()
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tree / "run/notify"))
    (tree / "run/notify").chmod(0o777)
    notify.settimeout(PATIENCE)
    env = {
        "PATH": os.environ["PATH"], "NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "18000000",
        "STATE_DIRECTORY": "/var/lib/nightseg", "CACHE_DIRECTORY": "/var/cache/nightseg", "TMPDIR": "/run/nightseg",
        "GOTRACEBACK": "all",
    }  # fmt: skip
    service = subprocess.Popen(
        ["/usr/bin/nightseg", "run", "--config", "/etc/nightseg/nightseg.yaml"], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=lambda: confine(tree, calls),
    )  # fmt: skip
    heard: list[str] = []
    try:
        while sum(line == "WATCHDOG=1" for line in heard) < 6:
            heard += notify.recv(4096).decode().splitlines()
        service.send_signal(signal.SIGTERM)
        said, _ = service.communicate(timeout=PATIENCE)
    except TimeoutError:
        service.kill()
        raise FailedError(f"the service is silent; told: {heard}; wrote: {service.communicate()[0]}") from None
    notify.setblocking(False)
    try:
        while True:
            heard += notify.recv(4096).decode().splitlines()
    except BlockingIOError:
        pass
    check(service.returncode == 0, f"exit code {service.returncode}: {said}")
    for line in ("READY=1", "STOPPING=1"):
        check(line in heard, f"{line} was not told, but {heard}")
    check(any("camera gone" in line for line in heard), f"the lost camera was not told, but {heard}")
    check("ERROR" not in said, said)
    return heard.count("WATCHDOG=1")


if __name__ == "__main__":
    sys.exit(inside(Path(sys.argv[1])))
