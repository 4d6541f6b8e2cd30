"""Soft targets of the teacher for pictures without labels, made once and kept as bytes.

A day picture is shown to the teacher as it is, a night picture also brightened; every view is shown mirrored, too.
How views and networks are weighed is chosen on night_dev.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from nightseg_train import checkpoint, data, metrics, pools, scoring, teacher
from nightseg_train.classes import NAMES
from nightseg_train.config import Config
from nightseg_train.nets.espnetv2 import ESPNetv2

log = logging.getLogger(__name__)
Probabilities = NDArray[np.float32]  # h x w x classes, a quarter of the picture's size


@dataclass(frozen=True)
class Recipe:
    """How night targets are made: gammas of the views, and the share of the untouched Cityscapes network."""

    gammas: tuple[float, ...]
    untouched: float


RECIPES = tuple(Recipe(g, u) for g in ((1.0,), (0.6,), (1.0, 0.6), (1.0, 0.6, 0.45)) for u in (0.0, 0.3, 0.5, 1.0))
CLIP_STRIDES = {"diptamath_small_nightRoad.mp4": 30, "tmo324_night.mp4": 60}


def brighten(picture: data.Picture, gamma: float) -> data.Picture:
    """Return the picture with values v^gamma; below 1 it is smoothed a little first, as noise grows with it."""
    if gamma == 1.0:
        return picture
    smooth = cv2.bilateralFilter(picture, 5, 25, 3)
    table = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(smooth, table), np.uint8)


class Ensemble:
    """The fine-tuned teacher and the untouched Cityscapes network, both giving the 11 classes."""

    def __init__(self, config: Config, root: Path) -> None:
        """Load both networks."""
        s = config.teacher.s
        self.tuned = teacher.load(root / config.work / "teacher.pt", s)
        self.untouched = teacher.cityscapes(root / config.shared, s).to(memory_format=torch.channels_last)

    def view(self, picture: data.Picture, tuned: bool) -> Probabilities:
        """Return the probabilities of one network, averaged over the picture and its mirror image."""
        x = scoring.to_tensor(picture)
        x = torch.cat([x, x.flip(3)]).to(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            p = _tuned(self.tuned, x) if tuned else _untouched(self.untouched, x)
        p = F.avg_pool2d((p[:1] + p[1:].flip(3)) / 2, 2)
        result: Probabilities = p[0].permute(1, 2, 0).contiguous().numpy()
        return result

    def targets(self, picture: data.Picture, recipe: Recipe) -> data.Picture:
        """Return the soft targets of a picture, quarter size, classes last, 255 for 1."""
        parts = []
        for gamma in recipe.gammas:
            shown = brighten(picture, gamma)
            if recipe.untouched < 1:
                parts.append((1 - recipe.untouched) * self.view(shown, tuned=True))
            if recipe.untouched > 0:
                parts.append(recipe.untouched * self.view(shown, tuned=False))
        p = np.sum(parts, 0) / len(recipe.gammas)
        return np.asarray(np.round(p * 255), np.uint8)


def _tuned(net: ESPNetv2, x: Tensor) -> Tensor:
    return net.half_size(x).float().softmax(1)


def _untouched(net: ESPNetv2, x: Tensor) -> Tensor:
    return scoring.cityscapes_groups(net.half_size(x).float()[:, :19]).softmax(1)


def choose(ensemble: Ensemble, items: Sequence[data.Item]) -> tuple[Recipe, dict[str, float]]:
    """Return the recipe that scores best on labelled night pictures, and what each scored in mIoU."""
    gammas = sorted({g for r in RECIPES for g in r.gammas})
    totals = {r: np.zeros((len(NAMES), len(NAMES) + 1), np.int64) for r in RECIPES}
    for item in items:
        if item.label is None:
            raise ValueError(f"pseudo: {item.image} has no label")
        picture, label = data.read_image(item.image), data.read_label(item.label, len(NAMES))
        seen = {(g, t): ensemble.view(brighten(picture, g), t) for g in gammas for t in (True, False)}
        for r in RECIPES:
            p = sum((1 - r.untouched) * seen[g, True] + r.untouched * seen[g, False] for g in r.gammas)
            full = torch.from_numpy(np.asarray(p)).permute(2, 0, 1)[None]
            mask = scoring.decide(full, (label.shape[0], label.shape[1]))
            totals[r] += metrics.confusion(label, mask, len(NAMES))
    scores = {r: metrics.score(m, len(items)).miou for r, m in totals.items()}
    best = max(RECIPES, key=lambda r: scores[r])
    return best, {f"gammas {r.gammas} untouched {r.untouched}": round(v, 2) for r, v in scores.items()}


@dataclass(frozen=True)
class Unlabelled:
    """The pictures without labels: taken by day, and at dusk or by night."""

    day: list[data.Picture]
    night: list[data.Picture]


def night_files(shared: Path) -> list[data.Item]:
    """Return the dusk and night pictures without labels; the frames of night_dev are left out."""
    base = shared / "data"
    held_out = {i.image.name for i in data.list_camvid(base / "msrs_night/night_dev")}
    msrs = data.list_folder(base / "msrs_night/night_train_unlabelled/images")
    night = [i for i in msrs if i.image.name not in held_out]
    night += data.list_folder(base / "camvid_dusk/dusk_train_unlabelled/images")
    return night + data.list_folder(base / "night_sequence/diptamath_30fps/images")[::4]


def unlabelled(shared: Path) -> Unlabelled:
    """Read every picture that may be used without its label, and frames of both night clips."""
    base = shared / "data"
    day = data.list_folder(base / "msrs_night/day_train_boxes/images")
    day += data.list_folder(base / "camvid_dusk/day_target_unlabelled/images")
    night = [data.read_image(i.image) for i in night_files(shared)]
    for name, stride in CLIP_STRIDES.items():
        night += pools.clip_frames(base / "night_sequence/clips" / name, stride)
    return Unlabelled([data.read_image(i.image) for i in day], night)


def make(config: Config, root: Path) -> tuple[pools.Pool, pools.Pool]:
    """Return the day and the night pictures with their soft targets, from the kept file where there is one."""
    shared, path = root / config.shared, root / config.work / "pseudo.pt"
    pictures = unlabelled(shared)
    state = checkpoint.load(path)
    if state is None:
        ensemble = Ensemble(config, root)
        night_dev = data.list_camvid(shared / "data/msrs_night/night_dev")
        recipe, scores = choose(ensemble, night_dev)
        log.info("pseudo: night_dev %s; chosen %s", scores, recipe)
        day_recipe = Recipe((1.0,), min(recipe.untouched, 0.3))
        soft = {
            "day": [ensemble.targets(p, day_recipe) for p in tqdm(pictures.day, desc="day targets", mininterval=10)],
            "night": [ensemble.targets(p, recipe) for p in tqdm(pictures.night, desc="night targets", mininterval=10)],
        }
        state = {"soft": soft, "night_dev": scores, "recipe": asdict(recipe)}
        checkpoint.save(path, state)
    kept = state["soft"]
    if not isinstance(kept, dict) or len(kept["night"]) != len(pictures.night):
        raise ValueError(f"pseudo: {path} belongs to other pictures; remove it")
    return pools.Pool(pictures.day, [], kept["day"]), pools.Pool(pictures.night, [], kept["night"])
