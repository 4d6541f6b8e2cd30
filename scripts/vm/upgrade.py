"""The phase of the packages' later life: upgraded while the service runs, removed, installed again, purged."""

from __future__ import annotations

import time

from install import INSTALLED
from machine import check
from session import SETTINGS, STATE, UNIT, Session

APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0"
NAMES = "nightseg nightseg-capture nightseg-street-11"


def run(s: Session) -> None:
    """Upgrade, remove, purge."""
    s.step("boot", s.boot, INSTALLED, "upgrade")
    s.step("upgrade of a stopped service leaves it stopped", stopped, s)
    s.step("upgrade of a running service", upgrade, s)
    s.step("remove keeps settings and state", remove, s)
    s.step("installed again: as it was", again, s)
    s.step("purge", purge, s)
    s.vm.off()


def install(s: Session, which: str) -> None:
    """Install a version."""
    s.vm.sh(f"{APT} install " + " ".join(f"/mnt/out/{p.name}" for p in s.packages[which]), 600)


def version(s: Session, which: str) -> str:
    """Return a version's number."""
    return s.packages[which][0].name.split("_")[1]


def stopped(s: Session) -> str:
    """Install the same version once more while the service is off."""
    s.vm.sh(f"{APT} install --reinstall /mnt/out/{s.packages['old'][0].name}", 600)
    check(s.vm.code(f"systemctl is-enabled {UNIT}")[1].strip() == "disabled", "enabled")
    check(s.vm.code(f"systemctl is-active {UNIT}")[1].strip() == "inactive", "not inactive")
    return "disabled and inactive, as before"


def upgrade(s: Session) -> str:
    """Install the newer version over the running one."""
    s.vm.sh(f"systemctl enable --now {UNIT}", 300)
    s.masks()
    pid, meta = s.pid(), s.broker.json("meta")
    check(version(s, "old") in str(meta), f"meta does not tell the version {version(s, 'old')}")
    settings = s.vm.sh(f"cat {SETTINGS}")
    runs, begin = set(s.broker.heard.runs), time.monotonic()
    install(s, "new")
    told = s.vm.sh("nightseg --version").strip()
    check(version(s, "new") in told, told)
    s.new_run(runs, begin)
    check(s.pid() not in (0, pid), "the old process still runs")
    check(version(s, "new") in str(s.broker.json("meta")), "meta tells the old version")
    check(s.vm.sh(f"cat {SETTINGS}") == settings, "the settings were changed")
    check(s.vm.code(f"systemctl is-enabled {UNIT}")[1].strip() == "enabled", "not enabled any more")
    left = s.vm.sh("find /etc/nightseg -name '*.dpkg-*'").strip()
    check(not left, f"dpkg left {left}")
    gap = max(b - a for a, b in zip(s.broker.heard.masks, s.broker.heard.masks[1:], strict=False) if b > begin)
    return f"{told}, restarted by apt, settings kept, enabled; {gap:.1f} s without masks"


def remove(s: Session) -> str:
    """Remove the packages while the service runs."""
    s.vm.sh(f"{APT} remove {NAMES}", 300)
    s.state("stopped", 30)
    check(s.vm.code("pgrep -l nightseg")[0] == 1, "a process is left")
    s.vm.sh(f"test ! -e /usr/bin/nightseg && test ! -e /usr/lib/systemd/system/{UNIT}.service")
    s.vm.sh(f"test -s {SETTINGS} && test -s {STATE}/last-good.yaml")
    load = s.show("LoadState")["LoadState"]
    check(load == "masked", f"the unit is {load}, not masked: Debian's packages mask one until it is installed again")
    return "status stopped, no process; the unit is masked; settings and last good settings are there"


def again(s: Session) -> str:
    """Install after a removal: what was enabled is enabled, and settings are those from before."""
    install(s, "new")
    check(s.vm.code(f"systemctl is-enabled {UNIT}")[1].strip() == "enabled", "not enabled")
    begin = time.monotonic()
    s.vm.sh(f"systemctl start {UNIT}", 300)
    return f"enabled, masks after {s.masks(begin=begin):.0f} s with the settings from before"


def purge(s: Session) -> str:
    """Purge while the service runs; nothing of it is left but the user."""
    s.vm.sh("systemctl enable nightseg-lamp nightseg-update.path")
    s.vm.sh(f"{APT} purge {NAMES}", 300)
    left = s.vm.sh(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /srv -o -path /var/log/journal -o -path /mnt \\) -prune "
        "-o -name '*nightseg*' -print -o -user nightseg -print",
        300,
    ).split()
    left = [name for name in left if not name.startswith(("/var/lib/apt/", "/var/cache/apt/", "/run/", "/tmp/"))]
    check(not left, f"left: {left}")
    check(s.vm.code("pgrep -l nightseg")[0] == 1, "a process is left")
    s.vm.sh("getent passwd nightseg")
    s.vm.sh('apt-get -q check; test -z "$(dpkg --audit)"', 120)
    failed = s.vm.sh("systemctl --failed --no-legend --plain; ls /etc/systemd/system /etc/systemd/system/*.wants")
    check("nightseg" not in failed, failed)
    return "no file, link, unit or process is left; the user is, on purpose"
