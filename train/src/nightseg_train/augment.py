"""Augmentation: windows of pictures and labels, and light that makes street pictures look taken by night.

Pictures come as H x W x 3 RGB bytes and leave as float32 in 0..1. Every function draws from the generator that it is
given, so that a run can be repeated. All of it is NumPy and OpenCV on one thread: a worker prepares the next batch
while the networks have the other core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from nightseg_train.classes import IGNORE

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
GRAIN = 1 << 21  # numbers in the pool of noise, from which slices are taken


@dataclass(frozen=True)
class Night:
    """How dark and rough the simulated nights are; chance is the share of pictures that are changed."""

    chance: float = 0.75
    gamma: float = 2.6
    darkest: float = 0.08
    cast: float = 0.35
    noise: float = 0.06
    lamps: int = 5
    class_light: float = 0.6


@dataclass(frozen=True)
class Window:
    """A part of a picture (top, left, height, width as shares of the picture) and whether it is mirrored."""

    top: float
    left: float
    height: float
    width: float
    flip: bool

    def cut(self, values: Bytes, size: tuple[int, int], nearest: bool) -> Bytes:
        """Return the window of H x W (x C) bytes, resized to size (height, width)."""
        h, w = values.shape[:2]
        y0, x0 = round(self.top * h), round(self.left * w)
        y1 = min(max(round((self.top + self.height) * h), y0 + 1), h)
        x1 = min(max(round((self.left + self.width) * w), x0 + 1), w)
        mode = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        if not nearest and (y1 - y0) > 1.5 * size[0]:
            mode = cv2.INTER_AREA
        out = cv2.resize(np.ascontiguousarray(values[y0:y1, x0:x1]), (size[1], size[0]), interpolation=mode)
        return np.ascontiguousarray(out[:, ::-1] if self.flip else out, np.uint8)


def draw_window(rng: np.random.Generator, share: tuple[float, float], zoom: tuple[float, float]) -> Window:
    """Return a random window: share (height, width) of the picture divided by a log-uniform zoom, at most all."""
    z = float(np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1]))))
    h, w = min(share[0] / z, 1.0), min(share[1] / z, 1.0)
    return Window(float(rng.uniform(0, 1 - h)), float(rng.uniform(0, 1 - w)), h, w, bool(rng.random() < 0.5))


def around(rng: np.random.Generator, win: Window, y: float, x: float) -> Window:
    """Return the window moved so that it holds the place (y, x), shares of the picture, not always in its middle."""
    top = min(max(y - win.height * float(rng.uniform(0.2, 0.8)), 0.0), 1 - win.height)
    left = min(max(x - win.width * float(rng.uniform(0.2, 0.8)), 0.0), 1 - win.width)
    return replace(win, top=top, left=left)


def mild(rng: np.random.Generator, picture: Bytes, spread: float = 0.2) -> Floats:
    """Return the picture with small changes of gamma, gain (log-normal, sd spread) and colour."""
    gamma, gain = np.exp(rng.normal(0, spread, 2))
    cast = np.exp(rng.normal(0, 0.06, 3))
    table = _curve(float(gamma))[:, None] * (gain * cast)[None]
    return _look_up(np.minimum(table, 1), picture)


def night(rng: np.random.Generator, picture: Bytes, labels: Bytes | None, s: Night, sky: int | None = 0) -> Floats:
    """Return the picture as a camera might see it by night.

    Light falls by class (a black sky, a lit road) where labels, h x w class ids with 255 for none, are given; sky is
    the id of the sky, if the labels have one.
    """
    h, w = picture.shape[:2]
    warm = rng.uniform(-s.cast, s.cast)
    tint = np.exp(np.array([warm, rng.normal(0, 0.08), -warm]))
    x = _look_up(_curve(float(rng.uniform(1.0, s.gamma)))[:, None] * tint[None], picture)
    field = _light(rng, h, w)
    if labels is not None and s.class_light > 0:
        field = field * _class_light(rng, labels, (h, w), s.class_light, sky)
    x *= field[:, :, None]
    target = float(np.exp(rng.uniform(np.log(s.darkest), np.log(0.35))))
    x *= np.float32(np.clip(target / max(float(x.mean()), 1e-3), 0.05, 4))
    _glare(rng, x, s.lamps)
    x = _blur(rng, x)
    _grain(rng, x, float(rng.uniform(0, s.noise)))
    return np.clip(x, 0, 1, out=x)


def mix(rng: np.random.Generator, picture: Bytes, labels: Bytes | None, s: Night, sky: int | None = 0) -> Floats:
    """Return the picture by night with the chance s.chance, else with mild changes."""
    return night(rng, picture, labels, s, sky) if rng.random() < s.chance else mild(rng, picture)


def roughen(rng: np.random.Generator, picture: Bytes, noise: float) -> Floats:
    """Return a true night picture with other exposure, colour, focus and more noise."""
    x = _blur(rng, mild(rng, picture, 0.3))
    _grain(rng, x, float(rng.uniform(0, noise)))
    return np.clip(x, 0, 1, out=x)


def fourier(x: Floats, style: Floats, beta: float) -> Floats:
    """Return x, H x W x 3 in 0..1, with the low-frequency amplitudes of style: its light and colours, not its things.

    The square of the spectrum that is taken over is 2b + 1 wide, b = floor(beta * min(H, W)); at b = 0 each channel
    gets the mean of that of style. Source: FDA (Yang and Soatto, CVPR 2020, arXiv 2004.05498), equation 3.

    Raises:
        ValueError: the two differ in shape.
    """
    if x.shape != style.shape:
        raise ValueError(f"fourier: a picture of {x.shape} cannot take over from one of {style.shape}")
    h, w = x.shape[:2]
    b = int(beta * min(h, w))
    spectrum, theirs = np.fft.rfft2(x, axes=(0, 1)), np.fft.rfft2(style, axes=(0, 1))
    for rows in (slice(0, b + 1), slice(h - b, h) if b else slice(0, 0)):
        own = spectrum[rows, : b + 1]
        own *= np.abs(theirs[rows, : b + 1]) / np.maximum(np.abs(own), 1e-9)
    return np.clip(np.fft.irfft2(spectrum, (h, w), axes=(0, 1)), 0, 1).astype(np.float32)


def _curve(gamma: float) -> NDArray[np.float64]:
    return np.maximum(np.arange(256) / 255, 1e-4) ** gamma


def _look_up(table: NDArray[np.float64], picture: Bytes) -> Floats:
    """Return table[v, c] for each value v of channel c; table is 256 x 3."""
    lut = np.ascontiguousarray(table, np.float32).reshape(1, 256, 3)
    return np.asarray(cv2.LUT(picture, lut), np.float32)


def _light(rng: np.random.Generator, h: int, w: int) -> Floats:
    """Return a smooth random light field, H x W, about 0.15 to 2."""
    coarse = rng.normal(0, 0.5, (4, 5)) + np.linspace(-1, 1, 4)[:, None] * rng.uniform(-0.2, 0.8)
    middle = cv2.resize(coarse.astype(np.float32), (max(w // 8, 1), max(h // 8, 1)), interpolation=cv2.INTER_CUBIC)
    gain = np.exp(np.clip(middle, -2, 0.8))
    return np.asarray(cv2.resize(gain, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)


def _class_light(
    rng: np.random.Generator, labels: Bytes, size: tuple[int, int], amount: float, sky: int | None
) -> Floats:
    """Return a gain per pixel by class, soft at the borders; the sky loses most."""
    gains = np.exp(rng.normal(0, amount, IGNORE + 1))
    dark = np.exp(rng.uniform(np.log(0.01), np.log(0.8)))
    if sky is not None:
        gains[sky] = dark
    gains[IGNORE] = 1
    if rng.random() >= 0.8:
        gains[:] = 1
    field = cv2.blur(gains.astype(np.float32)[labels], (3, 3))
    return np.asarray(cv2.resize(field, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _glare(rng: np.random.Generator, x: Floats, most: int) -> None:
    """Add up to most lamps: a bright core with a wide halo, warm or white. Halos are drawn at a quarter of the size."""
    h, w = x.shape[:2]
    count = int(rng.integers(0, most + 1))
    if count == 0:
        return
    rows, cols = np.ogrid[0 : h // 4, 0 : w // 4]
    halo = np.zeros((h // 4, w // 4, 3), np.float32)
    for _ in range(count):
        cy, cx = rng.uniform(0, 0.8) * h, rng.uniform(0, 1) * w
        r = float(np.exp(rng.uniform(np.log(1.5), np.log(10))))
        core, wide = float(rng.uniform(0.5, 1.5)), float(rng.uniform(0.02, 0.25))
        tint = np.array([1.0, rng.uniform(0.65, 1), rng.uniform(0.3, 1)], np.float32)
        d2 = (rows * 4 + 1.5 - cy) ** 2 + (cols * 4 + 1.5 - cx) ** 2
        halo += (wide / (1 + d2 / (r * r * 8))).astype(np.float32)[:, :, None] * tint
        y0, y1 = max(int(cy - 3 * r), 0), min(int(cy + 3 * r) + 1, h)
        x0, x1 = max(int(cx - 3 * r), 0), min(int(cx + 3 * r) + 1, w)
        ys, xs = np.ogrid[y0:y1, x0:x1]
        spot = core * np.exp(-((ys - cy) ** 2 + (xs - cx) ** 2) / (2 * r * r))
        x[y0:y1, x0:x1] += spot.astype(np.float32)[:, :, None] * tint
    x += cv2.resize(halo, (w, h), interpolation=cv2.INTER_LINEAR)


def _blur(rng: np.random.Generator, x: Floats) -> Floats:
    """Blur about a third of the pictures: a box both ways (focus) or along the rows (motion)."""
    kind = rng.random()
    if kind < 0.2:
        return np.asarray(cv2.blur(x, (3, 3)), np.float32)
    if kind < 0.35:
        return np.asarray(cv2.blur(x, (5, 1)), np.float32)
    return x


@lru_cache(maxsize=1)
def _pool() -> Floats:
    """Return the same normal numbers in every run; a slice from a random place stands for fresh ones."""
    return np.random.default_rng(0).standard_normal(GRAIN, np.float32)


def _grain(rng: np.random.Generator, x: Floats, strength: float) -> None:
    """Add noise whose variance grows with the light; in a third of the pictures it is blotched, as after JPEG."""
    h, w = x.shape[:2]
    blotched = rng.random() < 1 / 3
    size = (h // 2, w // 2, 3) if blotched else (h, w, 3)
    n = size[0] * size[1] * 3
    start = int(rng.integers(0, GRAIN - n))
    grain = _pool()[start : start + n].reshape(size)
    if blotched:
        grain = np.asarray(cv2.resize(grain, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
    scale = np.sqrt(np.maximum(x, 0) * np.float32(0.5) + np.float32(0.06))
    x += grain * scale * np.float32(strength)
