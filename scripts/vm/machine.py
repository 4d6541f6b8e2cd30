"""A virtual machine: booted with qemu, told what to do through its guest agent, and killed as a power cut does it.

Disks are qcow2 layers over .cache/vm/base.qcow2. The layer that a machine writes to is cut off by SIGKILL: a cluster
that is new in the layer is entered in the layer's tables when the guest flushes, so writes since the last flush are
lost with the process, as those in the cache of a disk are. Blocks that the layer had before are written through. See
powercuts.py, which proves it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/vm"
OUT = ROOT / "out/vm"  # logs, results
BOOT = 300.0  # seconds, times the patience


class FailedError(Exception):
    """A check that did not hold."""


def check(holds: bool, what: str) -> None:
    """Fail with what was expected."""
    if not holds:
        raise FailedError(what)


def output(*args: str | Path, limit: float = 600) -> str:
    """Run a program to its end; return what it wrote, errors too."""
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit, check=False)
    check(done.returncode == 0, f"{' '.join(map(str, args))}: exit code {done.returncode}:\n{done.stdout}")
    return done.stdout


def layer(over: Path, disk: Path) -> Path:
    """Make an empty layer over a disk."""
    disk.parent.mkdir(parents=True, exist_ok=True)
    output("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", over, disk)
    return disk


class Machine:
    """One virtual machine and its disk."""

    def __init__(self, disk: Path, accel: str, patience: float) -> None:
        """Take a disk; nothing is started yet."""
        self.disk, self.accel, self.patience = disk, accel, patience
        self.folder = Path(tempfile.mkdtemp(prefix="nightseg-vm-"))  # sockets have short names
        self.serial = OUT / "serial.log"
        self.qemu: subprocess.Popen[bytes] | None = None
        self.agent: socket.socket | None = None

    def start(self) -> float:
        """Boot until the agent answers; return the seconds that it took."""
        begin = time.monotonic()
        agent = self.folder / "agent"
        agent.unlink(missing_ok=True)
        OUT.mkdir(parents=True, exist_ok=True)
        with self.serial.open("ab") as log:
            log.write(f"\n==== {time.strftime('%F %T')} {self.disk.name}\n".encode())
        cpu = "max" if self.accel == "tcg" else "host"
        self.qemu = subprocess.Popen(
            [
                "qemu-system-x86_64", "-accel", self.accel, "-cpu", cpu, "-smp", "2", "-m", "2048", "-nodefaults",
                "-display", "none", "-serial", "chardev:serial",
                "-chardev", f"file,id=serial,path={self.serial},append=on",
                "-kernel", CACHE / "vmlinuz", "-initrd", CACHE / "initrd.img",
                "-append", "root=/dev/vda rw console=ttyS0 panic=10 quiet loglevel=5",
                "-drive", f"file={self.disk},if=virtio,format=qcow2,cache=writeback",
                "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
                "-device", "virtio-rng-pci",
                "-virtfs", f"local,path={ROOT / 'out'},mount_tag=out,security_model=none,readonly=on",
                "-device", "virtio-serial", "-chardev", f"socket,id=agent,path={agent},server=on,wait=off",
                "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            ],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.wait("the machine's socket", agent.exists, 30, pause=0.05)
        self.agent = socket.socket(socket.AF_UNIX)
        self.agent.connect(str(agent))
        self.sync()
        return time.monotonic() - begin

    def sync(self) -> None:
        """Wait until the agent is there, after a boot."""
        limit = time.monotonic() + BOOT * self.patience
        while True:
            mark = random.randrange(1 << 30)
            try:
                self.send(b"\xff", {"execute": "guest-sync-delimited", "arguments": {"id": mark}})
                while self.receive(3).get("return") != mark:
                    check(time.monotonic() < limit, "the agent talks nonsense")
                return
            except (TimeoutError, json.JSONDecodeError):
                check(self.qemu is not None and self.qemu.poll() is None, "qemu has ended")
                check(time.monotonic() < limit, f"the machine has not booted in {BOOT * self.patience:.0f} s")

    def send(self, head: bytes, request: dict[str, Any]) -> None:
        """Write a request to the agent."""
        assert self.agent is not None
        self.agent.settimeout(10)
        self.agent.sendall(head + json.dumps(request).encode() + b"\n")

    def receive(self, limit: float) -> dict[str, Any]:
        """Read an answer of the agent."""
        assert self.agent is not None
        self.agent.settimeout(limit)
        line = b""
        while not line.endswith(b"\n"):
            part = self.agent.recv(65536)
            if not part:
                raise FailedError("qemu has closed the agent's socket")
            line += part
        return dict(json.loads(line.rsplit(b"\xff", 1)[-1].strip().splitlines()[-1] or b"{}"))

    def ask(self, command: str, **arguments: object) -> Any:  # noqa: ANN401
        """Let the agent do something."""
        self.send(b"", {"execute": command, "arguments": arguments})
        answer = self.receive(60 * self.patience)
        check("return" in answer, f"agent: {command}: {answer}")
        return answer["return"]

    def code(self, script: str, limit: float = 60) -> tuple[int, str]:
        """Run a script of the shell as root; return its exit code and what it wrote, errors too."""
        shell = {"path": "/bin/sh", "arg": ["-c", "exec 2>&1\n" + script], "capture-output": True}
        pid = self.ask("guest-exec", **shell)["pid"]
        end, pause = time.monotonic() + limit * self.patience, 0.05
        while not (done := self.ask("guest-exec-status", pid=pid))["exited"]:
            check(time.monotonic() < end, f"not ended in {limit * self.patience:.0f} s: {script}")
            time.sleep(pause)
            pause = min(pause * 1.5, 1)
        text = base64.b64decode(done.get("out-data", "")).decode(errors="replace")
        return done.get("exitcode", -done.get("signal", 0)), text

    def sh(self, script: str, limit: float = 60) -> str:
        """Run a script of the shell, which must succeed."""
        code, text = self.code("set -e\n" + script, limit)
        check(code == 0, f"exit code {code} of: {script}\n{text}")
        return text

    def uptime(self) -> float:
        """Return the seconds since the machine booted."""
        return float(self.sh("cut -d' ' -f1 /proc/uptime"))

    def wait(self, what: str, holds: Callable[[], object], limit: float, pause: float = 1.0) -> float:
        """Wait until something holds; return the seconds that it took."""
        begin = time.monotonic()
        while not holds():
            check(time.monotonic() - begin < limit * self.patience, f"not in {limit * self.patience:.0f} s: {what}")
            time.sleep(pause)
        return time.monotonic() - begin

    def reboot(self) -> None:
        """Let the machine reboot itself, and wait until it is back."""
        boot = self.sh("cat /proc/sys/kernel/random/boot_id")
        with contextlib.suppress(FailedError, OSError):
            self.code("systemctl --no-block reboot")
        self.wait("another boot", lambda: self.booted_anew(boot), BOOT)

    def booted_anew(self, old: str) -> bool:
        """Tell whether this is another boot than the old one."""
        self.sync()
        try:
            code, boot = self.code("cat /proc/sys/kernel/random/boot_id")
        except (FailedError, TimeoutError):
            return False
        return code == 0 and boot != old

    def off(self) -> None:
        """Shut down in order, so that all is on the disk."""
        with contextlib.suppress(FailedError, OSError):  # it may be gone before it has answered
            self.code("systemctl --no-block poweroff")
        assert self.qemu is not None
        self.qemu.wait(120 * self.patience)
        self.close()

    def cut(self) -> None:
        """Cut the power: the process is gone, with all that was not flushed."""
        if self.qemu is not None:
            self.qemu.send_signal(signal.SIGKILL)
            self.qemu.wait()
        self.close()

    def close(self) -> None:
        """Close the agent's socket."""
        if self.agent is not None:
            self.agent.close()
        self.agent = self.qemu = None

    def remove(self) -> None:
        """End whatever runs, and remove the folder of sockets."""
        self.cut()
        shutil.rmtree(self.folder, ignore_errors=True)


def accelerator() -> str:
    """Return kvm where the kernel of the image runs with it to its end within 30 s, tcg elsewhere.

    Some machines have a /dev/kvm that starts and never gets on. The answer is kept until this machine boots anew.
    """
    kept, boot = CACHE / "accelerator", Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if kept.exists() and kept.read_text().split()[0] == boot:
        return kept.read_text().split()[1]
    answer = "tcg"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        probe: list[str | Path] = [
            "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512", "-nodefaults", "-display", "none",
            "-no-reboot", "-kernel", CACHE / "vmlinuz", "-append", "panic=-1",
        ]  # fmt: skip
        try:
            done = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
            answer = "kvm" if done.returncode == 0 else "tcg"  # without a root it panics, and that ends qemu
        except subprocess.TimeoutExpired:
            pass
    kept.write_text(f"{boot} {answer}\n")
    return answer
