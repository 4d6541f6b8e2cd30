"""`targets`: soft targets of an ensemble for pictures without labels, made once and kept as bytes.

    python -m nightseg_train targets --config train/configs/benchmark/targets.yaml

Every picture is shown mirrored, too. By night a member may take the statistics of its batch norms from the pictures of
the camera at hand (Li et al., arXiv 1603.04779), and the mean of all may be weighed by what the same camera sees where
by day. How networks are mixed and how much the place counts is chosen on labelled pictures that nothing is trained on.
"""

from __future__ import annotations

import argparse
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
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from nightseg_train import checkpoint, config, data, metrics, origins, runs, scoring, shipped, streams, windows
from nightseg_train.classes import NAMES
from nightseg_train.nets.espnetv2 import ESPNetv2, load_cityscapes
from nightseg_train.origins import Origin
from nightseg_train.streams import Part
from nightseg_train.windows import Windows

log = logging.getLogger(__name__)
Probabilities = NDArray[np.float32]  # h x w x classes
Net = runs.Finished | shipped.Teacher | ESPNetv2
QUARTER = (data.SIZE[0] // 4, data.SIZE[1] // 4)
PLACE_BLUR = 6.0  # standard deviation in pixels of a quarter of the picture
SELDOM = np.float32(1e-3)  # keeps classes that are never seen somewhere possible there
ADAPT_ON = 32  # pictures whose statistics night norms take, at most


@dataclass(frozen=True)
class Member:
    """A network of the ensemble: the folder of a run or of a bundle, or the file of ESPNetv2's weights from Cityscapes.

    With night_norms (bundles have none) its batch norms take their statistics from each camera's night pictures when it
    looks at them. It sees pictures at scale: smaller ones show more of the scene to the same network, which tells dark
    surfaces apart.
    """

    run: str = ""
    bundle: str = ""
    cityscapes: str = ""
    night_norms: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class Targets:
    """Settings. Paths are relative to the root of the checkout.

    Attributes:
        out: the file to write.
        windows: its day, night, clips and held_out are the pictures; the same as in the runs that use the targets.
        members: the networks. Those with cityscapes weights give CamVid's classes; for others, runs alone.
        mixes, day_mixes: the weights of the members that are tried by night and by day; each has one per member.
            Without day_mixes those of the night are tried.
        places: the exponents that are tried by night on what a camera sees where by day (see place).
        choose_day, choose: the labelled parts that the best mix by day, and the best mix and exponent by night are
            chosen on; where there is none, the first is taken. Dusk and night pictures of a camera that was chosen
            for by day alone are mixed as by day.
    """

    out: str
    windows: Windows = field(default_factory=Windows)
    members: tuple[Member, ...] = ()
    mixes: tuple[tuple[float, ...], ...] = ((1.0,),)
    day_mixes: tuple[tuple[float, ...], ...] = ()
    places: tuple[float, ...] = (0.0,)
    choose_day: tuple[Part, ...] = ()
    choose: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        """Refuse mixes that do not fit the members.

        Raises:
            ValueError: a mix has another number of weights than there are members, a weight below 0, or none above.
        """
        mixes = (*self.mixes, *self.day_mixes)
        if not self.members or any(len(m) != len(self.members) for m in mixes):
            raise ValueError("targets.mixes: one weight per member is needed in each")
        if any(min(m) < 0 or max(m) <= 0 for m in mixes):
            raise ValueError("targets.mixes: no weight may be below 0, and one must be above")


@dataclass(frozen=True)
class Recipe:
    """Weights of the members, and the exponent of the place."""

    mix: tuple[float, ...]
    place: float = 0.0

    def weighed(self, p: Probabilities, place: Probabilities | None) -> Probabilities:
        """Return probabilities times place^exponent, so that they sum to 1 again; as they are without a place."""
        if place is None or self.place == 0:
            return p
        weighed: Probabilities = p * place ** np.float32(self.place)
        weighed /= weighed.sum(2, keepdims=True)
        return weighed


def place(soft: Sequence[data.Picture]) -> Probabilities:
    """Return how much more often each class is seen at each place by day than anywhere: P(class | place) / P(class).

    It is what a camera that is fixed to a vehicle sees: road below, sky above. (Zou et al., ECCV 2018, arXiv
    1810.07911, take such a prior from labels of another camera; here it is of the same camera's own day.)

    Args:
        soft: soft targets of day pictures of one camera, bytes h x w x classes.
    """
    mean = np.stack([p.astype(np.float32) for p in soft]).mean(0) / np.float32(255)
    layers = [cv2.GaussianBlur(mean[:, :, c].copy(), (0, 0), PLACE_BLUR) for c in range(mean.shape[2])]
    seen = np.stack(layers, 2)
    ratio: Probabilities = (seen + SELDOM) / (mean.mean((0, 1)) + SELDOM)
    return ratio


class Ensemble:
    """Networks that give the same classes; names are theirs, by id."""

    def __init__(self, members: Sequence[Member], base: Path) -> None:
        """Load every network.

        Raises:
            FileNotFoundError, ValueError: a network is missing, does not fit, or has other classes.
        """
        self.members = members
        self.nets: list[Net] = []
        self.origins: list[Origin] = []
        self.names = NAMES
        for m in members:
            net = _open(m, base)
            names, origin = NAMES, Origin(weights=(origins.CITYSCAPES,))
            if isinstance(net, runs.Finished | shipped.Teacher):
                names, origin = net.names, net.origin
            if self.nets and names != self.names:
                raise ValueError(
                    f"targets.members: {m.run or m.bundle or m.cityscapes} gives {', '.join(names)}; those before it "
                    f"give {', '.join(self.names)}: leave one out (cityscapes weights give CamVid's classes alone)"
                )
            self.nets.append(net)
            self.names = names
            self.origins.append(origin)

    def adapt(self, pictures: Sequence[data.Picture]) -> None:
        """Give the members with night norms the mean statistics of pictures of one camera."""
        shown = pictures[:: -(-len(pictures) // ADAPT_ON)]
        for at, m in enumerate(self.members):
            norms = _norms(self.nets[at]) if m.night_norms else []
            hooks = [norm.register_forward_pre_hook(_learn_where_it_can) for norm in norms]
            for norm in norms:
                norm.momentum = None  # the mean over all forward passes
                norm.num_batches_tracked.zero_()  # type: ignore[union-attr]  # the first one replaces what was there
            for picture in shown if norms else ():
                self.view(at, picture)
            for norm, hook in zip(norms, hooks, strict=True):
                hook.remove()
                norm.eval()

    def view(self, at: int, picture: data.Picture) -> Probabilities:
        """Return the probabilities of one network, a quarter of the picture's size."""
        net, scale = self.nets[at], self.members[at].scale
        if scale != 1:
            size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        if isinstance(net, runs.Finished):
            return runs.probabilities(net, picture, QUARTER).numpy()
        if isinstance(net, shipped.Teacher):
            return scoring.probabilities(net.predict, picture, QUARTER).numpy()
        return _cityscapes(net, picture).numpy()

    def mixed(self, picture: data.Picture, mix: Sequence[float]) -> Probabilities:
        """Return the weighted mean over the members."""
        total = np.zeros((*QUARTER, len(self.names)), np.float32)
        for at, weight in enumerate(mix):
            if weight > 0:
                total += np.float32(weight) * self.view(at, picture)
        return total / np.float32(sum(mix))


def _learn_where_it_can(norm: nn.Module, x: tuple[Tensor]) -> None:
    """Let a batch norm take statistics, unless each channel has one value alone (the mean of a whole picture)."""
    norm.train(x[0].numel() > x[0].shape[1])


def _open(m: Member, base: Path) -> Net:
    if sum(map(bool, (m.run, m.bundle, m.cityscapes))) != 1 or (m.bundle and m.night_norms):
        raise ValueError(
            "targets.members: each is either a run, a bundle (without night_norms) or a file of cityscapes weights"
        )
    if m.run:
        return runs.read(base / m.run, base)
    return shipped.teacher(base / m.bundle) if m.bundle else load_cityscapes(base / m.cityscapes)


def _norms(net: Net) -> list[nn.BatchNorm2d]:
    if isinstance(net, shipped.Teacher):
        return []
    nets = [net] if isinstance(net, ESPNetv2) else net.method.modules().values()
    return [m for one in nets for m in one.modules() if isinstance(m, nn.BatchNorm2d)]


def _cityscapes(net: ESPNetv2, picture: data.Picture) -> Tensor:
    x = scoring.to_tensor(picture)
    x = torch.cat([x, x.flip(3)]).to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        p = scoring.cityscapes_groups(net.half_size(x).float()[:, :19]).softmax(1)
    p = (p[:1] + p[1:].flip(3)) / 2
    return F.adaptive_avg_pool2d(p, QUARTER)[0].permute(1, 2, 0).contiguous()


def choose(
    ensemble: Ensemble,
    recipes: Sequence[Recipe],
    items: Sequence[data.Item],
    where: Probabilities | None = None,
) -> tuple[Recipe, dict[str, float]]:
    """Return the recipe that scores best on labelled pictures of one camera, and what each scored in mIoU.

    Args:
        ensemble: the networks.
        recipes: what is tried; without items the first is taken.
        items: the labelled pictures.
        where: what the camera sees where by day (see place).

    Raises:
        ValueError: a picture has no label.
    """
    if not items:
        return recipes[0], {}
    n = len(ensemble.names)
    totals = {r: np.zeros((n, n + 1), np.int64) for r in recipes}
    for item in tqdm(items, desc="choosing", mininterval=10, disable=None):
        if item.label is None:
            raise ValueError(f"targets: {item.image} has no label")
        picture, label = data.read_image(item.image), data.read_label(item.label, n)
        seen = [ensemble.view(at, picture) for at in range(len(ensemble.nets))]
        for r in recipes:
            p = np.asarray(sum(w * v for w, v in zip(r.mix, seen, strict=True)), np.float32)
            full = torch.from_numpy(r.weighed(p, where)).permute(2, 0, 1)[None]
            totals[r] += metrics.confusion(label, scoring.decide(full, (label.shape[0], label.shape[1])), n)
    scores = {r: metrics.score(m, len(items)).miou for r, m in totals.items()}
    best = max(recipes, key=lambda r: scores[r])
    return best, {f"mix {list(r.mix)} place {r.place}": round(v, 2) for r, v in scores.items()}


@dataclass(frozen=True)
class Chosen:
    """What was chosen, and the mIoU of all that was tried."""

    recipe: Recipe
    tried: dict[str, float]


def make(s: Targets, base: Path) -> dict[str, object]:
    """Write the file of the soft targets, with what they rest on; return what was chosen.

    Raises:
        FileNotFoundError, ValueError: a network, a picture or a label is missing or does not fit.
    """
    ensemble, pictures = Ensemble(s.members, base), windows.unlabelled(s.windows, base)
    by_day = _labelled(s.choose_day, base, ensemble.names)
    day = Chosen(*choose(ensemble, [Recipe(m) for m in s.day_mixes or s.mixes], by_day))
    log.info("targets: day %s", day)
    bar = tqdm(pictures.day, desc="day targets", mininterval=10)
    soft = {"day": [_bytes(ensemble.mixed(p, day.recipe.mix)) for p in bar]}
    soft["night"], night = _night(s, base, ensemble, pictures, soft["day"], day.recipe)
    chosen: dict[str, object] = {"day": asdict(day), "night": asdict(night)}
    origin = Origin()
    for one, *weights in zip(ensemble.origins, day.recipe.mix, night.recipe.mix, strict=True):
        origin |= one if any(weights) else Origin()
    state: dict[str, object] = {"soft": soft, "pictures": pictures.digest(), "names": ensemble.names}
    checkpoint.save(base / s.out, state | {"chosen": chosen, "origin": asdict(origin)})
    return {"out": s.out, **chosen}


def _labelled(parts: Sequence[Part], base: Path, names: tuple[str, ...]) -> list[data.Item]:
    items, found = streams.read(parts, base)
    if items and found != names:
        raise ValueError(f"targets.choose: labels of {', '.join(found)}, networks of {', '.join(names)}")
    return items


def _night(
    s: Targets,
    base: Path,
    ensemble: Ensemble,
    pictures: windows.Unlabelled,
    day: Sequence[data.Picture],
    by_day: Recipe,
) -> tuple[list[data.Picture], Chosen]:
    """Return the soft targets of the night pictures, made camera by camera, and what was chosen.

    Raises:
        ValueError: what is chosen on is of several cameras, or of one without night pictures.
    """
    cameras = pictures.night_cameras
    by_camera = {c: [i for i, of in enumerate(cameras) if of == c] for c in dict.fromkeys(cameras)}
    seen = {c: [p for p, of in zip(day, pictures.day_cameras, strict=True) if of == c] for c in by_camera}
    roots, day_roots = ({p.root for p in parts} for parts in (s.choose, s.choose_day))
    if len(roots) > 1 or not roots <= by_camera.keys():
        raise ValueError(f"targets.choose: {', '.join(sorted(roots))}: one root is needed, of night pictures")
    chosen = Chosen(Recipe(s.mixes[0], s.places[0]), {})
    out: dict[int, data.Picture] = {}
    bar = tqdm(total=len(cameras), desc="night targets", mininterval=10)
    for camera in sorted(by_camera, key=lambda c: c not in roots):  # first the one that is chosen on
        where = place(seen[camera]) if seen[camera] else None
        ensemble.adapt([pictures.night[i] for i in by_camera[camera]])
        if camera in roots:
            tries = [Recipe(m, e) for m in s.mixes for e in s.places]
            chosen = Chosen(*choose(ensemble, tries, _labelled(s.choose, base, ensemble.names), where))
            log.info("targets: night %s", chosen)
        recipe = by_day if camera in day_roots - roots else chosen.recipe
        for i in by_camera[camera]:
            out[i] = _bytes(recipe.weighed(ensemble.mixed(pictures.night[i], recipe.mix), where))
            bar.update()
    bar.close()
    return [out[i] for i in range(len(cameras))], chosen


def _bytes(p: Probabilities) -> data.Picture:
    return np.asarray(np.round(p * 255), np.uint8)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--config", type=Path, required=True, help="settings of the targets (YAML)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    s = config.read(Targets, args.config)
    sys.stdout.write(json.dumps(make(s, config.ROOT), indent=1) + "\n")
