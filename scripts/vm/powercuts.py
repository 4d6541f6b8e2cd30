"""The phase of power cuts: the machine is killed again and again while settings change, and must come back well.

What the kill of qemu loses is what the guest has not flushed: the guest's own memory, and of the disk all clusters
that are new in the layer of this cycle since the last flush (they lie in the file, but its tables do not know them).
Blocks that the layer had before are written through at once. So writes are lost and reordered, as in a disk with a
cache of its own; a sector is never torn. The first check holds qemu to that.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import time

from broker import Heard
from install import INSTALLED
from machine import CACHE, FailedError, check, layer, output
from session import SETTINGS, STATE, UNIT, Session

DISK = CACHE / "disks/powercuts-disk.qcow2"
KINDS = ("documents", "file replaced", "file written in place", "broker away")
# Changes the settings file, restarts the service, and tells the console when the file was kept as the last good one.
CHANGES = r"""#!/bin/bash
n=$(cat /root/serial 2>/dev/null || echo 0)
while :; do
	n=$((n + 1))
	sed "s/^#.*/# serial $n/" /root/settings.yaml >/root/next.yaml
	echo "$n" >/root/serial.new && sync /root/serial.new && mv /root/serial.new /root/serial && sync /root
	echo "vm-cut: write $n" >/dev/ttyS0
	if [[ $1 == replaced ]]; then
		cp /root/next.yaml /etc/nightseg/.next && sync /etc/nightseg/.next
		mv /etc/nightseg/.next /etc/nightseg/nightseg.yaml && sync /etc/nightseg
	else
		cat /root/next.yaml >/etc/nightseg/nightseg.yaml
	fi
	systemctl restart nightseg
	for ((i = 0; i < 600; i++)); do
		cmp -s /root/next.yaml /var/lib/nightseg/last-good.yaml && break
		sleep 0.1
	done
	((i < 600)) && echo "vm-cut: kept $n" >/dev/ttyS0
done
"""


def run(s: Session) -> None:
    """Cut the power in the middle of changes; look at what comes up."""
    rand = random.Random(s.seed)
    s.step("a kill of qemu loses what was not flushed, and no more", fair)
    s.step("boot", s.boot, INSTALLED, "powercuts-disk")
    s.step("start", start, s)
    s.vm.off()
    s.broker.stop()
    s.broker.start()
    story = Story(s, rand)
    for cycle in range(1, s.cycles + 1):
        s.step(f"cut {cycle} of {s.cycles}: {story.kind(cycle)}", story.cycle, cycle)
    s.step("after all cuts", story.last)


def fair() -> str:
    """Write to a new layer with and without a flush, and kill the process."""
    base, disk = CACHE / "disks/fair-base.qcow2", CACHE / "disks/fair.qcow2"
    base.parent.mkdir(parents=True, exist_ok=True)
    output("qemu-img", "create", "-q", "-f", "qcow2", base, "64M")
    disk.unlink(missing_ok=True)
    layer(base, disk)
    script = ["write -q -P 1 0 64k", "flush", "write -q -P 2 1M 64k", "write -q -P 3 0 4k", "sigraise 9"]
    done = subprocess.run(
        ["qemu-io", "-t", "writeback", "-f", "qcow2", *(w for c in script for w in ("-c", c)), disk],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    check(done.returncode == -9, f"qemu-io was not killed: {done.returncode} {done.stderr}")
    output("qemu-img", "check", "-q", "-r", "leaks", disk)
    for what in ("-P 0 1M 64k", "-P 1 4k 60k", "-P 3 0 4k"):
        said = output("qemu-io", "-f", "qcow2", "-c", f"read -q {what}", disk)
        check("verification failed" not in said, f"read {what}: {said}")
    for file in (disk, base):
        file.unlink()
    return "new and not flushed: lost; flushed: kept; written over what the layer has: kept at once"


def start(s: Session) -> str:
    """Start the service, enabled, with a settings file that has a serial number."""
    s.vm.sh(f"mkdir -p {STATE}")
    s.write("/root/settings.yaml", settings(s, 0))
    s.write("/root/changes", CHANGES)
    s.vm.sh(f"chmod 755 /root/changes && cp /root/settings.yaml {SETTINGS} && systemctl enable --now {UNIT}", 300)
    first = s.masks()
    s.vm.wait("last good settings", lambda: s.vm.code(f"test -s {STATE}/last-good.yaml")[0] == 0, 120)
    return f"masks after {first:.0f} s"


def settings(s: Session, serial: int) -> str:
    """Return the settings file of a serial number."""
    return s.settings(extra=f"# serial {serial}\n")


class Story:
    """What was changed, and what must be there after the next boot."""

    def __init__(self, s: Session, rand: random.Random) -> None:
        """Begin with no changes."""
        self.s, self.rand = s, rand
        self.kept, self.written = 0, 0  # serial numbers of settings files
        self.applied, self.sent = 0, 0  # versions of documents
        self.torn = False  # the settings file may be anything
        self.away, self.heard = False, 0  # the broker was away at the last cut
        self.degraded = 0

    @staticmethod
    def kind(cycle: int) -> str:
        """Return what is changed in a cycle."""
        return KINDS[(cycle - 1) % len(KINDS)]

    def cycle(self, number: int) -> str:
        """Boot, look at what the last cut has left, change things, cut."""
        s = self.s
        booted = s.boot(DISK, "powercuts")
        said = self.look()
        kind = self.kind(number)
        self.away = kind == "broker away"
        self.torn = kind == "file written in place"
        did = self.documents() if kind == "documents" else self.files()
        s.vm.cut()
        cut = CACHE / "disks/powercuts.qcow2"
        output("qemu-img", "check", "-q", "-r", "leaks", cut)
        output("qemu-img", "commit", "-q", cut)
        s.broker.stop()
        s.broker.start()  # empty: what comes next is from the vehicle's own disk
        return f"{booted}; {said}; then {did}"

    def look(self) -> str:
        """Hold that the service has started by itself, with settings that are whole, and says so."""
        s = self.s
        s.vm.wait("masks", lambda: s.broker.heard.masks, 300, pause=0.1)
        up = s.vm.uptime() - (time.monotonic() - s.broker.heard.masks[0])
        check(s.restarts() == 0, f"{s.restarts()} restarts")
        errors = s.vm.sh("dmesg --level=err,crit,alert,emerg | grep -i ext4 || true").strip()
        check(not errors, f"file system: {errors}")
        file = s.vm.sh(f"cat {SETTINGS}")
        serial = self.serial(file)
        check(serial is not None or self.torn, f"a torn settings file, which was replaced in one step: {file!r}")
        whole = serial is not None and file == settings(s, serial)
        good = s.vm.sh(f"cat {STATE}/last-good.yaml")
        found = self.serial(good)
        check(found is not None and good == settings(s, found), f"the last good settings are torn: {good!r}")
        low = self.kept - 1  # the console may have been told between the rename and the sync of the folder
        check(low <= (found or 0) <= self.written, f"last good settings {found}, not {low}..{self.written}")
        wanted = "online" if whole else "degraded"
        status = s.state(wanted, 60)
        self.degraded += status["state"] == "degraded"
        version = s.broker.json("config/reported")["version"]
        check(self.applied <= version <= self.sent, f"document {version}, not {self.applied}..{self.sent}")
        was, self.applied = self.applied, version  # the one that the cut has caught came into force, or is gone
        kept = self.history()
        left = s.vm.sh(f"find {STATE} -name '.*' -type f | wc -l").strip()
        if not whole:
            s.write(SETTINGS, settings(s, self.written))
        return (
            f"first mask {up:.0f} s after the kernel's start, status {status['state']}, file "
            f"{'whole' if whole else 'torn'}, last good {found} of {self.kept}..{self.written}, document {version} of "
            f"{was}..{self.sent}, {kept} masks from before the cut, {left} temporary files"
        )

    def history(self) -> int:
        """Wait for the masks that were kept while the broker was away; return how many came."""
        heard, run = self.s.broker.heard, self.s.broker.state()["run"]

        def old() -> list[tuple[str, int]]:
            return [key for key in heard.history if key[0] != run]  # not those of this start, before the network was up

        if self.away:
            self.s.vm.wait("masks from before the cut", old, 60)
            self.s.vm.wait("their end", lambda: self.still(heard), 120, pause=3)
        seen = old()
        check(len(set(seen)) == len(seen), "masks came twice")
        return len(seen)

    def still(self, heard: Heard) -> bool:
        """Tell whether no more history came since the last call."""
        before, self.heard = self.heard, len(heard.history)
        return before == self.heard

    @staticmethod
    def serial(text: str) -> int | None:
        """Return the serial number of a settings file, if it has one."""
        found = re.search(r"^# serial (\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else None

    def documents(self) -> str:
        """Publish documents, each when the one before is in force; cut at any moment after the second."""
        s, begin = self.s, time.monotonic()
        cut = begin + self.rand.uniform(4, 20) * s.patience
        first, back = self.sent, 0
        self.publish()
        while time.monotonic() < cut:
            ack = json.loads(s.broker.heard.last.get("config/ack", b"{}"))
            result = ack.get("result") if ack.get("version") == self.sent else None
            check(result != "rejected", f"refused: {ack}")
            if result == "applied":
                self.applied = self.sent
            elif result == "rolled_back":  # the host was busy, and masks came slowly
                back += 1
            if result in ("applied", "rolled_back"):
                self.publish()
            time.sleep(0.02)
        took = time.monotonic() - begin
        return f"{self.sent - first} documents in {took:.0f} s, {back} taken back, in force to {self.applied}"

    def publish(self) -> None:
        """Send the next document."""
        self.sent += 1
        text = json.dumps({"version": self.sent, "threshold": self.sent % 100 / 1000})
        topic = "nightseg/v1/vm/car1/config/desired"
        output("mosquitto_pub", "-p", str(self.s.broker.port), "-q", "1", "-r", "-t", topic, "-m", text, limit=60)

    def files(self) -> str:
        """Change the settings file again and again, and restart; cut at any moment after a change began."""
        s = self.s
        if self.away:
            s.broker.stop()
        console = s.vm.serial.stat().st_size
        s.vm.sh(f"systemd-run -q --unit=changes /root/changes {'in-place' if self.torn else 'replaced'}")
        changes = self.rand.randint(2, 3)
        s.vm.wait(f"{changes} changes", lambda: self.told(console) >= changes, 300, pause=0.05)
        time.sleep(self.rand.uniform(0, 6) * s.patience)
        s.vm.cut()
        return f"{self.told(console)} changes, kept to {self.kept}"

    def told(self, begin: int) -> int:
        """Read what the console was told since; return how many changes were begun."""
        with self.s.vm.serial.open("rb") as f:
            f.seek(begin)
            text = f.read().decode(errors="replace")
        kept, written = (re.findall(rf"vm-cut: {word} (\d+)\r?\n", text) for word in ("kept", "write"))
        self.kept = max([self.kept, *map(int, kept)])
        self.written = max([self.written, *map(int, written)])
        return len(written)

    def last(self) -> str:
        """Boot once more, and check the whole file system."""
        s = self.s
        booted = s.boot(DISK, "powercuts")
        said = self.look()
        s.vm.off()
        check(s.machine is not None, "no machine")
        raw = CACHE / "disks/check.raw"
        output("qemu-img", "convert", "-O", "raw", CACHE / "disks/powercuts.qcow2", raw)
        try:
            fsck = output("e2fsck", "-fn", raw, limit=900)
        except FailedError as e:
            raise FailedError(f"file system: {e}") from None
        finally:
            raw.unlink()
        clean = fsck.strip().splitlines()[-1]
        return f"{booted}; {said}; {self.degraded} times degraded for a torn file; e2fsck: {clean.split('/')[-2][-40:]}"
