#!/usr/bin/env python3
"""The units and the packages: looked at, and installed, run as the service would be, upgraded, removed and purged.

The packages of out/ are installed in an overlay over this machine's own files, in a mount namespace: nothing of it
stays. That takes root; without it the package is only unpacked. There is no systemd at work in it: what a booted
systemd does beside user, groups, capabilities, system calls, /proc and directories is not tried.
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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
SETTINGS = """
device: car1
broker: {url: "mqtt://127.0.0.1:9"}
cameras:
  - {id: front, source: "synth://?seed=1&fps=5&loop=4&size=320x240"}
  - {id: gone, source: "v4l2:///dev/video99"}
"""


class FailedError(Exception):
    """A check that did not hold."""


def check(holds: bool, what: str) -> None:
    """Fail with what was expected."""
    if not holds:
        raise FailedError(what)


def output(*args: str | Path, **kwargs: object) -> str:
    """Run a program to its end; return what it wrote, errors too."""
    done = subprocess.run(
        args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False, **kwargs
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
    inside = ["unshare", "--mount", "--pid", "--fork", sys.executable, __file__, "--inside", base]
    try:
        done = subprocess.run(inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    finally:
        Path(base).rmdir()
    lines = done.stdout.strip().splitlines() or [""]
    if done.returncode == 77:
        return skip("install", lines[-1])
    check(done.returncode == 0, done.stdout)
    return lines[-1]


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
    settings.write_text(SETTINGS)
    within("systemctl", "enable", "nightseg.service")
    wants = tree / "etc/systemd/system/multi-user.target.wants/nightseg.service"
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
        command("nightseg-update.service"), env={"PATH": os.environ["PATH"]}, text=True, timeout=PATIENCE,
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
    if sys.argv[1:2] == ["--inside"]:
        return inside(Path(sys.argv[2]))
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
