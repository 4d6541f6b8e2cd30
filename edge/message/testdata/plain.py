"""Reads PNG messages with nothing but zlib, as strictly as it can: for python_test.go."""

import struct
import sys
import zlib
from pathlib import Path

for name in sys.argv[1:]:
    rest, chunks = Path(name).read_bytes()[8:], {}
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        kind, body, crc = rest[4:8], rest[8 : 8 + length], rest[8 + length : 12 + length]
        if zlib.crc32(kind + body) != int.from_bytes(crc, "big"):
            raise ValueError(f"{name}: {kind!r} has a wrong checksum")
        chunks[kind], rest = body, rest[12 + length :]
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    inflate = zlib.decompressobj()
    raw = inflate.decompress(chunks[b"IDAT"])
    if not inflate.eof or inflate.unused_data or len(raw) != (width + 1) * height:
        raise ValueError(f"{name}: not one complete zlib stream of {width}x{height} pixels")
    above, out = bytes(width), b""
    for y in range(height):
        row = raw[y * (width + 1) : (y + 1) * (width + 1)]
        if row[0] != 2:
            raise ValueError(f"{name}: row {y} has filter {row[0]}")
        above = bytes((a + b) & 255 for a, b in zip(row[1:], above, strict=True))
        out += above
    if max(out) >= len(chunks[b"PLTE"]) // 3:
        raise ValueError(f"{name}: a pixel has no colour")
    Path(name + ".classes").write_bytes(out)
