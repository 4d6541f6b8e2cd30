"""The phase of faults: a hung and a killed process, a camera that is unplugged, a broker that is gone, a reboot."""

from __future__ import annotations

import time

from install import INSTALLED
from machine import check
from session import SETTINGS, STATE, UNIT, Session


def run(s: Session) -> None:
    """Do harm to the running service."""
    s.step("boot", s.boot, INSTALLED, "faults")
    s.step("start", start, s)
    s.step("kill -9", killed, s)
    s.step("a hung process (SIGSTOP): watchdog", hung, s)
    s.step("camera unplugged and plugged in", camera, s)
    s.step("broker gone and back", broker, s)
    s.step("settings file damaged", damaged, s, "cameras: [{id: front, source")
    s.step("settings file empty, as after a save that was cut short", damaged, s, "")
    s.step("reboot", reboot, s)
    s.vm.off()


def start(s: Session) -> str:
    """Start the service, enabled."""
    s.vm.sh(f"systemctl enable --now {UNIT}", 300)
    return f"masks after {s.masks():.0f} s"


def back(s: Session, begin: float, restarts: int, runs: set[str]) -> str:
    """Wait until systemd has restarted the service once, and masks of the new run come."""
    s.vm.wait("a restart", lambda: s.restarts() == restarts + 1 and s.pid() != 0, 120)
    first = s.new_run(runs, begin)
    check(s.show("ActiveState")["ActiveState"] == "active", "not active")
    return f"masks again {first:.0f} s after it"


def steady(s: Session) -> None:
    """Wait until the fault before is over: masks come, and nothing is wrong."""
    s.vm.wait("running", lambda: s.show("StatusText")["StatusText"].startswith("running"), 180)
    s.masks()


def killed(s: Session) -> str:
    """Kill the process."""
    steady(s)
    pid, restarts, runs, begin = s.pid(), s.restarts(), set(s.broker.heard.runs), time.monotonic()
    s.vm.sh(f"kill -9 {pid}")
    s.state("offline", 30, begin)  # the will
    said = back(s, begin, restarts, runs)
    check(s.pid() != pid, "the same process")
    s.state("online", 60)
    return f"the broker told the will (offline); {said}"


def hung(s: Session) -> str:
    """Stop the process, as a machine check or a debugger would: only systemd's watchdog can notice."""
    steady(s)
    pid, restarts, runs, begin = s.pid(), s.restarts(), set(s.broker.heard.runs), time.monotonic()
    uptime = s.vm.uptime()
    s.vm.sh(f"kill -STOP {pid}")
    said = back(s, begin, restarts, runs)
    log = s.vm.sh(f"journalctl -u {UNIT} -o short-monotonic -b | grep -i 'watchdog timeout'").splitlines()[-1]
    after = float(log.split("]")[0].strip("[ ")) - uptime
    check("limit 45s" in log and after < 50, f"{after:.0f} s: {log}")
    stacks = int(s.vm.sh(f"journalctl -u {UNIT} -o cat -b | grep -c '^goroutine '"))
    check(stacks > 5, f"{stacks} stacks in the journal")
    return f"ended by systemd {after:.0f} s after SIGSTOP (WatchdogSec=45), {stacks} stacks in the journal; {said}"


def camera(s: Session) -> str:
    """Take the camera from its driver while it is read, wait, and give it back."""
    steady(s)
    pid, restarts, begin = s.pid(), s.restarts(), time.monotonic()
    s.vm.sh("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind; test ! -e /dev/video0")
    status = s.state("degraded", 60, begin)
    told = time.monotonic() - begin
    check("front" in status["reason"], str(status))
    s.vm.wait("the STATUS line", lambda: "degraded" in s.show("StatusText")["StatusText"], 60)
    time.sleep(60)  # longer than WatchdogSec: nothing of this may trip it
    s.same(pid, restarts)
    begin = time.monotonic()
    s.vm.sh("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind")
    first = s.masks(begin=begin)
    s.state("online", 60, begin)
    s.same(pid, restarts)
    return f"degraded after {told:.1f} s ({status['reason'][:90]}); back: masks after {first:.1f} s, the same process"


def broker(s: Session) -> str:
    """End the broker, wait, and start an empty one."""
    steady(s)
    pid, restarts = s.pid(), s.restarts()
    s.broker.stop()
    begin = time.monotonic()
    s.vm.wait("degraded", lambda: "degraded: broker" in s.show("StatusText")["StatusText"], 60)
    told, text = time.monotonic() - begin, s.show("StatusText")["StatusText"]
    time.sleep(60)
    s.same(pid, restarts)
    s.broker.start()
    begin = time.monotonic()
    first = s.masks(begin=begin, limit=120)
    s.state("online", 60)
    check("classes" in s.broker.json("meta"), "no meta at the new broker")
    steady(s)
    s.same(pid, restarts)
    s.vm.wait("masks of the outage", lambda: len(s.broker.heard.history) >= 5, 120)
    kept = [seq for _, seq in s.broker.heard.history]
    return (
        f"STATUS after {told:.0f} s: {text[:80]}; back: masks after {first:.1f} s, the same process; "
        f"{len(kept)} masks of the outage came so far"
    )


def damaged(s: Session, text: str) -> str:
    """Start with a settings file that is no good: the last good ones must be in force."""
    good = s.settings()
    s.vm.wait("the last good settings", lambda: s.vm.code(f"cat {STATE}/last-good.yaml")[1] == good, 120)
    begin = time.monotonic()
    s.vm.sh(f"printf %s '{text}' >{SETTINGS} && systemctl restart {UNIT}", 300)
    try:
        status = s.state("degraded", 60, begin)
        check("settings" in status["reason"], str(status))
        s.masks(begin=begin)
        reported = s.broker.json("config/reported")
        check(reported["source"] == "last-good", f"in force: {reported['source']}")
        check(s.vm.sh(f"cat {STATE}/last-good.yaml") == good, "the last good settings were changed")
    finally:
        s.write(SETTINGS, s.settings())
    begin = time.monotonic()
    s.vm.sh(f"systemctl restart {UNIT}", 300)
    s.masks(begin=begin)
    s.state("online", 60, begin)
    return f"degraded ({status['reason'][:80]}), masks with the last good settings"


def reboot(s: Session) -> str:
    """Boot anew: the enabled service comes up by itself."""
    boots = s.vm.sh("journalctl --list-boots | wc -l")
    runs, begin = set(s.broker.heard.runs), time.monotonic()
    s.vm.reboot()
    took = s.new_run(runs, begin, 300)
    first = s.vm.uptime() - (time.monotonic() - begin - took)
    s.vm.wait("ready", lambda: s.show("ActiveState")["ActiveState"] == "active", 60)
    restarts = s.restarts()
    check(restarts == 0, f"{restarts} restarts")
    check(s.vm.sh("journalctl --list-boots | wc -l") != boots, "the same boot")
    times = s.show("ActiveEnterTimestampMonotonic", "ExecMainStartTimestampMonotonic")
    began, ready = (int(times[k]) / 1e6 for k in ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"))
    return f"from the kernel's start: process {began:.0f} s, ready {ready:.0f} s, first mask outside {first:.0f} s"
