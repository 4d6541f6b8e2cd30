"""The same work as `nightseg replay`, as one writes it in Python: a peer to compare with.

OpenCV reads the picture, ONNX Runtime runs the float networks of the bundle on its CPU provider, ln w is added to the
logits, OpenCV resizes the map of every class (NumPy, where corner points lie on corner pixels), NumPy takes the
arg-max, Pillow writes a palette PNG with the header of a mask message, and paho publishes it with QoS 1. One step after
the other, no step done worse than need be.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import struct
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import cv2
import numpy as np
import onnxruntime as ort
import paho.mqtt.client as mqtt
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion
from PIL import Image, PngImagePlugin

import common

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

SHARE_FLOOR = 1e-5  # the least share that a class counts with, as in edge/decide
ENDINGS = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Bundle:
    """What the loop needs of a bundle's manifest."""

    folder: Path
    sha256: str
    shape: tuple[int, int]  # height, width
    mean: Floats
    std: Floats
    temperature: float
    shares: list[float]
    mode: str  # of the re-weighting
    reweight: float
    align_corners: bool
    palette: bytes
    graphs: dict[str, Any]
    relit: bool  # it is best with its relight network


def identity(folder: Path) -> str:
    """Return the identity of a bundle: the sha256 of its manifest in canonical form."""
    doc = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    canonical = json.dumps(doc, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest.

    Raises:
        ValueError: it asks for what this loop does not do.
    """
    b = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    for key, is_, want in (
        ("resize.fit", b["resize"]["fit"], "stretch"),
        ("resize.filter", b["resize"]["filter"], "bilinear"),
    ):
        if is_ != want:
            raise ValueError(f"{folder}/bundle.json: {key} is {is_!r}; this loop knows {want!r} only")
    palette = bytearray(768)
    for c in b["classes"]:
        palette[3 * c["id"] : 3 * c["id"] + 3] = bytes(c["colour"])
    return Bundle(
        folder=folder,
        sha256=identity(folder),
        shape=(b["shapes"][0][0], b["shapes"][0][1]),
        mean=np.array(b["normalise"]["mean"], np.float32),
        std=np.array(b["normalise"]["std"], np.float32),
        temperature=b.get("temperature") or 1.0,
        shares=b["class_shares"],
        mode=b["reweight"]["mode"],
        reweight=b["reweight"]["std"],
        align_corners=b["align_corners"],
        palette=bytes(palette),
        graphs=b["graphs"],
        relit=common.best_relight(b) == "network",
    )


def class_weights(shares: list[float], std: float) -> NDArray[np.float64]:
    """Return w_k = (w'_k - mean w') / sd(w') * std + 1 with w'_k = -ln a_k, as in the DANNet paper."""
    raw = -np.log(np.maximum(np.array(shares, np.float64), SHARE_FLOOR))
    spread = raw.std(ddof=1) if len(raw) > 1 else 0.0
    if spread < 1e-9:
        return np.ones_like(raw)
    weights: NDArray[np.float64] = (raw - raw.mean()) / spread * std + 1
    if weights.min() <= 0:
        raise ValueError(f"std {std:g}: the weight of a class reaches 0")
    return weights


def list_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder in natural order."""

    def natural(p: Path) -> list[tuple[int, int | str]]:
        parts = re.findall(r"\d+|\D+", p.name)
        return [(0, int(v)) if v.isdigit() else (1, v) for v in parts]

    found = sorted((p for p in folder.iterdir() if p.suffix.lower() in ENDINGS), key=natural)
    if not found:
        raise ValueError(f"{folder} holds no {', '.join(sorted(ENDINGS))}")
    return found


def read(path: Path, shape: tuple[int, int]) -> Picture:
    """Read a picture as RGB of the shape (height, width)."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{path}: not a picture")
    return fitted(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), shape)


def fitted(rgb: Picture, shape: tuple[int, int]) -> Picture:
    """Return a picture in the shape (height, width)."""
    if rgb.shape[:2] != shape:  # Pillow's filter, which is the bundle's; OpenCV has none that is equal
        rgb = np.asarray(Image.fromarray(rgb).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
    return np.asarray(rgb, np.uint8)


class Networks:
    """The float networks of a bundle on ONNX Runtime's CPU provider."""

    def __init__(self, bundle: Bundle, threads: int, relight: bool) -> None:
        """Open the files."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3

        def session(graph: str) -> ort.InferenceSession:
            name = bundle.graphs[graph]["files"]["fp32"]["file"]
            return ort.InferenceSession(str(bundle.folder / name), options, providers=["CPUExecutionProvider"])

        self._mean, self._std = bundle.mean, bundle.std
        self._relight = session("relight") if relight else None
        self._segment = session("segment")

    def logits(self, rgb: Picture) -> Floats:
        """Return the logits, classes x height x width at the stride of the network."""
        if self._relight is None:
            x = np.ascontiguousarray(((rgb.astype(np.float32) / 255 - self._mean) / self._std).transpose(2, 0, 1)[None])
        else:
            x = self._relight.run(None, {self._relight.get_inputs()[0].name: rgb[None]})[0]
        out: Floats = self._segment.run(None, {self._segment.get_inputs()[0].name: x})[0][0]
        return out


def stretch(n: int, m: int) -> Floats:
    """Return the n x m matrix that enlarges m values to n linearly, with the first and the last where they were."""
    at = np.arange(n) * ((m - 1) / max(n - 1, 1))
    share: Floats = np.maximum(1 - np.abs(at[:, None] - np.arange(m)), 0).astype(np.float32)
    return share


def enlarge(logits: Floats, bundle: Bundle, weights: Floats) -> Floats:
    """Return the weighted logits at full size: height x width x classes, which arg-max takes fastest."""
    h, w = bundle.shape
    factor = weights[:, None, None]
    calm = logits / np.float32(bundle.temperature)
    weighted = (calm * factor if bundle.mode == "logit" else calm + np.log(factor)).transpose(1, 2, 0)
    if bundle.align_corners:  # OpenCV has no such rule
        rows, columns, classes = weighted.shape
        tall = stretch(h, rows) @ weighted.reshape(rows, columns * classes)
        return np.asarray(stretch(w, columns) @ tall.reshape(h, columns, classes), np.float32)
    return np.asarray(cv2.resize(weighted, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)


def decide(logits: Floats, bundle: Bundle, weights: Floats) -> Picture:
    """Return the class of every pixel."""
    best: Picture = enlarge(logits, bundle, weights).argmax(axis=2).astype(np.uint8)
    return best


def encode(mask: Picture, bundle: Bundle, header: dict[str, object]) -> bytes:
    """Return the mask as a palette PNG with the header of a mask message."""
    img = Image.fromarray(mask)
    img.putpalette(bundle.palette)
    info = PngImagePlugin.PngInfo()
    info.add_text("nightseg", json.dumps(header, separators=(",", ":")))
    out = io.BytesIO()
    img.save(out, "PNG", pnginfo=info)
    return out.getvalue()


class MaskHash:
    """masks_sha256: over number, width, height (little-endian, 8, 4 and 4 bytes) and classes of each mask in order."""

    def __init__(self) -> None:
        """Start with no mask."""
        self._hash = hashlib.sha256()

    def add(self, seq: int, mask: Picture) -> None:
        """Add a mask."""
        self._hash.update(struct.pack("<QII", seq, mask.shape[1], mask.shape[0]))
        self._hash.update(mask.tobytes())

    def hexdigest(self) -> str:
        """Return the hash of the masks so far."""
        return self._hash.hexdigest()


class Publisher:
    """Sends masks to a broker, or nowhere with the URL "none"."""

    def __init__(self, url: str, topic: str) -> None:
        """Connect.

        Raises:
            ValueError: the URL is no mqtt:// URL.
        """
        self._topic = topic
        self._client: mqtt.Client | None = None
        self._last: mqtt.MQTTMessageInfo | None = None
        if url == "none":
            return
        where = urlparse(url)
        if where.scheme != "mqtt" or not where.hostname:
            raise ValueError(f"--broker {url!r} is not mqtt://HOST:PORT or none")
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.connect(where.hostname, where.port or 1883)
        self._client.loop_start()

    def send(self, payload: bytes) -> None:
        """Hand a mask to paho."""
        if self._client:
            self._last = self._client.publish(self._topic, payload, qos=1)

    def flush(self) -> None:
        """Wait until the broker has taken the last mask.

        Raises:
            RuntimeError: it does not.
        """
        if self._last:
            self._last.wait_for_publish(30)
            if not self._last.is_published():
                raise RuntimeError("the broker did not take the last mask within 30 s")

    def close(self) -> None:
        """End the connection."""
        if self._client:
            self._client.disconnect()
            self._client.loop_stop()


@dataclass
class Clock:
    """Adds up the time of the steps."""

    seconds: dict[str, float] = field(default_factory=dict)
    _at: float = 0.0

    def start(self) -> None:
        """Begin a frame."""
        self._at = time.perf_counter()

    def step(self, name: str) -> None:
        """End a step."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._at
        self._at = now


def header_of(seq: int, captured: int, mask: Picture, bundle: Bundle, args: argparse.Namespace) -> dict[str, object]:
    """Return the header of a mask message, as edge/message documents it."""
    h, w = mask.shape
    return {
        "schema": 1, "codec": "png", "fleet": args.fleet, "device": args.device, "camera": args.camera,
        "run": args.run, "seq": seq, "mono_ns": captured, "wall_offset_ns": time.time_ns() - _mono(),
        "published_ns": _mono(), "flags": [], "luma": 0, "relight": args.relight, "gain": 0, "source": [w, h],
        "to_source": [1, 0, 0, 0, 1, 0], "valid": [0, 0, w, h], "bundle": bundle.sha256, "settings": 0,
        "dropped_before": 0, "width": w, "height": h,
    }  # fmt: skip


def _mono() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def play(args: argparse.Namespace) -> dict[str, object]:
    """Take the pictures through the loop and return what came of it."""
    args.relight = common.relight_of(args)
    bundle = load_bundle(args.bundle)
    std = bundle.reweight if args.std is None else args.std
    weights = class_weights(bundle.shares, std).astype(np.float32)
    networks = Networks(bundle, args.threads, args.relight == "network")
    pictures = list_pictures(args.images)
    count = args.frames or len(pictures)
    if args.masks:
        args.masks.mkdir(parents=True, exist_ok=True)
    topic = f"nightseg/v1/{args.fleet}/{args.device}/cam/{args.camera}/mask"
    publisher, hashed, clock, size = Publisher(args.broker, topic), MaskHash(), Clock(), 0
    networks.logits(np.zeros((*bundle.shape, 3), np.uint8))  # the first run allocates: not part of the time
    cpu, wall = time.process_time(), time.perf_counter()
    for seq in range(count):
        clock.start()
        captured = _mono()
        rgb = read(pictures[seq % len(pictures)], bundle.shape)
        clock.step("decode")
        logits = networks.logits(rgb)
        clock.step("networks")
        mask = decide(logits, bundle, weights)
        clock.step("decide")
        payload = encode(mask, bundle, header_of(seq, captured, mask, bundle, args))
        clock.step("encode")
        publisher.send(payload)
        clock.step("publish")
        hashed.add(seq, mask)
        size += len(payload)
        if args.masks:
            (args.masks / f"{seq:06d}_mask.png").write_bytes(payload)
    publisher.flush()
    seconds, spent = time.perf_counter() - wall, time.process_time() - cpu
    publisher.close()
    return {
        "frames": count,
        "seconds": round(seconds, 4),
        "fps": round(count / seconds, 3),
        "step_ms": {k: round(v * 1000 / count, 3) for k, v in clock.seconds.items()},
        "core_ms_per_frame": round(spent * 1000 / count, 3),
        "mask_bytes": size,
        "onnxruntime": ort.__version__,
        "opencv": cv2.__version__,
        "threads": args.threads,
        "relight": args.relight,
        "std": std,
        "masks_sha256": hashed.hexdigest(),
    }


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: bench/run.sh python_loop drive/images --broker mqtt://127.0.0.1:1883",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("images", type=Path, help="folder of pictures")
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    p.add_argument("--frames", type=int, default=0, help="frames to do, from the start again at the end; 0: each once")
    p.add_argument("--broker", default="none", help="mqtt://HOST:PORT or none")
    common.add_relight(p)
    p.add_argument("--std", type=float, help="spread of the class weights (default: as the bundle says)")
    p.add_argument("--threads", type=int, default=2, help="of ONNX Runtime")
    p.add_argument("--masks", type=Path, help="folder to write the masks to")
    p.add_argument("--fleet", default="bench", help="first level of the topic")
    p.add_argument("--device", default="python", help="second level of the topic")
    p.add_argument("--camera", default="front", help="id of the camera")
    p.set_defaults(run=uuid.uuid4().hex[:12])
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the loop and print one JSON object."""
    args = parser().parse_args(argv)
    if args.frames < 0 or args.threads < 1:
        parser().error("--frames must not be below 0, --threads not below 1")
    return common.run_main(lambda: common.emit(play(args)))


if __name__ == "__main__":
    sys.exit(main())
