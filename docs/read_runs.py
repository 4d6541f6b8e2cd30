"""Reads a mask message of codec rle-zstd, with the module zstandard."""

import json
import struct
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray


def read_runs(message: bytes) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Return the header, and the class of each pixel, 255 where it is unknown."""
    version, width, height, header, size, packed = struct.unpack_from("<BxHHHII", message, 4)
    if version != 1:
        raise ValueError(f"a mask message of version {version}")
    frame = message[20 + header : 20 + header + packed]
    runs = iter(zstandard.ZstdDecompressor().decompress(frame, max_output_size=size))

    def varint() -> int:
        value = shift = 0
        while (byte := next(runs)) > 127:
            value, shift = value | (byte & 127) << shift, shift + 7
        return value | byte << shift

    out = bytearray(width)  # what is above the first row
    while True:
        end = len(out) + varint()
        while len(out) < end:
            out += out[-width:][: end - len(out)]
        if end == width * (height + 1):
            break
        kind, length = (token := next(runs)) & 3, (token >> 2) + 1
        if length == 64:
            length += varint()
        left, above = out[-1], out[length - width] if kind == 1 else 0
        out += bytes([next(runs) if kind == 2 else above if kind == 1 else left]) * length
    classes = np.frombuffer(out, np.uint8)[width:].reshape(height, width)
    return json.loads(message[20 : 20 + header]), classes
