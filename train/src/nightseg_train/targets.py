"""`targets`: soft targets of an ensemble for pictures without labels, made once and kept as bytes.

    python -m nightseg_train targets --config train/configs/benchmark/targets.yaml

A day picture is shown to the networks as it is, a night picture also brightened; every view is shown mirrored, too. How
views and networks are weighed is chosen on labelled pictures that nothing is trained on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from nightseg_train import checkpoint, config, data, metrics, runs, scoring, streams, windows
from nightseg_train.classes import NAMES
from nightseg_train.nets.espnetv2 import ESPNetv2, load_cityscapes
from nightseg_train.streams import Part
from nightseg_train.windows import Windows

log = logging.getLogger(__name__)
Probabilities = NDArray[np.float32]  # h x w x classes
QUARTER = (data.SIZE[0] // 4, data.SIZE[1] // 4)


@dataclass(frozen=True)
class Member:
    """A network of the ensemble: the folder of a run, or the file of ESPNetv2's weights from Cityscapes."""

    run: str = ""
    cityscapes: str = ""


@dataclass(frozen=True)
class Targets:
    """Settings. Paths are relative to the root of the checkout.

    Attributes:
        out: the file to write.
        windows: its day, night, clips and held_out are the pictures; the same as in the runs that use the targets.
        members: the networks.
        mixes: the weights of the members that are tried; each mix has one weight per member.
        gammas: the sets of views that are tried: each picture is shown as v^gamma for each gamma of a set.
        choose_day, choose: the labelled parts that the best mix by day, and the best mix and views by night are chosen
            on; where there is none, the first is taken.
    """

    out: str
    windows: Windows = field(default_factory=Windows)
    members: tuple[Member, ...] = ()
    mixes: tuple[tuple[float, ...], ...] = ((1.0,),)
    gammas: tuple[tuple[float, ...], ...] = ((1.0,), (1.0, 0.6))
    choose_day: tuple[Part, ...] = ()
    choose: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        """Refuse mixes that do not fit the members.

        Raises:
            ValueError: a mix has another number of weights than there are members, a weight below 0, or none above.
        """
        if not self.members or any(len(m) != len(self.members) for m in self.mixes):
            raise ValueError("targets.mixes: one weight per member is needed in each")
        if any(min(m) < 0 or max(m) <= 0 for m in self.mixes):
            raise ValueError("targets.mixes: no weight may be below 0, and one must be above")


@dataclass(frozen=True)
class Recipe:
    """Weights of the members, and the gammas of the views."""

    mix: tuple[float, ...]
    gammas: tuple[float, ...]


def brighten(picture: data.Picture, gamma: float) -> data.Picture:
    """Return the picture with values v^gamma; below 1 it is smoothed a little first, as noise grows with it."""
    if gamma == 1.0:
        return picture
    return runs.gamma(np.asarray(cv2.bilateralFilter(picture, 5, 25, 3), np.uint8), gamma)


class Ensemble:
    """Networks that give the same classes."""

    def __init__(self, members: Sequence[Member], base: Path) -> None:
        """Load every network.

        Raises:
            FileNotFoundError, ValueError: a network is missing, does not fit, or has other classes.
        """
        self.nets: list[runs.Finished | ESPNetv2] = []
        for m in members:
            if bool(m.run) == bool(m.cityscapes):
                raise ValueError("targets.members: each is either a run or a file of cityscapes weights")
            net = runs.read(base / m.run, base) if m.run else load_cityscapes(base / m.cityscapes)
            if isinstance(net, runs.Finished) and net.names != NAMES:
                raise ValueError(f"targets.members: {m.run} has other classes than CamVid's")
            self.nets.append(net)

    def view(self, at: int, picture: data.Picture) -> Probabilities:
        """Return the probabilities of one network, a quarter of the picture's size."""
        net = self.nets[at]
        if isinstance(net, runs.Finished):
            return runs.probabilities(net, picture, QUARTER).numpy()
        return _cityscapes(net, picture).numpy()

    def mixed(self, picture: data.Picture, recipe: Recipe) -> Probabilities:
        """Return the weighted mean over the members and views."""
        total = np.zeros((*QUARTER, len(NAMES)), np.float32)
        for gamma, (at, weight) in itertools.product(recipe.gammas, enumerate(recipe.mix)):
            if weight > 0:
                total += np.float32(weight) * self.view(at, brighten(picture, gamma))
        return total / np.float32(sum(recipe.mix) * len(recipe.gammas))


def _cityscapes(net: ESPNetv2, picture: data.Picture) -> Tensor:
    x = scoring.to_tensor(picture)
    x = torch.cat([x, x.flip(3)]).to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        p = scoring.cityscapes_groups(net.half_size(x).float()[:, :19]).softmax(1)
    p = (p[:1] + p[1:].flip(3)) / 2
    return F.adaptive_avg_pool2d(p, QUARTER)[0].permute(1, 2, 0).contiguous()


def choose(
    ensemble: Ensemble, recipes: Sequence[Recipe], items: Sequence[data.Item]
) -> tuple[Recipe, dict[str, float]]:
    """Return the recipe that scores best on labelled pictures, and what each scored in mIoU.

    Raises:
        ValueError: a picture has no label.
    """
    if not items:
        return recipes[0], {}
    gammas = sorted({g for r in recipes for g in r.gammas})
    totals = {r: np.zeros((len(NAMES), len(NAMES) + 1), np.int64) for r in recipes}
    for item in tqdm(items, desc="choosing", mininterval=10, disable=None):
        if item.label is None:
            raise ValueError(f"targets: {item.image} has no label")
        picture, label = data.read_image(item.image), data.read_label(item.label, len(NAMES))
        seen = {(g, at): ensemble.view(at, brighten(picture, g)) for g in gammas for at in range(len(ensemble.nets))}
        for r in recipes:
            p = sum(w * seen[g, at] for g in r.gammas for at, w in enumerate(r.mix))
            full = torch.from_numpy(np.asarray(p, np.float32)).permute(2, 0, 1)[None]
            totals[r] += metrics.confusion(label, scoring.decide(full, (label.shape[0], label.shape[1])), len(NAMES))
    scores = {r: metrics.score(m, len(items)).miou for r, m in totals.items()}
    best = max(recipes, key=lambda r: scores[r])
    return best, {f"mix {list(r.mix)} gammas {list(r.gammas)}": round(v, 2) for r, v in scores.items()}


def make(s: Targets, base: Path) -> dict[str, object]:
    """Write the file of the soft targets; return what was chosen.

    Raises:
        FileNotFoundError, ValueError: a network, a picture or a label is missing or does not fit.
    """
    ensemble, pictures = Ensemble(s.members, base), windows.unlabelled(s.windows, base)
    soft: dict[str, list[data.Picture]] = {}
    chosen: dict[str, object] = {}
    for kind, found, parts, gammas in (
        ("day", pictures.day, s.choose_day, ((1.0,),)),
        ("night", pictures.night, s.choose, s.gammas),
    ):
        items = streams.read(parts, base)[0]
        recipe, scores = choose(ensemble, [Recipe(m, g) for m in s.mixes for g in gammas], items)
        log.info("targets: %s %s; chosen %s", kind, scores, recipe)
        chosen[kind] = {"recipe": asdict(recipe), "tried": scores}
        bar = tqdm(found, desc=f"{kind} targets", mininterval=10)
        soft[kind] = [np.asarray(np.round(ensemble.mixed(p, recipe) * 255), np.uint8) for p in bar]
    checkpoint.save(base / s.out, {"soft": soft, "pictures": pictures.digest(), "chosen": chosen})
    return {"out": s.out} | chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--config", type=Path, required=True, help="settings of the targets (YAML)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    s = config.read(Targets, args.config)
    sys.stdout.write(json.dumps(make(s, config.ROOT), indent=1) + "\n")
