"""Augmentation: geometry on bytes, light on tensors. The light part makes street pictures look taken by night.

Every function draws from the generator that it is given, so that a run can be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nightseg_train.classes import IGNORE

Bytes = NDArray[np.uint8]


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

    def cut(self, values: NDArray[np.generic], size: tuple[int, int], nearest: bool) -> NDArray[np.generic]:
        """Return the window of H x W (x C) values, resized to size (height, width)."""
        h, w = values.shape[:2]
        y0, x0 = round(self.top * h), round(self.left * w)
        y1 = min(max(round((self.top + self.height) * h), y0 + 1), h)
        x1 = min(max(round((self.left + self.width) * w), x0 + 1), w)
        mode = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        if not nearest and (y1 - y0) > 1.5 * size[0]:
            mode = cv2.INTER_AREA
        out = cv2.resize(np.ascontiguousarray(values[y0:y1, x0:x1]), (size[1], size[0]), interpolation=mode)
        return np.ascontiguousarray(out[:, ::-1]) if self.flip else out


def draw_window(rng: np.random.Generator, share: tuple[float, float], zoom: tuple[float, float]) -> Window:
    """Return a random window: share (height, width) of the picture divided by a log-uniform zoom, at most all."""
    z = float(np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1]))))
    h, w = min(share[0] / z, 1.0), min(share[1] / z, 1.0)
    return Window(float(rng.uniform(0, 1 - h)), float(rng.uniform(0, 1 - w)), h, w, bool(rng.random() < 0.5))


def mild(rng: np.random.Generator, x: Tensor) -> Tensor:
    """Return N x 3 x H x W values in 0..1 with small changes of gain, gamma and colour, as by day."""
    n = x.shape[0]
    gain = _per(np.exp(rng.normal(0, 0.2, (n, 1))))
    gamma = _per(np.exp(rng.normal(0, 0.2, (n, 1))))
    cast = _per(np.exp(rng.normal(0, 0.06, (n, 3))))
    return ((x.clamp(1e-4, 1) ** gamma) * gain * cast).clamp(0, 1)


def night(rng: np.random.Generator, x: Tensor, labels: Tensor | None, s: Night) -> Tensor:
    """Return N x 3 x H x W values in 0..1 as a camera might see them by night.

    Light falls by class (a black sky, a lit road) where labels, N x h x w class ids with 255 for none, are given.
    """
    n, _, h, w = x.shape
    x = x.clamp(1e-4, 1) ** _per(rng.uniform(1.0, s.gamma, (n, 1)))
    x = x * _light(rng, n, h, w)
    if labels is not None and s.class_light > 0:
        x = x * _class_light(rng, labels, (h, w), s.class_light)
    level = x.mean((1, 2, 3), keepdim=True)
    target = _per(np.exp(rng.uniform(np.log(s.darkest), np.log(0.35), (n, 1))))
    x = x * (target / level.clamp_min(1e-3)).clamp(0.05, 4)
    warm = rng.uniform(-s.cast, s.cast, (n, 1))
    tint = np.concatenate([warm, rng.normal(0, 0.08, (n, 1)), -warm], 1)
    x = x * _per(np.exp(tint))
    x = _glare(rng, x, s.lamps)
    x = _blur(rng, x)
    strength = _per(rng.uniform(0, s.noise, (n, 1)))
    seed = torch.Generator().manual_seed(int(rng.integers(2**31)))
    grain = torch.randn(x.shape, generator=seed)
    x = x + grain * strength * (x.clamp_min(0) * 0.5 + 0.06).sqrt()
    return x.clamp(0, 1)


def mix(rng: np.random.Generator, x: Tensor, labels: Tensor | None, s: Night) -> Tensor:
    """Return pictures of which a share s.chance is turned to night and the rest changed mildly."""
    dark = rng.random(x.shape[0]) < s.chance
    out = mild(rng, x)
    if bool(dark.any()):
        pick = torch.from_numpy(np.flatnonzero(dark))
        out[pick] = night(rng, x[pick], None if labels is None else labels[pick], s)
    return out


def _per(values: NDArray[np.float64]) -> Tensor:
    """Return N x C numbers as a N x C x 1 x 1 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values)).float()[:, :, None, None]


def _light(rng: np.random.Generator, n: int, h: int, w: int) -> Tensor:
    """Return a smooth random light field, N x 1 x H x W, about 0.15 to 2."""
    coarse = torch.from_numpy(rng.normal(0, 0.5, (n, 1, 4, 5))).float()
    coarse = coarse + torch.linspace(-1, 1, 4).view(1, 1, 4, 1) * _per(rng.uniform(-0.2, 0.8, (n, 1)))
    return F.interpolate(coarse, (h, w), mode="bicubic", align_corners=True).clamp(-2, 0.8).exp()


def _class_light(rng: np.random.Generator, labels: Tensor, size: tuple[int, int], amount: float) -> Tensor:
    """Return a gain per pixel by class, soft at the borders; the sky (id 0) loses most."""
    n = labels.shape[0]
    gains = np.exp(rng.normal(0, amount, (n, IGNORE + 1)))
    gains[:, 0] = np.exp(rng.uniform(np.log(0.01), np.log(0.8), n))
    gains[:, IGNORE] = 1
    on = rng.random(n) < 0.8
    gains[~on] = 1
    table = torch.from_numpy(gains).float()
    field = torch.gather(table, 1, labels.long().flatten(1)).view(n, 1, *labels.shape[1:])
    field = F.avg_pool2d(field, 3, 1, 1, count_include_pad=False)
    return F.interpolate(field, size, mode="bilinear", align_corners=False)


def _glare(rng: np.random.Generator, x: Tensor, most: int) -> Tensor:
    """Add up to most lamps per picture: a bright core with a wide halo, warm or white."""
    n, _, h, w = x.shape
    rows = torch.arange(h).view(h, 1).float()
    cols = torch.arange(w).view(1, w).float()
    out = x.clone()
    for i in range(n):
        for _ in range(int(rng.integers(0, most + 1))):
            cy, cx = rng.uniform(0, 0.8) * h, rng.uniform(0, 1) * w
            r = float(np.exp(rng.uniform(np.log(1.5), np.log(10))))
            d2 = (rows - cy) ** 2 + (cols - cx) ** 2
            glow = float(rng.uniform(0.5, 1.5)) * torch.exp(-d2 / (2 * r * r))
            glow = glow + float(rng.uniform(0.02, 0.25)) / (1 + d2 / (r * r * 8))
            tint = torch.tensor([1.0, float(rng.uniform(0.65, 1)), float(rng.uniform(0.3, 1))]).view(3, 1, 1)
            out[i] += tint * glow
    return out


def _blur(rng: np.random.Generator, x: Tensor) -> Tensor:
    """Blur about a third of the pictures: a box along the rows (motion) or both ways (focus)."""
    kind = rng.random(x.shape[0])
    for i in range(x.shape[0]):
        if kind[i] < 0.2:
            x[i] = F.avg_pool2d(x[i], 3, 1, 1, count_include_pad=False)
        elif kind[i] < 0.35:
            x[i] = F.avg_pool2d(x[i], (1, 5), 1, (0, 2), count_include_pad=False)
    return x
