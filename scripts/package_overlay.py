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
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

    dpkg("-i", *(f"/mnt/{file.name}" for file in packages.values()))
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
    wants = tree / "etc/systemd/system/multi-user.target.wants/nightseg.service"
    settings.write_text(SETTINGS)
    check(not wants.is_symlink(), "installing enabled the service")
    within("systemctl", "enable", "nightseg.service")
    check(wants.is_symlink(), "systemctl enable made no link")
    signs = as_service(tree)
    told = updated(tree, within, packages["nightseg"])
    settings.write_text(SETTINGS)

    dpkg("-i", f"/mnt/{packages['nightseg'].name}")  # prerm upgrade, postinst configure VERSION
    check(settings.read_text() == SETTINGS, "an upgrade took the settings away")
    check(wants.is_symlink(), "an upgrade disabled the service")
    dpkg("--remove", *packages)
    check(not (tree / "usr/bin/nightseg").exists(), "the program is still there")
    check(settings.exists() and (tree / "var/lib/nightseg/last-good.yaml").exists(), "removal took settings or state")
    dpkg("--purge", *packages)
    left = sorted(leftovers(tree, upper))
    check(not left, f"left after purge: {left}")
    return f"installed, ready and alive ({signs} signs of life), {told}, upgraded, removed, purged: nothing is left"


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


def command(unit: str) -> list[str]:
    """Return what a unit starts."""
    found = re.search(r"^ExecStart=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)
    check(found is not None, f"{unit} starts nothing")
    return found[1].split()  # type: ignore[index]


def allowed_calls(unit: str) -> list[str]:
    """Return the system calls that a unit allows."""

    def members(name: str) -> set[str]:
        if not name.startswith("@"):
            return {name}
        words = [line.strip() for line in output("systemd-analyze", "syscall-filter", name).splitlines()]
        return set().union(*(members(w) for w in words if w and w != name and not w.startswith("#")))

    calls = members("@default")
    for line in (UNITS / unit).read_text().splitlines():
        key, _, value = line.partition("=")
        if key != "SystemCallFilter":
            continue
        named = set().union(*(members(w) for w in value.removeprefix("~").split()))
        calls = calls - named if value.startswith("~") else calls | named
    return sorted(calls)


def confine(tree: Path, calls: list[str], root: bool = False) -> None:
    """Become what a unit makes of its program: user, groups, no capabilities, few system calls.

    The root is that of nightseg-update.service: it keeps one capability.
    """
    libc, seccomp = ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    os.chroot(tree)
    os.chdir("/var/lib/nightseg")
    user = pwd.getpwnam("nightseg")
    os.setgroups([] if root else [g.gr_gid for g in grp.getgrall() if "nightseg" in g.gr_mem])
    for cap in range(64):
        if not root or cap != 1:  # CAP_DAC_OVERRIDE
            libc.prctl(24, cap, 0, 0, 0)  # PR_CAPBSET_DROP
    os.setgid(user.pw_gid)
    if not root:
        os.setuid(user.pw_uid)
    os.umask(0o027 if root else 0o077)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    context = ctypes.c_void_p(seccomp.seccomp_init(0x00050001))  # EPERM
    for name in calls:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            seccomp.seccomp_rule_add(context, 0x7FFF0000, number, 0)
    if seccomp.seccomp_load(context) != 0:
        raise OSError("the filter of system calls could not be loaded")


def begin(tree: Path) -> tuple[subprocess.Popen[str], socket.socket]:
    """Start the service as its unit does; return it, and the socket on which it tells how it is."""
    uid, gid = (int(output("chroot", tree, "id", flag, "nightseg")) for flag in ("-u", "-g"))
    for folder in ("var/lib", "var/cache", "run"):
        path = tree / folder / "nightseg"
        path.mkdir(exist_ok=True)
        os.chown(path, uid, gid)
    calls = allowed_calls("nightseg.service")
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    (tree / "run/notify").unlink(missing_ok=True)
    notify.bind(str(tree / "run/notify"))
    (tree / "run/notify").chmod(0o777)
    notify.settimeout(PATIENCE)
    env = {
        "PATH": os.environ["PATH"], "NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "18000000",
        "STATE_DIRECTORY": "/var/lib/nightseg", "CACHE_DIRECTORY": "/var/cache/nightseg", "TMPDIR": "/run/nightseg",
        "GOTRACEBACK": "all",
    }  # fmt: skip
    service = subprocess.Popen(
        command("nightseg.service"), env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: confine(tree, calls),
    )  # fmt: skip
    return service, notify


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        check(time.monotonic() < end, f"waited in vain: {what}")
        time.sleep(0.5)


def updated(tree: Path, within: Callable[..., str], package: Path) -> str:
    """Bring a newer package as an update, then one that does not work, which must be taken back."""
    home = tree / "root"
    within("nightseg", "update", "keygen", "/root/maker", "--no-password")
    shutil.move(home / "maker.pub", tree / "etc/nightseg/update-keys.d/maker.pub")
    settings = SETTINGS.replace('"mqtt://127.0.0.1:9"', 'embedded, listen: "127.0.0.1:18842"')
    (tree / "etc/nightseg/nightseg.yaml").write_text(settings)

    def status() -> dict[str, Any]:
        return json.loads(within("nightseg", "update", "status", "--json"))  # type: ignore[no-any-return]

    def bring(version: str, change: Callable[[Path], None]) -> None:
        work = home / "work"
        within("dpkg-deb", "-R", f"/mnt/{package.name}", "/root/work")
        change(work)
        control = work / "DEBIAN/control"
        control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text()))
        within("dpkg-deb", "--root-owner-group", "-Znone", "-b", "/root/work", "/root/new.deb")
        shutil.rmtree(work)
        within("nightseg", "update", "sign", "/root/new.deb", "--key", "/root/maker", "--out", "/tmp/new.nsup")
        (tree / "tmp/new.nsup").chmod(0o644)
        within("runuser", "-u", "nightseg", "--", "nightseg", "update", "stage", "/tmp/new.nsup")
        apply(tree)

    bring("99.1", lambda _: None)
    check(status()["slots"]["a"]["version"] == "99.1", f"after apply: {status()}")
    service, notify = begin(tree)
    until(lambda: any(t["good"] for t in status()["trials"]) or service.poll() is not None, "99.1 proves itself")
    exe = (tree / f"proc/{service.pid}/exe").readlink()
    service.send_signal(signal.SIGTERM)
    said, _ = service.communicate(timeout=PATIENCE)
    check(service.returncode == 0 and str(exe).endswith("nightseg-slots/a/usr/bin/nightseg"), f"{exe}: {said}")

    def broken(work: Path) -> None:
        shutil.rmtree(work / "usr/lib/nightseg")
        (work / "usr/bin/nightseg").write_text("#!/bin/sh\nexit 7\n")

    bring("99.2", broken)
    for _ in range(3):
        notify.close()
        service, notify = begin(tree)
        said, _ = service.communicate(timeout=PATIENCE)
        check(service.returncode == 7, f"99.2 was not tried: {said}")
    notify.close()
    service, notify = begin(tree)
    until(lambda: status()["job"]["state"] == "returned" or service.poll() is not None, "99.2 is taken back")
    exe = (tree / f"proc/{service.pid}/exe").readlink()
    service.send_signal(signal.SIGTERM)
    said, _ = service.communicate(timeout=PATIENCE)
    notify.close()
    now = status()["in_force"]
    check(now == "nightseg@99.1" and "/a/" in str(exe), f"{now}, {exe}: {said}")
    for name in ("new.deb", "maker"):
        (home / name).unlink()
    return "updated to 99.1, which was kept, and to 99.2, which was taken back"


def apply(tree: Path) -> None:
    """Install an update, as nightseg-update.service does."""
    gid = int(output("chroot", tree, "id", "-g", "nightseg"))
    slots = tree / "var/lib/nightseg-slots"
    slots.mkdir(mode=0o750, exist_ok=True)
    os.chown(slots, 0, gid)
    calls = allowed_calls("nightseg-update.service")
    done = subprocess.run(
        command("nightseg-update.service"),
        env={"PATH": os.environ["PATH"], "STATE_DIRECTORY": "/var/lib/nightseg-slots"}, text=True, timeout=PATIENCE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        preexec_fn=lambda: confine(tree, calls, root=True),
    )  # fmt: skip
    check(done.returncode == 0, f"apply: exit code {done.returncode}: {done.stdout}")


def as_service(tree: Path) -> int:
    """Run the program as the unit does, without a broker, with one camera of two; return the signs of life."""
    service, notify = begin(tree)
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
    notify.close()
    return heard.count("WATCHDOG=1")


if __name__ == "__main__":
    sys.exit(inside(Path(sys.argv[1])))
