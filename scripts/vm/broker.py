"""A broker outside of the machine, and who listens there: mosquitto on the host side of the machine's network."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import FailedError, check

HOST = "10.0.2.2"  # what the machine calls the loopback of its host


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def header_of(mask: bytes) -> dict[str, Any]:
    """Return the header of a mask in a PNG file, whose ends must be there."""
    text = b"tEXtnightseg\0"
    at = mask.find(text)
    check(mask.startswith(b"\x89PNG") and at > 4 and b"IEND" in mask[-12:], f"no whole mask: {mask[:100]!r}")
    length = int.from_bytes(mask[at - 4 : at], "big")
    return dict(json.loads(mask[at + len(text) : at + 4 + length]))


@dataclass
class Heard:
    """What the subscriber has heard since the broker started; times are those of time.monotonic."""

    masks: list[float] = field(default_factory=list)  # live ones
    runs: dict[str, float] = field(default_factory=dict)  # when the first live mask of each run came
    history: list[tuple[str, int]] = field(default_factory=list)  # run and seq of those that were kept meanwhile
    states: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)  # of updates
    last: dict[str, bytes] = field(default_factory=dict)  # by what follows nightseg/v1/<fleet>/<device>/


class Broker:
    """A mosquitto that is started, ended, and listened to all the time."""

    def __init__(self) -> None:
        """Choose a port, which stays the same."""
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="nightseg-broker-"))
        (self.folder / "conf").write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.server: subprocess.Popen[bytes] | None = None
        self.subscriber: subprocess.Popen[str] | None = None
        self.reader: threading.Thread | None = None
        self.heard = Heard()

    @property
    def url(self) -> str:
        """Return where the host reaches it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty, and a subscriber to all of nightseg's messages."""
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        check(program is not None, "there is no mosquitto: apt-get install mosquitto mosquitto-clients")
        self.server = subprocess.Popen([str(program), "-c", str(self.folder / "conf")], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", self.port)) != 0:
            check(time.monotonic() < end and self.server.poll() is None, "mosquitto does not start")
            time.sleep(0.05)
        self.heard = Heard()
        self.subscriber = subprocess.Popen(
            ["mosquitto_sub", "-p", str(self.port), "-t", "nightseg/v1/#", "-F", "%t %x"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.reader = threading.Thread(target=self.read, args=(self.subscriber, self.heard))
        self.reader.start()

    @staticmethod
    def read(subscriber: subprocess.Popen[str], heard: Heard) -> None:
        """Keep what the subscriber prints, until it ends."""
        assert subscriber.stdout is not None
        for line in subscriber.stdout:
            topic, _, text = line.strip().partition(" ")
            name, payload, now = topic.split("/", 4)[-1], bytes.fromhex(text), time.monotonic()
            if name.startswith("cam/") and name.endswith("/mask"):
                heard.masks.append(now)
                heard.runs.setdefault(header_of(payload)["run"], now)
            elif name.startswith("hist/cam/") and name.endswith("/mask"):
                header = header_of(payload)
                heard.history.append((header["run"], header["seq"]))
            elif name == "status" and payload:
                heard.states.append((now, json.loads(payload)))
            elif name == "cmd/update/result":
                heard.results.append(json.loads(payload))
            heard.last[name] = payload

    def stop(self) -> None:
        """End both, as a broker that is gone."""
        for process in (self.subscriber, self.server):
            if process is not None:
                process.kill()
                process.wait()
        if self.reader is not None:
            self.reader.join()
        self.server = self.subscriber = self.reader = None

    def remove(self) -> None:
        """End both and forget all."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def masks_since(self, begin: float) -> int:
        """Return how many masks came after a time."""
        return sum(at > begin for at in self.heard.masks)

    def state(self) -> dict[str, Any]:
        """Return the last status, empty where none came."""
        return self.heard.states[-1][1] if self.heard.states else {}

    def states_since(self, begin: float) -> list[str]:
        """Return the states that came after a time, in order, without repetitions in a row."""
        found: list[str] = []
        for at, status in self.heard.states:
            if at > begin and (not found or found[-1] != status["state"]):
                found.append(status["state"])
        return found

    def json(self, name: str) -> dict[str, Any]:
        """Return the last message of a topic."""
        if name not in self.heard.last:
            raise FailedError(f"nothing came on {name}")
        return dict(json.loads(self.heard.last[name]))
