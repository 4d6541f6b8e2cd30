#!/usr/bin/env python3
"""The built programs at work, as a user starts them: demo, replay with and without brokers, video, faults, exit codes.

It takes about a minute, and needs no more than what `make build` made; what is not on the machine (a broker, OpenCV,
real frames) is skipped and said.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NIGHTSEG = ROOT / "bin/nightseg"
CAPTURE = ROOT / "bin/nightseg-capture"
SHARED = ROOT.parent / "shared/data/night_sequence"
PATIENCE = 120.0  # seconds that a step may take on a busy machine
FRAMES = 60


class FailedError(Exception):
    """A check that did not hold."""


def check(holds: bool, what: str) -> None:
    """Fail with what was expected."""
    if not holds:
        raise FailedError(what)


def nightseg(*args: str, code: int = 0) -> str:
    """Run nightseg to its end, check the exit code, return standard output."""
    done = subprocess.run([NIGHTSEG, *args], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode != code:
        raise FailedError(f"nightseg {' '.join(args)}: exit code {done.returncode}, not {code}:\n{done.stderr}")
    return done.stdout if code == 0 else done.stdout + done.stderr


def last_json(text: str) -> dict:
    """Return the JSON object that ends a program's output."""
    return json.loads(text[text.index("{") :] if text.count("\n{") == 0 else text[text.rindex("\n{") :])


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def await_port(port: int) -> None:
    """Wait until someone listens on a port of this machine."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise FailedError(f"nobody listens on port {port}")


@contextmanager
def background(*args: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program beside the test, and end it."""
    with subprocess.Popen(
        [str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as p:
        try:
            yield p
        finally:
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
                try:
                    p.wait(10)
                except subprocess.TimeoutExpired:
                    p.kill()


def source() -> tuple[str, str]:
    """Return the recording to replay, and what it is."""
    images = SHARED / "diptamath_30fps/images"
    if images.is_dir():
        return str(images), f"{FRAMES} real night frames"
    return f"synth://?seed=7002&frames={FRAMES}", f"{FRAMES} synthetic frames (real ones are not here)"


def replay(*more: str) -> dict:
    """Replay the recording as fast as it goes."""
    return last_json(nightseg("replay", source()[0], "--rate", "max", "--frames", str(FRAMES), "--json", *more))


def step_demo(out: Path) -> str:
    """Run the demonstration for five seconds."""
    got = last_json(nightseg("demo", "--seconds", "5", "--out", str(out), "--json"))
    check(got["received"] > 30, f"demo: {got['received']} masks in five seconds")
    check(got["synthetic_miou"] > 15, f"demo: mIoU {got['synthetic_miou']:.1f}: the masks do not fit the labels")
    check(Path(got["contact_sheet"]).stat().st_size > 10_000, "demo: no contact sheet")
    return f"{got['received']} masks, {got['lost']} lost"


def step_replay(out: Path) -> str:
    """Replay twice without a broker, and once with the embedded one and a subscriber beside it."""
    first, second = replay(), replay("--codec", "rle-zstd")
    check(
        first["frames"] == FRAMES and first["dropped"] == 0, f"replay: {first['frames']} masks, {first['dropped']} lost"
    )
    check(first["masks_sha256"] == second["masks_sha256"], "replay: two runs differ")
    port = free_port()
    args = ("--broker", "embedded", "--listen", f"127.0.0.1:{port}", "--await-subscriber", "60s")
    watch = (NIGHTSEG, "watch", "--broker", f"mqtt://127.0.0.1:{port}", "--masks", FRAMES, "--out", out, "--json")
    with background(*watch) as w:
        third = replay(*args)
        seen = last_json(w.communicate(timeout=PATIENCE)[0])
    check(seen["masks"] == FRAMES and seen["missing"] == 0, f"watch: {seen['masks']} masks, {seen['missing']} missing")
    hashes = {first["masks_sha256"], third["masks_sha256"], seen["masks_sha256"]}
    check(len(hashes) == 1, "replay: the masks differ between no broker, the embedded one, and what arrived")
    files = len(list(out.rglob("*.png")))
    check(files == FRAMES, f"watch: saved {files} files")
    return f"{source()[1]}, masks {first['masks_sha256'][:12]} each time"


def step_mosquitto(_: Path) -> str:
    """Replay through a real mosquitto."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return "skipped: mosquitto is not installed"
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    with background(program, "-p", port):
        await_port(port)
        with background(NIGHTSEG, "watch", "--broker", url, "--masks", FRAMES, "--json", "--quiet") as w:
            _await_subscription(w)
            sent = replay("--broker", url)
            seen = last_json(w.communicate(timeout=PATIENCE)[0])
    check(seen["masks"] == FRAMES, f"mosquitto: {seen['masks']} masks arrived")
    check(sent["masks_sha256"] == seen["masks_sha256"], "mosquitto: other masks arrived than were sent")
    return f"{FRAMES} masks, all equal"


def _await_subscription(watch: subprocess.Popen[str]) -> None:
    """Wait until the watcher says that it is connected, which it does after it has subscribed."""
    for line in watch.stderr or ():
        if "connected to" in line:
            return
    raise FailedError("watch ended before it had subscribed")


def step_video(_: Path) -> str:
    """Replay a video through the capture program."""
    if not CAPTURE.exists():
        return "skipped: bin/nightseg-capture is not built (libopencv-dev)"
    clip = SHARED / "clips/diptamath_small_nightRoad.mp4"
    if not clip.exists():
        return f"skipped: no clip at {os.path.relpath(clip, ROOT)}"
    got = last_json(nightseg("replay", str(clip), "--rate", "max", "--frames", "90", "--json"))
    check(got["frames"] == 90 and got["dropped"] == 0, f"video: {got['frames']} masks, {got['dropped']} lost")
    return "90 frames of an MP4 file"


def step_faults(out: Path) -> str:
    """Give the program what it has to refuse."""
    bad = out / "bad.yaml"
    bad.parent.mkdir(parents=True, exist_ok=True)
    bad.write_text("relight:\n  gaet: dark\n", encoding="utf-8")
    said = nightseg("config", "check", str(bad), code=2)
    check("gate" in said and "line 2" in said, f"config check: {said}")
    nightseg("run", "--config", str(bad), "--strict", code=2)
    nightseg("replay", str(out / "nothing-here"), code=1)
    nightseg("replay", code=2)
    bundle = out / "bundle"
    shutil.copytree(ROOT / "model/testdata/tiny", bundle)
    network = bundle / "segment.onnx"
    network.write_bytes(network.read_bytes()[:-10])
    said = nightseg("bundle", "verify", str(bundle), code=1)
    check("segment.onnx" in said, f"bundle verify: {said}")
    nightseg("bundle", "verify", "--precision", "fp32")
    return "bad settings, no source, a damaged bundle: refused with a reason"


def step_end(out: Path) -> str:
    """End the running service as systemd does."""
    settings = out / "run.yaml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings.write_text(
        f"fleet: e2e\ndevice: car\nstate_dir: {out / 'state'}\nbroker:\n  url: embedded\n  listen: 127.0.0.1:{port}\n"
        'cameras:\n  - id: front\n    source: "synth://?seed=7003&loop=30"\n',
        encoding="utf-8",
    )
    with background(NIGHTSEG, "run", "--config", settings) as service:
        await_port(port)
        watch = nightseg("watch", "--broker", f"mqtt://127.0.0.1:{port}", "--masks", "30", "--json", "--quiet")
        check(last_json(watch)["masks"] == 30, "run: no masks")
        service.send_signal(signal.SIGTERM)
        _, said = service.communicate(timeout=30)
        check(service.returncode == 0, f"run: exit code {service.returncode} after SIGTERM:\n{said}")
    return "30 masks, then a clean end"


def main() -> int:
    """Run the steps; the first that fails ends it."""
    steps = (step_demo, step_replay, step_mosquitto, step_video, step_faults, step_end)
    with tempfile.TemporaryDirectory(prefix="nightseg-e2e-") as folder:
        for step in steps:
            name, begin = step.__name__.removeprefix("step_"), time.monotonic()
            try:
                said = step(Path(folder) / name)
            except (FailedError, subprocess.TimeoutExpired, ValueError, KeyError, OSError) as fault:
                sys.stdout.write(f"FAIL {name}: {fault}\n")
                return 1
            skipped = said.startswith("skipped: ")
            text = f"skip {said.removeprefix('skipped: ')} ({name})" if skipped else f"ok   {name}: {said}"
            sys.stdout.write(f"{text}, {time.monotonic() - begin:.1f} s\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(steps)} end-to-end steps done\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
