"""Batches of windows from pictures held in memory, lit as by night where the settings say so, with soft targets.

Every picture of a batch is decided by the seed and its own number alone, so that processes can share a batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from nightseg_train import augment, checkpoint, data, parallel, pools, streams
from nightseg_train.classes import NAMES, Class
from nightseg_train.method import Batch, Needs
from nightseg_train.pools import Cut, Light, Pool
from nightseg_train.streams import Part

LABELLED, RENDERED, DAY, NIGHT, PASTED = 11, 12, 13, 14, 15  # streams of random numbers
SKY = "sky"
THINGS = ("pole", "signsymbol", "fence")  # pasted into night pictures like what can move
UPRIGHT = ("building", "tree", "fence")  # by night as black as the sky behind them


@dataclass(frozen=True)
class Clip:
    """A video of the night, of which every stride-th frame is read."""

    file: str
    stride: int = 30


@dataclass(frozen=True)
class Windows:
    """What a training reads, and how windows are cut from it. Counts are per batch, over all processes.

    Attributes:
        labelled: parts with labels, lit by light.
        rendered: parts with labels, one picture of each in turn; those whose name ends in night keep their light.
        day, night, clips: pictures without labels; held_out names parts whose pictures are left out of them.
        targets: file of the soft targets of the pictures without labels (the command `targets` makes it).
        labelled_count, rendered_count, day_count, night_count: pictures of each kind in a batch.
        crop: height and width of a window in the picture at 480 x 640, at zoom 1; zoom: range of the enlargement.
        light: how labelled and day pictures are darkened.
        rare_from: batch from which a share rare_windows of the labelled windows is put around a pixel of a class whose
            share of the labels is below rare_share.
        paste: share of the night pictures that get things of a labelled picture pasted in.
        bridge: batches in which the dusk and night pictures come in from bright to dark, a quarter of them at first
            (twilight as a bridge; Dai and Van Gool, arXiv 1810.02575).
        unseen: brightness (0 to 1) below which a window teaches nothing of buildings, trees and fences: what is black
            cannot be told from the sky, and darkened days have more black houses than black skies.
        fourier: share of the labelled pictures that are not darkened but take the low frequencies of a night picture;
            fourier_beta: how many (see augment.fourier).
    """

    labelled: tuple[Part, ...] = ()
    rendered: tuple[Part, ...] = ()
    day: tuple[Part, ...] = ()
    night: tuple[Part, ...] = ()
    clips: tuple[Clip, ...] = ()
    held_out: tuple[Part, ...] = ()
    targets: str = ""
    labelled_count: int = 6
    rendered_count: int = 2
    day_count: int = 4
    night_count: int = 4
    crop: tuple[int, int] = (256, 352)
    zoom: tuple[float, float] = (0.75, 1.6)
    light: augment.Night = field(default_factory=augment.Night)
    rare_from: int = 0
    rare_share: float = 0.03
    rare_windows: float = 0.5
    paste: float = 0.5
    bridge: int = 0
    unseen: float = 0.0
    fourier: float = 0.0
    fourier_beta: float = 0.01


def things(classes: Sequence[Class]) -> tuple[int, ...]:
    """Return the ids of the classes that are pasted into night pictures: what can move, and small things."""
    return tuple(i for i, c in enumerate(classes) if c.name in THINGS or not c.static)


@dataclass(frozen=True)
class Unlabelled:
    """The pictures without labels, 480 x 640: taken by day, and at dusk or by night; and the camera of each of them.

    Pictures of one root are taken to be of one camera, and those of a clip.
    """

    day: list[data.Picture]
    night: list[data.Picture]
    day_cameras: list[str] = field(default_factory=list)
    night_cameras: list[str] = field(default_factory=list)

    def digest(self) -> str:
        """Return a hash of all pictures: soft targets belong to these and no others."""
        found = hashlib.sha256()
        for kind in (self.day, self.night):
            found.update(str(len(kind)).encode())
            for picture in kind:
                found.update(picture[::16, ::16].tobytes())
        return found.hexdigest()


def unlabelled(s: Windows, base: Path) -> Unlabelled:
    """Read every picture that is used without a label.

    Raises:
        FileNotFoundError, ValueError: see streams.read and pools.clip_frames.
    """
    held_out = {i.image.name for i in streams.read(s.held_out, base)[0]}

    def pictures(parts: Sequence[Part]) -> tuple[list[data.Picture], list[str]]:
        items = [(p.root, i) for p in parts for i in streams.read([p], base)[0] if i.image.name not in held_out]
        bar = tqdm(items, desc="reading", mininterval=5, disable=None)
        return [data.read_image(i.image) for _, i in bar], [root for root, _ in items]

    day, night = pictures(s.day), pictures(s.night)
    for clip in s.clips:
        frames = pools.clip_frames(base / clip.file, clip.stride)
        night = night[0] + frames, night[1] + [clip.file] * len(frames)
    return Unlabelled(day[0], night[0], day[1], night[1])


class Reader:
    """Gives the batch of a step."""

    def __init__(self, s: Windows, needs: Needs, base: Path, seed: int) -> None:
        """Read every picture that the method needs into memory.

        Raises:
            FileNotFoundError, ValueError: a picture, a label or the soft targets are missing or do not fit.
        """
        self.s, self.seed = s, seed
        self.rank, self.world = parallel.world()
        self.counts = {
            LABELLED: s.labelled_count if s.labelled else 0,
            RENDERED: s.rendered_count if s.rendered else 0,
            DAY: s.day_count if "day" in needs.unlabelled else 0,
            NIGHT: s.night_count if "night" in needs.unlabelled else 0,
        }
        for count in self.counts.values():
            if count % self.world:
                raise ValueError(f"windows: {count} pictures of a kind cannot be shared by {self.world} processes")
        items, self.names = streams.read([*s.labelled, *s.rendered], base)
        self.sky = self.names.index(SKY) if SKY in self.names else None
        self.upright = [k for k, name in enumerate(self.names) if name in UPRIGHT]
        self.things = things(streams.classes([*s.labelled, *s.rendered], base))
        if needs.labelled and not items:
            raise ValueError("windows.labelled: the method needs it, and no part is given")
        n = len(self.names)
        if s.fourier > 0 and "night" not in needs.unlabelled:
            raise ValueError("windows.fourier: it takes the light of night pictures, and the method needs none")
        self.labelled = Pool.read(streams.read(s.labelled, base)[0], n)
        self.rendered = [(p.part.endswith("night"), Pool.read(streams.read([p], base)[0], n)) for p in s.rendered]
        labels = [*self.labelled.labels, *(v for _, q in self.rendered for v in q.labels)]
        self.rare = [k for k, a in enumerate(pools.shares(labels, n)) if a < s.rare_share]
        self.day, self.night = self._taught(needs, base)
        shown = self.night.images if s.bridge else []
        self.from_bright = sorted(range(len(shown)), key=lambda i: -float(shown[i][::8, ::8].mean()))

    def _taught(self, needs: Needs, base: Path) -> tuple[Pool, Pool]:
        """Return the pictures without labels with their soft targets."""
        if not needs.unlabelled:
            return Pool([], [], []), Pool([], [], [])
        pictures = unlabelled(self.s, base)
        for kind, found in (("day", pictures.day), ("night", pictures.night)):
            if kind in needs.unlabelled and not found:
                raise ValueError(f"windows.{kind}: the method needs it, and no part is given")
        path = base / self.s.targets
        state = checkpoint.load(path) if self.s.targets else None
        if state is None:
            raise FileNotFoundError(f"windows.targets: no soft targets in {path}; the command `targets` makes them")
        if state.get("pictures") != pictures.digest():
            raise ValueError(f"windows.targets: {path} belongs to other pictures; make it anew with `targets`")
        if state.get("names", NAMES) != self.names:  # before the names were kept, all had CamVid's
            raise ValueError(f"windows.targets: {path} has other classes than the labels; make it anew with `targets`")
        soft = state["soft"]
        assert isinstance(soft, dict)  # noqa: S101 - written by targets.make beside the digest
        return Pool(pictures.day, [], soft["day"]), Pool(pictures.night, [], soft["night"])

    def __call__(self, step: int) -> Batch:
        """Return this process's share of the batch of a step."""
        cuts = {kind: [self._cut(kind, step, at) for at in self._numbers(kind, step)] for kind in self.counts}
        labelled = cuts[LABELLED] + cuts[RENDERED]
        x, soft = {}, {}
        if labelled:
            x["source"] = pools.pictures(labelled)
        for name, kind in (("day", DAY), ("night", NIGHT)):
            if cuts[kind]:
                x[name], soft[name] = pools.pictures(cuts[kind]), pools.soft_targets(cuts[kind])
        return Batch(step, x, pools.label_ids(labelled) if labelled else None, soft)

    def _numbers(self, kind: int, step: int) -> range:
        """Return the numbers of this process's pictures of a kind, counted over the whole training."""
        count = self.counts[kind]
        share = count // self.world
        first = step * count + self.rank * share
        return range(first, first + share)

    def _cut(self, kind: int, step: int, at: int) -> Cut:
        rng = np.random.default_rng((self.seed, kind, at))
        if kind == RENDERED:
            by_night, pool = self.rendered[at % len(self.rendered)]
            return self._window(rng, pool, kind, step, at // len(self.rendered), _plain if by_night else self._darken)
        if kind == LABELLED:
            return self._window(rng, self.labelled, kind, step, at, self._style)
        if kind == DAY:
            return self._window(rng, self.day, kind, step, at, self._darken)
        night = self._window(rng, self.night, kind, step, at, self._rough)
        if len(self.labelled) and rng.random() < self.s.paste:
            other = int(rng.integers(len(self.labelled)))
            cut = self._window(rng, self.labelled, PASTED, step, other, self._darken)
            night = pools.paste(rng, night, cut, self.things)
        return night

    def _window(self, rng: np.random.Generator, pool: Pool, kind: int, step: int, at: int, light: Light) -> Cut:
        s = self.s
        index = pools.nth(len(pool), at, (self.seed, kind))
        if kind == NIGHT and step < s.bridge:
            come = math.ceil(len(pool) * (1 + 3 * step / s.bridge) / 4)
            index = self.from_bright[int(rng.integers(come))]
        rare = pool.labels and step >= s.rare_from and rng.random() < s.rare_windows
        cut = pools.cut(pool, index, rng, s.crop, s.zoom, light, self.rare if rare else ())
        return pools.unseen(cut, s.unseen, self.upright) if s.unseen > 0 else cut

    def _darken(self, rng: np.random.Generator, picture: data.Picture, ids: data.Picture | None) -> augment.Floats:
        return augment.mix(rng, picture, ids, self.s.light, self.sky)

    def _style(self, rng: np.random.Generator, picture: data.Picture, ids: data.Picture | None) -> augment.Floats:
        if self.s.fourier == 0 or rng.random() >= self.s.fourier:
            return self._darken(rng, picture, ids)
        other = self.night.images[int(rng.integers(len(self.night)))]
        style = np.asarray(cv2.resize(other, (picture.shape[1], picture.shape[0])), np.float32)
        return augment.fourier(augment.mild(rng, picture), style / np.float32(255), self.s.fourier_beta)

    def _rough(self, rng: np.random.Generator, picture: data.Picture, _: data.Picture | None) -> augment.Floats:
        return augment.roughen(rng, picture, self.s.light.noise)


def _plain(rng: np.random.Generator, picture: data.Picture, _: data.Picture | None) -> augment.Floats:
    return augment.mild(rng, picture)
