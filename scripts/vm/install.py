"""The phase that installs the packages; the disk that it leaves is what the other phases start from."""

from __future__ import annotations

import json
import re

from machine import CACHE, check
from session import BUNDLE, SETTINGS, Session

INSTALLED = CACHE / "disks/install.qcow2"


def run(s: Session) -> None:
    """Install; leave the machine off."""
    s.step("boot", s.boot, CACHE / "base.qcow2", "install")
    s.step("camera", camera, s)
    s.step("apt installs the packages and what they need", install, s)
    s.step("nothing enabled, nothing started", quiet, s)
    s.step("user, groups, rights of the camera", rights, s)
    s.step("settings", settings, s)
    s.step("doctor", doctor, s)
    s.vm.off()


def camera(s: Session) -> str:
    """Give the machine a camera that the kernel makes up."""
    s.vm.sh(
        "echo vivid >/etc/modules-load.d/vivid.conf\n"
        "echo options vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0 >/etc/modprobe.d/vivid.conf\n"
        "modprobe vivid"
    )
    s.vm.wait("/dev/video0", lambda: s.vm.code("test -c /dev/video0")[0] == 0, 60)
    return "vivid, a V4L2 driver without hardware: " + s.vm.sh("cat /sys/class/video4linux/video0/name")


def install(s: Session) -> str:
    """Let apt install the packages from files, and their dependencies from its sources."""
    files = " ".join(f"/mnt/out/{p.name}" for p in s.packages["old"])
    s.vm.sh("apt-get -q update", 120)
    said = s.vm.sh(f"DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 install {files}", 600)
    found = re.search(r"NEW packages will be installed:\n((?: .*\n)+)", said)
    check(found is not None, said)
    new = set(found[1].split())  # type: ignore[index]
    check({"nightseg", "nightseg-capture", "nightseg-street-11"} <= new, f"installed: {new}")
    others = sorted(new - {"nightseg", "nightseg-capture", "nightseg-street-11"})
    check(bool(others), "apt had no dependency to resolve")
    s.vm.sh('apt-get -q check; test -z "$(dpkg --audit)"', 120)
    ldd = s.vm.sh("ldd /usr/bin/nightseg /usr/bin/nightseg-capture /usr/lib/nightseg/*.so*", 120)
    check("not found" not in ldd, ldd)
    version = s.vm.sh("nightseg --version").strip()
    check(s.packages["old"][0].name.split("_")[1] in version, version)
    return f"{version}; with {', '.join(others)} from apt's sources; all shared libraries are found"


def quiet(s: Session) -> str:
    """Hold that installing neither enables nor starts anything."""
    for unit in ("nightseg", "nightseg-lamp", "nightseg-update.path"):
        check(s.vm.code(f"systemctl is-enabled {unit}")[1].strip() == "disabled", f"{unit} is enabled")
    for unit in ("nightseg", "nightseg-lamp", "nightseg-update.path", "nightseg-update", "nightseg-replay@x"):
        check(s.vm.code(f"systemctl is-active {unit}")[1].strip() == "inactive", f"{unit} is not inactive")
    check(s.vm.code("pgrep -l nightseg")[0] == 1, "a program of ours runs")
    failed = s.vm.sh("systemctl --failed --no-legend --plain")
    check(not failed.strip(), f"failed units: {failed}")
    return "disabled, inactive, no process; no unit of the machine has failed"


def rights(s: Session) -> str:
    """Look at user, groups and device node as the package's sysusers and udev files make them."""
    user = s.vm.sh("id nightseg; getent passwd nightseg").strip()
    check("(video)" in user and "(render)" in user and user.endswith("nologin"), user)
    node = s.vm.sh("stat -c '%G %a' /dev/video0").strip()
    check(node == "video 660", f"/dev/video0: {node}")
    # The rule of the package, not that of the distribution, must be enough.
    rules = s.vm.sh("udevadm test $(udevadm info -q path /dev/video0) 2>&1 | grep 70-nightseg.rules")
    check("GROUP" in rules, rules)
    return f"{user.splitlines()[0]}; /dev/video0 is of group video, mode 660"


def settings(s: Session) -> str:
    """Write the settings, and the small networks for emulated processors."""
    s.vm.sh(f"mkdir -p {BUNDLE} && cp -r /mnt/out/vm/tiny/. {BUNDLE} && chmod -R a+rX {BUNDLE}")
    s.write(SETTINGS, s.settings())
    s.vm.sh(f"nightseg config check {SETTINGS}")
    owner = s.vm.sh(f"stat -c '%U:%G %a' {SETTINGS} /etc/nightseg").split("\n")
    return f"{SETTINGS} checked; {owner[0]}"


def doctor(s: Session) -> str:
    """Let doctor look at the machine, with the broker there and away."""
    ask = f"nightseg doctor --json --config {SETTINGS} 2>/dev/null"
    code, text = s.vm.code(ask, 600)
    report = json.loads(text[text.index("{") :])
    found = {c["name"]: c for c in report["checks"]}
    failed = [c for c in report["checks"] if c["state"] == "FAIL"]
    check(code == 0 and not failed, f"exit code {code}; {failed}")
    check("/dev/video0" in found["service"]["text"] and found["service"]["state"] == "ok", str(found["service"]))
    check("/dev/video0" in found["cameras"]["text"], str(found["cameras"]))
    check(found["broker"]["state"] == "ok", str(found["broker"]))
    check(found["jpeg"]["state"] == "ok" and found["capture"]["state"] == "ok", f"{found['jpeg']}, {found['capture']}")
    s.broker.stop()
    code, text = s.vm.code(ask, 600)
    away = {c["name"]: c for c in json.loads(text[text.index("{") :])["checks"]}["broker"]
    s.broker.start()
    check(code == 1 and away["state"] == "FAIL", f"without a broker: exit code {code}, {away}")
    warned = [f"{c['name']} ({c['text']})" for c in report["checks"] if c["state"] == "warn"]
    return f"{len(found)} checks, none failed; warnings: {', '.join(warned) or 'none'}; the broker away: exit code 1"
