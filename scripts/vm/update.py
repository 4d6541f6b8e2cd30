"""The phase of signed updates: fetched by the service, installed by the root unit, tried, kept; others refused."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
import time
from typing import Any

from broker import HOST
from install import INSTALLED
from machine import OUT, check, output
from session import STATE, UNIT, Session

FILES = OUT / "updates"  # the web server's, and the machine's /mnt/out/vm/updates
SLOTS = "/var/lib/nightseg-slots"
INSTALLER = "nightseg-update"
REFUSED = {"stranger": "signature", "changed": "damaged"}  # an update, and why


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server's answers, without a log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def run(s: Session) -> None:
    """Bring an update in; try to bring in others."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(FILES)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        s.step("keys, and updates signed with them", make, s)
        s.step("boot", s.boot, INSTALLED, "update")
        s.step("path unit and service enabled, the maker's key trusted", begin, s)
        s.step("signed by a stranger: the service refuses it", stranger, s, server.server_port)
        s.step("signed by the maker: installed, tried, kept", good, s, server.server_port)
        s.step("who may do what", rights, s)
        for name, reason in REFUSED.items():
            s.step(f"put before the root unit past the service: {name}", past, s, name, reason)
        s.step("another boot: the update is in force", reboot, s)
        s.vm.off()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        shutil.rmtree(FILES, ignore_errors=True)  # one of the keys is secret


def make(s: Session) -> str:
    """Make keys and updates with the program of the package, outside of the machine."""
    program = sorted(OUT.parent.glob("package/amd64/bin/nightseg"))[0]
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir(parents=True)
    packages = [p for p in s.packages["new"] if p.name.startswith(("nightseg_", "nightseg-capture_"))]
    for name in ("maker", "stranger"):
        output(program, "update", "keygen", FILES / name, "--no-password")
        to = FILES / f"{name}.nsup"
        output(program, "update", "sign", *packages, "--key", FILES / name, "--out", to)
        to.chmod(0o644)
    changed = bytearray((FILES / "maker.nsup").read_bytes())
    changed[len(changed) // 2] ^= 1
    (FILES / "changed.nsup").write_bytes(changed)
    keys = FILES / "keys"
    keys.mkdir()
    shutil.copy(FILES / "maker.pub", keys)
    said = output(program, "update", "verify", FILES / "maker.nsup", "--keys", keys)
    return f"{len(changed) / 1e6:.0f} MB: {said.splitlines()[0]}"


def version(s: Session, which: str) -> str:
    """Return the number of a version."""
    return s.packages[which][0].name.split("_")[1]


def begin(s: Session) -> str:
    """Do what updates.md says a device needs."""
    s.vm.sh("install -m 644 /mnt/out/vm/updates/maker.pub /etc/nightseg/update-keys.d/")
    s.vm.sh(f"systemctl enable --now {INSTALLER}.path && systemctl enable --now {UNIT}", 300)
    first = s.masks()
    check(s.vm.sh(f"systemctl is-active {INSTALLER}.path").strip() == "active", "the path unit is not active")
    check(version(s, "old") in str(s.broker.json("meta")), "meta does not tell the version")
    s.vm.wait("running", lambda: s.show("StatusText")["StatusText"].startswith("running"), 180)
    return f"masks after {first:.0f} s of {version(s, 'old')}"


def command(s: Session, name: str, port: int) -> None:
    """Send the address of an update."""
    text = json.dumps({"id": name, "url": f"http://{HOST}:{port}/{name}.nsup"})
    output("mosquitto_pub", "-p", str(s.broker.port), "-q", "1", "-t", "nightseg/v1/vm/car1/cmd/update", "-m", text)


def result(s: Session, name: str, *states: str, limit: float = 300) -> dict[str, Any]:
    """Wait for a state of an update; return what was told of it."""

    def so() -> dict[str, Any] | None:
        return next((r for r in s.broker.heard.results if r.get("id") == name and r["state"] in states), None)

    s.vm.wait(f"update {name}: {' or '.join(states)}", so, limit, pause=0.1)
    return so() or {}


def stranger(s: Session, port: int) -> str:
    """Send an update that no trusted key has signed."""
    pid, restarts = s.pid(), s.restarts()
    command(s, "stranger", port)
    found = result(s, "stranger", "failed", "installed")
    check(found["state"] == "failed" and found["reason"] == "signature", str(found))
    s.same(pid, restarts)
    check(not slots(s)["slots"], f"{slots(s)}")
    check(s.vm.code(f"journalctl -b -u {INSTALLER} | grep -c apply")[1].strip() == "0", "the root unit was started")
    return f"{found['reason']}: {found['error']}; the root unit was not started"


def slots(s: Session) -> dict[str, Any]:
    """Return what the device knows of its updates."""
    return dict(json.loads(s.vm.sh("nightseg update status --json")))


def good(s: Session, port: int) -> str:
    """Send a good one, and follow it until it is kept."""
    pid, restarts, runs, start = s.pid(), s.restarts(), set(s.broker.heard.runs), time.monotonic()
    command(s, "maker", port)
    result(s, "maker", "installed", "failed", limit=900)
    installed = time.monotonic() - start
    found = result(s, "maker", "good", "failed", "returned", limit=600)
    check(found["state"] == "good" and found["version"] == version(s, "new"), str(found))
    kept = time.monotonic() - start
    first = s.new_run(runs, start)
    check(s.pid() not in (0, pid), "the old process still runs")
    states = list(dict.fromkeys(r["state"] for r in s.broker.heard.results if r.get("id") == "maker"))
    check(states == ["fetching", "verified", "staged", "installed", "trying", "good"], f"{states}")
    check(version(s, "new") in str(s.broker.json("meta")), "meta tells the old version")
    log = s.vm.sh(f"journalctl -b -u {INSTALLER} -o short-monotonic").strip().splitlines()
    check(any("Finished" in line for line in log), "\n".join(log))
    told = s.vm.sh("nightseg --version").strip()
    check(version(s, "old") in told, f"the system's own program was changed: {told}")
    s.vm.wait("running", lambda: s.show("StatusText")["StatusText"].startswith("running"), 180)
    return (
        f"{' '.join(states)}: installed after {installed:.0f} s by the root unit, masks of it after {first:.0f} s, "
        f"kept after {kept:.0f} s; {s.restarts() - restarts} restart by systemd; /usr/bin is still {told}"
    )


def rights(s: Session) -> str:
    """Look at who runs the program in the slot, and who may write there."""
    exe = s.vm.sh(f"readlink /proc/{s.pid()}/exe").strip()
    check(exe.startswith(SLOTS) and exe.endswith("/usr/bin/nightseg"), exe)
    ids = s.vm.sh(f"grep -hE '^(Uid|CapEff|CapBnd|NoNewPrivs)' /proc/{s.pid()}/status").split()
    uid = s.vm.sh("id -u nightseg").strip()
    check(ids == ["Uid:", *[uid] * 4, "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"], f"{ids}")
    owners = set(s.vm.sh(f"find {SLOTS} -printf '%u %g\\n'").splitlines())
    check(owners == {"root nightseg"}, f"{owners}")
    loose = s.vm.sh(f"find {SLOTS} -perm /022 -not -type l").strip()
    check(not loose, f"writable for others: {loose}")
    for file in (exe, f"{SLOTS}/new", "/etc/nightseg/update-keys.d/mine.pub"):
        code, said = s.vm.code(f"runuser -u nightseg -- sh -c 'echo x >>{file}'")
        check(code != 0 and "denied" in said, f"{file}: {code} {said}")
    return f"{exe}, uid {uid}, no capabilities; slots are root's, the service's user may write neither there nor keys"


def past(s: Session, name: str, reason: str) -> str:
    """Put a file where the service would, as its user: the root unit must find out by itself."""
    pid, restarts, before = s.pid(), s.restarts(), slots(s)
    folder = f"{STATE}/update/request"
    copy = f"cp /mnt/out/vm/updates/{name}.nsup {folder}/new"
    script = f"mkdir -p {folder} && {copy} && mv {folder}/new {folder}/update.nsup"
    s.vm.sh(f"runuser -u nightseg -- sh -c '{script}'", 120)
    start = time.monotonic()
    s.vm.wait("an answer of the root unit", lambda: slots(s)["installer"] != before["installer"], 300)
    took, now = time.monotonic() - start, slots(s)
    check(now["installer"]["reason"] == reason and not now["installer"].get("slot"), str(now["installer"]))
    check((now["slots"], now["in_force"]) == (before["slots"], before["in_force"]), f"{now}")
    s.vm.wait("the request is gone", lambda: s.vm.code(f"test -e {folder}/update.nsup")[0] != 0, 60)
    s.same(pid, restarts)
    failed = s.vm.sh("systemctl --failed --no-legend --plain").strip()
    check(not failed, failed)
    return f"refused after {took:.0f} s ({now['installer']['error']}); slots as before, the service goes on"


def reboot(s: Session) -> str:
    """Boot anew; the program of the slot starts."""
    runs, start = set(s.broker.heard.runs), time.monotonic()
    s.vm.reboot()
    took = s.new_run(runs, start, 300)
    exe = s.vm.sh(f"readlink /proc/{s.pid()}/exe").strip()
    check(exe.startswith(SLOTS), exe)
    check(s.vm.sh(f"systemctl is-active {INSTALLER}.path").strip() == "active", "the path unit is not active")
    status = slots(s)
    check(status["in_force"].endswith(version(s, "new")), str(status))
    return f"{status['in_force']} by {exe}, masks {took:.0f} s after the reboot began"
