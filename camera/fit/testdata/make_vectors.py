"""Make the vectors of this folder: two synthetic pictures and what fitting makes of them.

Run it with any Python that has Pillow 10 or newer and NumPy: ``python make_vectors.py``.
Pillow is the reference for turning, mirroring and both filters; the bilinear filter
without antialias, which Pillow lacks, is written out in NumPy with the same arithmetic.
"""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent
TURN = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}

# name, input, W, H, and what differs from a stretch with the antialiased bilinear filter
CASES = [
    ("shrink", "wide", 24, 18, {}),
    ("shrink-much", "wide", 7, 5, {}),
    ("grow", "tall", 50, 61, {}),
    ("grow-x-shrink-y", "tall", 40, 11, {}),
    ("rows-only", "wide", 64, 20, {}),
    ("columns-only", "wide", 33, 36, {}),
    ("one-pixel", "wide", 1, 1, {}),
    ("same", "wide", 64, 36, {}),
    ("plain-shrink", "wide", 24, 18, {"antialias": False}),
    ("plain-grow", "tall", 50, 61, {"antialias": False}),
    ("nearest-shrink", "wide", 24, 18, {"filter": "nearest"}),
    ("nearest-grow", "tall", 50, 61, {"filter": "nearest"}),
    ("crop-wide", "wide", 20, 20, {"fit": "crop"}),
    ("crop-tall", "tall", 31, 17, {"fit": "crop"}),
    ("letterbox-wide", "wide", 31, 31, {"fit": "letterbox"}),
    ("letterbox-tall", "tall", 40, 23, {"fit": "letterbox"}),
    ("turn-90", "wide", 18, 30, {"rotate": 90}),
    ("turn-180", "wide", 30, 18, {"rotate": 180}),
    ("turn-270", "wide", 18, 30, {"rotate": 270}),
    ("turn-only", "tall", 29, 21, {"rotate": 90}),
    ("mirror-h", "tall", 21, 29, {"flip_h": True}),
    ("mirror-v", "wide", 32, 18, {"flip_v": True}),
    ("all", "wide", 20, 25, {"fit": "letterbox", "rotate": 270, "flip_h": True, "flip_v": True}),
    ("all-crop", "wide", 17, 19, {"fit": "crop", "rotate": 90, "flip_h": True}),
]


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Draw a picture with smooth parts, hard edges and noise, each channel its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / width
    green = np.where((x // 5 + y // 3) % 2 == 0, 230, 20)
    blue = rng.integers(0, 256, (height, width))
    red[:, : width // 8] = 255
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8), "RGB")


def largest(width: int, height: int, shape_w: int, shape_h: int) -> tuple[int, int, int, int]:
    """Return the largest centred box in width x height with the shape of shape_w x shape_h."""
    w, h = width, height
    if width * shape_h > height * shape_w:
        w = min(max((2 * height * shape_w + shape_h) // (2 * shape_h), 1), width)
    else:
        h = min(max((2 * width * shape_h + shape_w) // (2 * shape_w), 1), height)
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def plain_axis(pixels: np.ndarray, out: int) -> np.ndarray:
    """Resize the first axis with a triangle of one source pixel, in 22-bit fixed point."""
    size = pixels.shape[0]
    if size == out:
        return pixels
    result = np.empty((out, *pixels.shape[1:]), np.uint8)
    for i in range(out):
        centre = (i + 0.5) * (size / out)
        low = max(int(centre - 1 + 0.5), 0)
        high = min(int(centre + 1 + 0.5), size)
        weights = [max(1 - abs(j - centre + 0.5), 0.0) for j in range(low, high)]
        total = math.fsum(weights)
        fixed = np.array([int(0.5 + w / total * (1 << 22)) for w in weights], np.int64)
        value = np.tensordot(fixed, pixels[low:high].astype(np.int64), 1) + (1 << 21)
        result[i] = np.clip(value >> 22, 0, 255)
    return result


def plain(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resize with the bilinear filter without antialias: rows first, then columns."""
    rows = plain_axis(np.asarray(image).transpose(1, 0, 2), width).transpose(1, 0, 2)
    return Image.fromarray(plain_axis(rows, height), "RGB")


def fit(image: Image.Image, width: int, height: int, how: dict[str, object]) -> Image.Image:
    """Turn, mirror, crop, resize and pad as the settings say."""
    if rotate := how.get("rotate"):
        image = image.transpose(TURN[rotate])
    if how.get("flip_h"):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if how.get("flip_v"):
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    inner = (0, 0, width, height)
    if how.get("fit") == "crop":
        image = image.crop(largest(*image.size, width, height))
    if how.get("fit") == "letterbox":
        inner = largest(width, height, *image.size)
    size = (inner[2] - inner[0], inner[3] - inner[1])
    if how.get("filter") == "nearest":
        small = image.resize(size, Image.Resampling.NEAREST)
    elif how.get("antialias", True):
        # One axis at a time: which one Pillow takes first depends on its version and the sizes.
        rows = image.resize((size[0], image.height), Image.Resampling.BILINEAR)
        small = rows.resize(size, Image.Resampling.BILINEAR)
    else:
        small = plain(image, *size)
    out = Image.new("RGB", (width, height))
    out.paste(small, inner[:2])
    return out


def main() -> None:
    """Write the inputs, the outputs and the list of cases."""
    inputs = {"wide": picture(64, 36, 1), "tall": picture(21, 29, 2)}
    for name, image in inputs.items():
        image.save(FOLDER / f"{name}.png")
    cases = []
    for name, source, width, height, how in CASES:
        fit(inputs[source], width, height, how).save(FOLDER / f"out-{name}.png")
        defaults = {"fit": "stretch", "filter": "bilinear", "antialias": True, "rotate": 0}
        cases.append(
            {"name": name, "input": f"{source}.png", "output": f"out-{name}.png", "w": width, "h": height}
            | defaults | {"flip_h": False, "flip_v": False} | how
        )
    text = ",\n".join(json.dumps(c) for c in cases)
    (FOLDER / "cases.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
