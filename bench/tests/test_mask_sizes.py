"""The forms of a mask: what comes back is what went in, and sizes are those of a file that others can read."""

import io
import struct
import zlib

import numpy as np
import pytest
import zstandard
from PIL import Image

import mask_codecs as codecs
import mask_sizes
from python_loop import Picture


def scene() -> Picture:
    mask = np.zeros((48, 64), np.uint8)
    mask[24:] = 3
    mask[10:40, 20:30] = 8
    mask[15:20, 22:26] = 10  # a hole
    return mask


def test_run_lengths() -> None:
    values, lengths = codecs.runs(np.array([4, 4, 4, 0, 9, 9], np.uint8))
    assert values.tolist() == [4, 0, 9] and lengths.tolist() == [3, 1, 2]
    assert codecs.varints([0, 127, 128, 300]) == bytes([0, 127, 128, 1, 172, 2])
    assert codecs.run_length(np.full((20, 10), 5, np.uint8)) == bytes([5, 200, 1])
    assert zstandard.decompress(codecs.zstd(b"abc")) == b"abc"


def from_coco(text: bytes) -> list[int]:
    """Read the counts as pycocotools does."""
    counts: list[int] = []
    p = 0
    while p < len(text):
        x = k = 0
        more = True
        while more:
            c = text[p] - 48
            x |= (c & 31) << 5 * k
            more = bool(c & 32)
            p, k = p + 1, k + 1
            if not more and c & 16:
                x |= -1 << 5 * k
        counts.append(x + counts[-2] if len(counts) > 2 else x)
    return counts


def test_coco_run_lengths_come_back() -> None:
    for k in (0, 3, 8):
        binary = (scene() == k).astype(np.uint8)
        counts = from_coco(codecs.coco_string(binary))
        flat = np.concatenate([np.full(n, i % 2, np.uint8) for i, n in enumerate(counts)])
        assert np.array_equal(flat.reshape(64, 48).T, binary)


@pytest.mark.parametrize("bits", [4, 8])
def test_pngs_come_back(bits: int) -> None:
    mask, palette = scene(), bytes(range(33))
    file = codecs.pillow_png(mask, bits, palette)
    picture = Image.open(io.BytesIO(file))
    assert file[24] == bits  # of IHDR
    assert np.array_equal(np.asarray(picture), mask)
    rows = codecs.rows_of(mask, bits)
    files = []
    for kind in range(5):
        stream = codecs.deflated(codecs.filtered(rows, kind), 9, zlib.Z_DEFAULT_STRATEGY)
        head = struct.pack(">IIBBBBB", 64, 48, bits, 3, 0, 0, 0)
        parts = [(b"IHDR", head), (b"PLTE", palette), (b"IDAT", stream), (b"IEND", b"")]
        files.append(b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts
        ))  # fmt: skip
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(files[-1]))), mask), kind
    size, _ = codecs.best_png(mask, bits, 11, lambda: 0)
    assert size <= min(map(len, files))


def test_outlines_come_back() -> None:
    mask = scene()
    exact = codecs.contours(mask, 0)
    assert (codecs.painted(exact, (48, 64)) == mask).mean() > 0.995
    assert len(codecs.polygons_packed(exact)) < len(codecs.polygons_json(exact))


def test_the_table() -> None:
    forms = mask_sizes.Forms(bytes(33), 11)
    forms.add(scene())
    assert forms.found["raw"].cells() == ["raw", "3,072", "3,072", "-"]
    times = {"median": 0.5, "min": 0.4, "max": 0.9}
    png = {"codec": "png", "bytes_mean": 1000, "bytes_p95": 1100, "ms_core": times, "ms_core_p99": 0.8}
    said = {
        "codecs": [png], "masks": 1, "shape": [48, 64], "sources": ["a/images"], "bundle": "tiny 1.0.0",
        "bundle_sha256": "ab" * 32, "precision": "int8", "provider": "cpu", "other_programs_cores": 0.1,
    }  # fmt: skip
    text = mask_sizes.render(said, 500, forms)
    assert "| **nightseg, png** | 479 | 579 | 0.50 (p99 0.80) |" in text
    assert "outlines within 2 pixels, packed, zstd (" in text
