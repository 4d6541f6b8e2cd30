"""The fastest loop of the same work that Python allows: what nightseg is held against, not what people write.

OpenVINO runs the networks of the bundle, relighting, segmentation and decision as one graph, and several frames at a
time; a thread decodes ahead, another encodes and publishes; pixels, networks and deflate run without Python's lock. The
masks and messages are those of python_loop.py with the same networks.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any, cast

import cv2
import numpy as np
import openvino as ov
from isal import isal_zlib
from openvino import opset13 as ops

import common
import python_loop as plain
from python_loop import Bundle, Floats, Picture

PNG = b"\x89PNG\r\n\x1a\n"
AHEAD = 4  # frames that are decoded, or wait to be encoded


def file_of(bundle: Bundle, graph: str, precision: str) -> Path:
    """Return a network's file in a precision, or in float where it lacks that."""
    files = bundle.graphs[graph]["files"]
    return bundle.folder / str((files.get(precision) or files["fp32"])["file"])


def joined(core: ov.Core, bundle: Bundle, precision: str, relight: bool) -> ov.Model:
    """Return the graph from a picture (RGB bytes, 1 x height x width x 3) to its logits."""
    segment = core.read_model(file_of(bundle, "segment", precision))
    taken = segment.get_parameters()[0]
    if relight:
        light = core.read_model(file_of(bundle, "relight", precision))
        image, relit = light.get_parameters()[0], light.get_results()[0].input_value(0)
    else:
        image = ops.parameter([1, *bundle.shape, 3], np.uint8, name="image")
        scale = (1 / (255 * bundle.std)).astype(np.float32)
        x = ops.multiply(ops.convert(image, np.float32), ops.constant(scale))
        x = ops.subtract(x, ops.constant((bundle.mean / bundle.std).astype(np.float32)))
        relit = ops.transpose(x, ops.constant([0, 3, 1, 2])).output(0)
    for user in list(taken.output(0).get_target_inputs()):
        user.replace_source_output(relit)
    return ov.Model([segment.get_results()[0]], [image], "picture to logits")


def decided(model: ov.Model, bundle: Bundle, weights: Floats) -> ov.Model:
    """Return the graph from a picture to the class of every pixel, 1 x 1 x height x width bytes."""
    logits = model.get_results()[0].input_value(0)
    factor = weights.reshape(1, -1, 1, 1)
    if bundle.temperature != 1:
        logits = ops.divide(logits, ops.constant(np.float32(bundle.temperature))).output(0)
    weighted = ops.multiply(logits, ops.constant(factor)) if bundle.mode == "logit" else None
    weighted = weighted or ops.add(logits, ops.constant(np.log(factor)))
    how = "align_corners" if bundle.align_corners else "half_pixel"
    size = ops.constant(np.array(bundle.shape, np.int64))
    full = ops.interpolate(
        weighted, size, "linear_onnx", "sizes", coordinate_transformation_mode=how, axes=ops.constant([2, 3])
    )
    best = ops.topk(full, ops.constant(np.int32(1)), 1, "max", "none", index_element_type="i32")
    return ov.Model([ops.convert(best.output(1), np.uint8)], model.get_parameters(), "picture to mask")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a part of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def encode(mask: Picture, bundle: Bundle, header: dict[str, object]) -> bytes:
    """Return the mask as a palette PNG with the header of a mask message; deflate is that of ISA-L at level 1."""
    height, width = mask.shape
    rows = np.zeros((height, width + 1), np.uint8)  # a byte before each row: no filter
    rows[:, 1:] = mask
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((
        PNG,
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        chunk(b"PLTE", bundle.palette),
        chunk(b"tEXt", b"nightseg\0" + text),
        chunk(b"IDAT", isal_zlib.compress(rows.data, 1)),
        chunk(b"IEND", b""),
    ))  # fmt: skip


class Decoded:
    """A thread that decodes the pictures of a run ahead, each with its number and the time when it was taken up."""

    def __init__(self, args: argparse.Namespace, bundle: Bundle) -> None:
        """Start the thread."""
        self._files = plain.list_pictures(args.images)
        self.count = args.frames or len(self._files)
        self._shape = bundle.shape
        self._queue: Queue[tuple[int, int, Picture] | BaseException] = Queue(AHEAD)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for seq in range(self.count):
                taken = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
                self._queue.put((seq, taken, plain.read(self._files[seq % len(self._files)], self._shape)))
        except (OSError, ValueError) as fault:
            self._queue.put(fault)

    def __iter__(self) -> Iterator[tuple[int, int, Picture]]:
        """Give the frames in order.

        Raises:
            OSError, ValueError: a picture cannot be read.
        """
        for _ in range(self.count):
            found = self._queue.get()
            if isinstance(found, BaseException):
                raise found
            yield found
        self._thread.join()


class Sent:
    """A thread that encodes masks and publishes them, in the order in which they are handed over."""

    def __init__(self, args: argparse.Namespace, bundle: Bundle, publisher: plain.Publisher) -> None:
        """Start the thread."""
        self._args, self._bundle, self._publisher = args, bundle, publisher
        self.size, self.hash = 0, plain.MaskHash()
        self._fault: BaseException | None = None
        self._queue: Queue[tuple[int, int, Picture] | None] = Queue(AHEAD)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, seq: int, taken: int, mask: Picture) -> None:
        """Hand over a mask."""
        self._queue.put((seq, taken, mask))

    def _work(self) -> None:
        while (given := self._queue.get()) is not None:
            if self._fault is None:
                try:
                    self._send(*given)
                except (OSError, ValueError, RuntimeError) as fault:  # the rest is taken and left: put never hangs
                    self._fault = fault

    def _send(self, seq: int, taken: int, mask: Picture) -> None:
        header = plain.header_of(seq, taken, mask, self._bundle, self._args)
        payload = encode(mask, self._bundle, header)
        self._publisher.send(payload)
        self.hash.add(seq, mask)
        self.size += len(payload)
        if self._args.masks:
            (self._args.masks / f"{seq:06d}_mask.png").write_bytes(payload)

    def close(self) -> None:
        """Wait until all is sent.

        Raises:
            OSError, ValueError, RuntimeError: something was not.
        """
        self._queue.put(None)
        self._thread.join()
        if self._fault is not None:
            raise self._fault
        self._publisher.flush()


def compiled(bundle: Bundle, args: argparse.Namespace, weights: Floats) -> ov.CompiledModel:
    """Return the graph from picture to mask, compiled for so many frames at a time."""
    core = ov.Core()
    model = decided(joined(core, bundle, args.precision, args.relight == "network"), bundle, weights)
    settings = {
        "INFERENCE_NUM_THREADS": args.threads,
        "NUM_STREAMS": args.streams,
        "INFERENCE_PRECISION_HINT": "f32",  # else what is not int8 is computed in bf16 where the processor can
        "PERFORMANCE_HINT": "THROUGHPUT" if args.streams > 1 else "LATENCY",
    }
    return core.compile_model(model, "CPU", settings)


def through(net: ov.CompiledModel, frames: Decoded, sent: Sent, jobs: int) -> None:
    """Take the frames through the graph, jobs at a time, and hand the masks on in order."""
    requests = [net.create_infer_request() for _ in range(jobs)]
    waiting: list[tuple[int, int, ov.InferRequest]] = []

    def finish() -> None:
        seq, taken, request = waiting.pop(0)
        request.wait()
        mask = cast(Picture, request.get_output_tensor().data)[0, 0].copy()
        sent.put(seq, taken, mask)
        requests.append(request)

    for seq, taken, rgb in frames:
        if not requests:
            finish()
        request = requests.pop()
        request.set_input_tensor(ov.Tensor(np.ascontiguousarray(rgb[None])))
        request.start_async()
        waiting.append((seq, taken, request))
    while waiting:
        finish()


def play(args: argparse.Namespace) -> dict[str, Any]:
    """Take the pictures through the loop and return what came of it."""
    args.relight = common.relight_of(args)
    cv2.setNumThreads(1)
    bundle = plain.load_bundle(args.bundle)
    std = bundle.reweight if args.std is None else args.std
    net = compiled(bundle, args, plain.class_weights(bundle.shares, std).astype(np.float32))
    if args.masks:
        args.masks.mkdir(parents=True, exist_ok=True)
    topic = f"nightseg/v1/{args.fleet}/{args.device}/cam/{args.camera}/mask"
    publisher = plain.Publisher(args.broker, topic)
    net(np.zeros((1, *bundle.shape, 3), np.uint8))  # the first run allocates: not part of the time
    cpu, wall = time.process_time(), time.perf_counter()
    frames, sent = Decoded(args, bundle), Sent(args, bundle, publisher)
    try:
        through(net, frames, sent, args.jobs or args.streams + 1)
    finally:
        sent.close()
    seconds, spent = time.perf_counter() - wall, time.process_time() - cpu
    publisher.close()
    return {
        "frames": frames.count,
        "seconds": round(seconds, 4),
        "fps": round(frames.count / seconds, 3),
        "core_ms_per_frame": round(spent * 1000 / frames.count, 3),
        "mask_bytes": sent.size,
        "openvino": ov.__version__,
        "opencv": cv2.__version__,
        "threads": args.threads,
        "streams": args.streams,
        "precision": args.precision,
        "relight": args.relight,
        "std": std,
        "masks_sha256": sent.hash.hexdigest(),
    }


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line: that of the plain loop, and more."""
    p = plain.parser()
    p.description = __doc__
    p.epilog = "example: bench/run.sh best_loop drive/images --broker mqtt://127.0.0.1:1883"
    p.add_argument("--precision", choices=["int8", "fp32"], default="int8", help="of the networks")
    p.add_argument("--streams", type=int, default=1, help="frames computed at a time; they share --threads")
    p.add_argument("--jobs", type=int, default=0, help="frames handed to it at a time; 0: one more than streams")
    p.set_defaults(device="best")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the loop and print one JSON object."""
    args = parser().parse_args(argv)
    if args.frames < 0 or min(args.threads, args.streams) < 1 or args.jobs < 0:
        parser().error("--frames and --jobs must not be below 0, --threads and --streams not below 1")
    return common.run_main(lambda: common.emit(play(args)))


if __name__ == "__main__":
    sys.exit(main())
