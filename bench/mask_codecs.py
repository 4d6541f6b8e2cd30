"""Other forms of a mask than nightseg's own, for mask_sizes.py: bytes out, nothing kept from mask to mask."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import zstandard
from numpy.typing import NDArray
from PIL import Image

from python_loop import Picture

PNG_REST = 8 + 25 + 12 + 12  # bytes of a PNG file besides palette and pixels: signature, IHDR, IDAT's frame, IEND
STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_RLE)

Polygons = list[tuple[int, NDArray[np.int32]]]


def zstd(data: bytes, level: int = 3) -> bytes:
    """Return the data as a zstd frame."""
    return zstandard.ZstdCompressor(level=level).compress(data)


def varints(values: Sequence[int] | NDArray[np.int64]) -> bytes:
    """Return numbers from 0 on as varints: 7 bits a byte, the low ones first, bit 7: more follow."""
    out = bytearray()
    for v in map(int, values):
        while v > 127:
            out.append(v & 127 | 128)
            v >>= 7
        out.append(v)
    return bytes(out)


def runs(flat: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return value and length of each run."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    return flat[starts], np.diff(np.concatenate([starts, [len(flat)]]))


def run_length(mask: Picture) -> bytes:
    """Return the runs of the rows one after the other, a byte and a varint each."""
    values, lengths = runs(mask.ravel())
    return b"".join(bytes([v]) + varints([n]) for v, n in zip(values.tolist(), lengths.tolist(), strict=True))


def coco(mask: Picture) -> bytes:
    """Return a mask of each class as COCO's compressed run lengths."""
    return b"".join(coco_string((mask == k).astype(np.uint8)) for k in np.unique(mask))


def coco_string(binary: NDArray[np.uint8]) -> bytes:
    """Return a binary mask as pycocotools writes it: runs down the columns, less the run before the last one."""
    flat = binary.ravel(order="F")
    values, lengths = runs(flat)
    counts = [0, *lengths.tolist()] if values[0] else lengths.tolist()
    out = bytearray()
    for i, count in enumerate(counts):
        x = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            c = x & 31
            x >>= 5
            more = x != -1 if c & 16 else x != 0
            out.append((c | 32 if more else c) + 48)
    return bytes(out)


def contours(mask: Picture, eps: float) -> Polygons:
    """Return the outlines of all regions, holes among them, with points left out that are within eps of the rest."""
    found: Polygons = []
    for k in np.unique(mask):
        for line in cv2.findContours((mask == k).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]:
            found.append((int(k), np.asarray(cv2.approxPolyDP(line, eps, True) if eps else line, np.int32)[:, 0]))
    return found


def polygons_json(polygons: Polygons) -> bytes:
    """Return outlines as JSON."""
    text = json.dumps([{"class": k, "points": p.ravel().tolist()} for k, p in polygons], separators=(",", ":"))
    return text.encode()


def polygons_packed(polygons: Polygons) -> bytes:
    """Return outlines as varints of the steps from point to point, in a zstd frame."""
    out = bytearray()
    for k, p in polygons:
        steps = np.diff(np.concatenate([[[0, 0]], p]), axis=0).ravel().astype(np.int64)
        out += bytes([k]) + varints([len(p)]) + varints(np.where(steps < 0, -2 * steps - 1, 2 * steps))
    return zstd(bytes(out))


def painted(polygons: Polygons, shape: tuple[int, int]) -> Picture:
    """Return the mask that outlines give, large regions first."""
    mask = np.zeros(shape, np.uint8)
    for k, p in sorted(polygons, key=lambda one: -cv2.contourArea(one[1])):
        cv2.fillPoly(mask, [p], k)
    return mask


def rows_of(mask: Picture, bits: int) -> NDArray[np.uint8]:
    """Return the rows of pixels as a PNG file packs them: one or two pixels a byte."""
    if bits == 8:
        return mask
    even = mask if mask.shape[1] % 2 == 0 else np.pad(mask, ((0, 0), (0, 1)))
    return np.asarray(even[:, ::2] << 4 | even[:, 1::2], np.uint8)


def filtered(rows: NDArray[np.uint8], kind: int) -> bytes:
    """Return rows with one of PNG's filters on all: 0 none, 1 left, 2 up, 3 mean, 4 Paeth."""
    padded = np.pad(rows.astype(np.int16), ((1, 0), (1, 0)))
    left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    if kind == 4:
        p = left + up - corner
        a, b, c = abs(p - left), abs(p - up), abs(p - corner)
        guess = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
    else:
        guess = (np.zeros_like(left), left, up, (left + up) // 2)[kind]
    out = np.full((rows.shape[0], rows.shape[1] + 1), kind, np.uint8)
    out[:, 1:] = (rows - guess) & 255
    return out.tobytes()


def deflated(data: bytes, level: int, strategy: int) -> bytes:
    """Return a zlib stream."""
    c = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
    return c.compress(data) + c.flush()


def best_png(mask: Picture, bits: int, colours: int, clock: Callable[[], int]) -> tuple[int, int]:
    """Return the size of zlib's smallest PNG of all filters (one for all rows) and strategies, and its time.

    Args:
        mask: the classes.
        bits: of a pixel, 4 or 8.
        colours: of the palette.
        clock: in ns; only the compression that won is timed.
    """
    found = []
    for kind in range(5):
        data = filtered(rows_of(mask, bits), kind)
        for strategy in STRATEGIES:
            began = clock()
            size = len(deflated(data, 9, strategy))
            found.append((size, clock() - began))
    size, spent = min(found)
    return size + PNG_REST + 12 + 3 * colours, spent


def pillow_png(mask: Picture, bits: int, palette: bytes) -> bytes:
    """Return a palette PNG as Pillow writes it without being told more; up to 16 colours it takes 4 bits."""
    img = Image.fromarray(mask)
    img.putpalette(palette if bits == 4 else palette.ljust(17 * 3, b"\0"))
    out = io.BytesIO()
    img.save(out, "PNG", bits=bits)
    return out.getvalue()
