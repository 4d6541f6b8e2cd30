"""The phase that looks at the running service: ready, masks outside, what the sandbox really allows, the journal."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

from install import INSTALLED
from machine import OUT, check
from session import STATE, UNIT, Session

CGROUP = f"/sys/fs/cgroup/system.slice/{UNIT}.service"
EXPOSURE = 1.8  # the most that systemd-analyze may find


def run(s: Session) -> None:
    """Start the service, look at it, leave the machine off."""
    s.step("boot", s.boot, INSTALLED, "service")
    s.step("enable --now, Type=notify", start, s)
    s.step("masks at a subscriber outside", masks, s)
    s.step("nightseg watch parses them", watch, s)
    s.step("STATUS line", status, s)
    s.step("user, capabilities, system calls", confined, s)
    s.step("devices: DevicePolicy=closed", devices, s)
    s.step("files: what is read-only or not seen", files, s)
    s.step("bounds of the control group", bounds, s)
    s.step("MemoryMax bites, and the service comes back", memory, s)
    s.step("systemd-analyze security, online", exposure, s)
    s.step("journal: JSON, priorities", journal, s)
    s.step("systemctl stop", stop, s)
    s.vm.off()


def start(s: Session) -> str:
    """Enable and start; the call returns when the service says that it is ready."""
    before = s.vm.code(f"systemctl is-active {UNIT}")[1].strip()
    begin = time.monotonic()
    s.vm.sh(f"systemctl enable --now {UNIT}", 300)
    took = time.monotonic() - begin
    now = s.show("ActiveState", "SubState", "Type", "NotifyAccess", "NRestarts", "ExecMainStartTimestampMonotonic",
                 "ActiveEnterTimestampMonotonic", "WatchdogUSec")  # fmt: skip
    check(before == "inactive" and now["ActiveState"] == "active" and now["SubState"] == "running", str(now))
    check(now["Type"] == "notify" and now["NotifyAccess"] == "main" and now["NRestarts"] == "0", str(now))
    check(now["WatchdogUSec"] == "45s", str(now))
    # A Type=notify unit is active when READY=1 came, not when the process was started.
    ready = (int(now["ActiveEnterTimestampMonotonic"]) - int(now["ExecMainStartTimestampMonotonic"])) / 1e6
    check(ready > 0.05, f"active {ready} s after the process was started: nobody waited for READY=1")
    check(s.vm.sh(f"systemctl is-enabled {UNIT}").strip() == "enabled", "not enabled")
    return f"ready {ready:.1f} s after the process began; the call took {took:.0f} s"


def masks(s: Session) -> str:
    """Wait for masks at the broker outside of the machine."""
    first = s.masks()
    count, begin = len(s.broker.heard.masks), time.monotonic()
    s.vm.wait("ten more masks", lambda: len(s.broker.heard.masks) >= count + 10, 120, pause=0.1)
    rate = 10 / (time.monotonic() - begin)
    meta, status = s.broker.json("meta"), s.broker.state()
    check(status["state"] == "online", str(status))
    return f"the first after {first:.1f} s, {rate:.1f}/s; status online; {meta['engine']['provider']}"


def watch(s: Session) -> str:
    """Let the program of the package, outside, read three masks."""
    program = sorted(OUT.parent.glob("package/amd64/bin/nightseg"))[0]
    line: list[str | Path] = [
        program,
        "watch",
        "--broker",
        s.broker.url,
        "--masks",
        "3",
        "--json",
        "--fleet",
        "vm",
        "--device",
        "car1",
    ]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120 * s.patience, check=False)
    check(done.returncode == 0, done.stderr)
    headers = [json.loads(x)["header"] for x in done.stdout.splitlines() if '"header"' in x]
    check(len(headers) >= 3, done.stdout[:2000])
    seqs = [h["seq"] for h in headers]
    check(seqs == sorted(set(seqs)), f"sequence numbers {seqs}")
    h = headers[-1]
    return f"three, seq {seqs}, camera {h['camera']}, {h['width']}x{h['height']} of a source {h['source']}"


def status(s: Session) -> str:
    """Read the line of systemctl status."""
    found = re.search(r'Status: "(running: [\d.]+ masks/s)"', s.vm.sh(f"systemctl status --no-pager {UNIT}"))
    check(found is not None, s.show("StatusText")["StatusText"])
    return found[1]  # type: ignore[index]


def confined(s: Session) -> str:
    """Read from /proc what every thread of the service, and of the capture process, is."""
    pids = s.vm.sh(f"cat {CGROUP}/cgroup.procs").split()
    names = s.vm.sh(f"for p in {' '.join(pids)}; do cat /proc/$p/comm; done").split()
    check(sorted(names) == ["nightseg", "nightseg-captur"], f"processes: {names}")
    text = s.vm.sh(f"for p in {' '.join(pids)}; do cat /proc/$p/task/*/status; done")
    uid, gid = s.vm.sh("id -u nightseg; id -g nightseg").split()
    video = s.vm.sh("getent group video").split(":")[2]
    must = {
        "Uid": {uid}, "Gid": {gid}, "NoNewPrivs": {"1"}, "Seccomp": {"2"}, "Seccomp_filters": None,
        **{f"Cap{name}": {"0" * 16} for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")},
    }  # fmt: skip
    for key, want in must.items():
        found = {v for line in re.findall(rf"^{key}:\t(.*)$", text, re.MULTILINE) for v in line.split()}
        check(bool(found) and (want is None or found == want), f"{key}: {found}, not {want}")
    groups = [set(line.split()) for line in re.findall(r"^Groups:\t?(.*)$", text, re.MULTILINE)]
    check(all(video in g and "0" not in g for g in groups), f"groups: {groups}")
    spaces = s.vm.sh(f"for n in user mnt; do readlink /proc/1/ns/$n /proc/{pids[0]}/ns/$n; done").split()
    check(spaces[0] != spaces[1] and spaces[2] != spaces[3], f"namespaces: {spaces}")
    return f"{len(groups)} threads of {len(pids)} processes: uid {uid}, no capabilities in any set, filter 2, own users"


def within(s: Session, script: str) -> tuple[int, str]:
    """Run a script as root in the service's mounts and control group: what stops it is the sandbox, not the user."""
    return s.vm.code(f"echo $$ >{CGROUP}/cgroup.procs && exec nsenter -t {s.pid()} -m -- sh -c '{script}'")


def devices(s: Session) -> str:
    """Open devices from within the control group, as root."""
    for node in ("mem", "kmsg", "vda", "port", "watchdog"):
        s.vm.code("modprobe softdog")
        code, said = within(s, f"exec 3</dev/{node}")
        refused = "Operation not permitted" in said or "Permission denied" in said  # the latter: ProtectKernelLogs
        check(code != 0 and refused, f"/dev/{node}: exit code {code}: {said}")
        if node in ("mem", "vda"):
            check(s.vm.code(f"exec 3</dev/{node}")[0] == 0, f"/dev/{node} cannot be opened outside: the check is void")
    for node in ("video0", "null", "urandom"):
        code, said = within(s, f"exec 3</dev/{node}")
        check(code == 0, f"/dev/{node}: {said}")
    return "even root within may not open mem, kmsg, vda, port, watchdog; video0, null, urandom it may"


def files(s: Session) -> str:
    """Write to and look at files from within the mounts, as root."""
    for folder in ("/usr", "/etc", "/boot", "/srv", "/", "/sys/kernel", "/proc/sys/kernel"):
        code, said = within(s, f"touch {folder}/nightseg-try")
        check(code != 0 and ("Read-only" in said or "denied" in said or "No such" in said), f"{folder}: {code} {said}")
    code, said = within(s, "echo 1 >/proc/sys/kernel/sysrq")
    check(code != 0 and "Read-only" in said, f"sysctl: {code} {said}")
    for folder in (STATE, "/var/cache/nightseg", "/run/nightseg", "/tmp"):
        code, said = within(s, f"touch {folder}/nightseg-try && rm {folder}/nightseg-try")
        check(code == 0, f"{folder}: {said}")
    s.vm.sh("mkdir -p /home/someone && touch /home/someone/x /tmp/outside")
    code, said = within(s, "ls /home/someone /root; ls /tmp/outside")
    check(said.count("No such file") + said.count("Permission denied") >= 2 and "\nx" not in said, said)
    # /proc as the user sees it: other programs are invisible.
    code, said = s.vm.code(
        f"nsenter -t {s.pid()} -m -- setpriv --reuid nightseg --regid nightseg --clear-groups sh -c "
        "'test ! -e /proc/1 && ls -d /proc/[0-9]* | wc -l'"
    )
    check(code == 0, f"/proc/1 is seen: {said}")
    modes = s.vm.sh(f"stat -c '%U %a' {STATE} /var/cache/nightseg /run/nightseg").split("\n")[:3]
    check(modes == ["nightseg 750", "nightseg 750", "nightseg 700"], f"folders: {modes}")
    return "/usr, /etc, /boot, /srv, sysctl read-only; /home, /root, other /tmp not seen; its three folders writable"


def bounds(s: Session) -> str:
    """Read the bounds that the kernel keeps."""
    want = {"memory.max": str(2 << 30), "memory.swap.max": "0", "pids.max": "512"}
    have = {name: s.vm.sh(f"cat {CGROUP}/{name}").strip() for name in want}
    check(have == want, f"{have}")
    score, core = s.vm.sh(f"cat /proc/{s.pid()}/oom_score_adj; grep 'core file' /proc/{s.pid()}/limits").split("\n")[:2]
    check(score == "-200" and core.split()[4:6] == ["0", "0"], f"{score}; {core}")
    used, tasks = s.vm.sh(f"cat {CGROUP}/memory.peak {CGROUP}/memory.current {CGROUP}/pids.current").split()[::2]
    return f"{have}, OOM score {score}, no core files; {int(used) / 1e6:.0f} MB at most so far, {tasks} tasks"


def memory(s: Session) -> str:
    """Lower the bound below what the service takes: it is ended, and not the machine."""
    before, runs = s.restarts(), set(s.broker.heard.runs)
    s.vm.sh(f"systemctl set-property --runtime {UNIT} MemoryMax=40M")
    s.vm.wait("an end for lack of memory", lambda: s.restarts() > before, 120)
    s.vm.sh(f"systemctl set-property --runtime {UNIT} MemoryMax=2G")
    begin = time.monotonic()
    back = s.new_run(runs, begin)
    log = s.vm.sh(f"journalctl -u {UNIT} -o cat _PID=1")
    check("oom-kill" in log, "the journal does not tell of oom-kill")
    others = s.vm.sh("systemctl --failed --no-legend --plain").strip()
    check(not others, f"failed: {others}")
    return f"ended by the kernel at 40 MB (oom-kill); with 2 GB masks again after {back:.0f} s"


def exposure(s: Session) -> str:
    """Rate the loaded unit."""
    text = s.vm.sh(f"systemd-analyze security --no-pager {UNIT}.service")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
    check(found is not None and float(found[1]) <= EXPOSURE, text[-200:])
    return found[1]  # type: ignore[index]


def journal(s: Session) -> str:
    """Read the program's lines in the journal, after a fault that it must tell."""
    s.broker.stop()
    s.vm.wait("degraded", lambda: "degraded" in s.show("StatusText")["StatusText"], 60)
    s.broker.start()
    s.masks()
    lines = [json.loads(x) for x in s.vm.sh(f"journalctl -u {UNIT} -o json _COMM=nightseg").splitlines()]
    check(len(lines) >= 3, f"{len(lines)} lines")
    levels = {"DEBUG": "7", "INFO": "6", "WARN": "4", "ERROR": "3"}
    kinds: dict[str, int] = {}
    for line in lines:
        message = json.loads(line["MESSAGE"])
        check(line["PRIORITY"] == levels[message["level"]], f"priority {line['PRIORITY']} of {message}")
        kinds[message["level"]] = kinds.get(message["level"], 0) + 1
    check(kinds.get("WARN", 0) > 0, f"no warning that the broker was gone: {kinds}")
    faults = s.vm.sh(f"journalctl -u {UNIT} -o json -p warning _COMM=nightseg").splitlines()
    check(len(faults) == kinds.get("WARN", 0) + kinds.get("ERROR", 0), f"-p warning shows {len(faults)} of {kinds}")
    return f"{len(lines)} lines, all JSON: {kinds}; -p warning shows {len(faults)}"


def stop(s: Session) -> str:
    """Stop: the status is told, the process ends by itself."""
    begin = time.monotonic()
    s.vm.sh(f"systemctl stop {UNIT}", 60)
    took = time.monotonic() - begin
    s.state("stopped", 20)
    show = s.show("Result", "ExecMainStatus", "ActiveState")
    check(show == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}, str(show))
    return f"after {took:.1f} s with exit code 0; status stopped at the broker"
