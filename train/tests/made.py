"""A made-up town on the disk, settings that read it, and short runs on it."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import trees
from nightseg_train import checkpoint, fit, loop, runs, windows
from nightseg_train.classes import CAMVID, NAMES
from nightseg_train.data import SIZE, Picture
from nightseg_train.method import WHOLE, Batch, Needs, View
from nightseg_train.methods import selftrain, source
from nightseg_train.streams import Part
from nightseg_train.windows import Windows

SMALL = (96, 128)  # of the pictures on the disk
CROP = (64, 96)
QUARTER = (SIZE[0] // 4, SIZE[1] // 4)  # of soft targets
Soft = Callable[[Picture], Picture]


def flat(*colour: int, size: tuple[int, int] = SMALL) -> Picture:
    """Return a picture of one colour, or of one grey."""
    return np.full((*size, 3), colour, np.uint8)


def blocks(values: Sequence[Sequence[int]], size: tuple[int, int] = SMALL) -> Picture:
    """Return rows and columns of blocks of one value each, H x W."""
    grid = np.array(values, np.uint8)
    return grid.repeat(size[0] // grid.shape[0], 0).repeat(size[1] // grid.shape[1], 1)


def street(seed: int) -> Picture:
    """Return a picture of blocks of colours."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (6, 8, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)


def ids(seed: int) -> Picture:
    """Return a label of blocks of all classes, with a corner that is not labelled."""
    out = blocks(np.random.default_rng(seed).integers(0, 11, (6, 8)).tolist())
    out[:8, :8] = 255
    return out


def soft(picture: Picture) -> Picture:
    """Return soft targets by the colours of a picture: blocks of a sure class beside blocks of an unsure one."""
    rng = np.random.default_rng(int(picture[::40, ::40].astype(int).sum()))
    best = np.kron(rng.integers(0, 11, (6, 8)), np.ones((20, 20), np.int64))
    sure = np.kron(rng.integers(0, 2, (6, 8)), np.ones((20, 20), np.int64))[:, :, None]
    return np.asarray(np.where(sure == 1, np.eye(11)[best] * 200 + 5, np.eye(11)[best] * 35 + 20), np.uint8)


def labelled(base: Path, part: str, pictures: Sequence[tuple[Picture, Picture]], root: str = "town") -> Part:
    """Write pictures with labels in the layout of the rendered drives."""
    for i, (picture, label) in enumerate(pictures):
        stem = f"street_frame_{i:06d}"
        trees.save(base / f"{root}/rgb_anon/{part}/street/{stem}_rgb_anon.png", picture)
        trees.save(base / f"{root}/gt/{part}/street/{stem}_gt_labelTrainIds.png", label)
    return Part("synth", root, part)


def wild(base: Path, part: str, pictures: Mapping[str, Picture]) -> Part:
    """Write pictures without labels in CamVid's folders."""
    for name, picture in pictures.items():
        trees.save(base / f"wild/{part}/images/{name}.png", picture)
    return Part("camvid", "wild", part)


def town(base: Path) -> Windows:
    """Write labelled and other pictures of a town by day and night; return settings that read all of them."""
    parts = {
        t: labelled(base, f"train/{t}", [(street(10 * k + i), ids(10 * k + i)) for i in range(3)])
        for k, t in enumerate(("day", "dusk", "night"))
    }
    return Windows(
        labelled=(parts["day"],),
        rendered=(parts["dusk"], parts["night"]),
        day=(wild(base, "day", {f"d{i}": street(50 + i) for i in range(2)}),),
        night=(wild(base, "night", {f"n{i}": street(70 + i) for i in range(3)}),),
        targets="targets.pt",
        labelled_count=2,
        rendered_count=2,
        day_count=2,
        night_count=2,
        crop=CROP,
    )


def teach(base: Path, s: Windows, of: Soft = soft) -> Path:
    """Write the file of soft targets of the pictures without labels."""
    pictures = windows.unlabelled(s, base)
    kinds = {"day": [of(p) for p in pictures.day], "night": [of(p) for p in pictures.night]}
    checkpoint.save(base / s.targets, {"soft": kinds, "pictures": pictures.digest()})
    return base / s.targets


def settings(method: str, s: Windows, name: str = "small") -> fit.Fit:
    """Return the settings of a run of two steps."""
    return fit.Fit(
        name=name,
        method=method,
        work="runs",
        size=SMALL,
        loop=loop.Loop(steps=2, precision="fp32", threads=1, ema=0.5, score_every=2, log_every=1),
        windows=s,
        validate=(fit.Validation("synth", "town", "train/night"),),
        source=source.Settings(segment="ddrnet-tiny", relight="edge", rate=0.01, test_std=0.1),
        selftrain=selftrain.Settings(segment="ddrnet-tiny"),
    )


def run(base: Path, s: fit.Fit) -> Path:
    """Train to the end; return the folder of the run."""
    return fit.fit(s, base).parent


def batch(seed: int = 0, n: int = 2) -> Batch:
    """Return n pictures of each kind with labels and soft targets, half of which are sure."""
    g = torch.Generator().manual_seed(seed)
    h, w = CROP
    x = {k: torch.randn(n, 3, h, w, generator=g) + level for k, level in (("source", 0), ("day", 0.2), ("night", -1))}
    labels = torch.randint(0, 12, (n, h // 2, w // 2), generator=g).to(torch.uint8)
    labels[labels == 11] = 255
    taught = {}
    for kind in ("day", "night"):
        logits = torch.randn(n, 11, h // 4, w // 4, generator=g)
        taught[kind] = (logits * torch.tensor([1.0, 6.0]).repeat(w // 8)).softmax(1)  # unsure and sure columns
    return Batch(0, x, labels, taught)


class StoppedError(Exception):
    """Stands for whatever ends a process."""


def stop_at(step: int) -> Callable[[windows.Reader, int], Batch]:
    """Return a reader's call that fails from a step on."""
    usual = windows.Reader.__call__

    def call(self: windows.Reader, at: int) -> Batch:
        if at >= step:
            raise StoppedError
        return usual(self, at)

    return call


def long(s: fit.Fit, name: str) -> fit.Fit:
    """Return the settings of a run of four steps that can stop after each."""
    return dataclasses.replace(s, name=name, loop=dataclasses.replace(s.loop, steps=4, score_every=4, save_minutes=0.0))


def losses_of(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a run's log without the time that they took."""
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "wait")} for row in csv.DictReader(file)]


def same_snapshot(a: Path, b: Path) -> bool:
    """Return whether the networks of two runs' best snapshots are equal."""
    one, two = (torch.load(f / "best.pt", weights_only=False)["modules"] for f in (a, b))
    return all(torch.equal(v, two[name][key]) for name, state in one.items() for key, v in state.items())


class Seer:
    """A method without networks: it tells the class from the red of a pixel, 20 levels each; past relight, the next."""

    needs = Needs()
    align_corners = False

    def modules(self) -> Mapping[str, nn.Module]:
        """Return no networks."""
        return {}

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return none."""
        return {}

    def losses(self, _: Batch) -> Iterator[Mapping[str, Tensor]]:
        """Yield nothing."""
        yield from ()

    def after(self, _: int) -> None:
        """Do nothing."""

    def predict(self, picture: Picture, view: View = WHOLE) -> Tensor:
        """Return the classes that the reds tell."""
        ids = torch.from_numpy(picture[:, :, 0] // 20 + (0 if view.relight else 1)).long()
        return nn.functional.one_hot(ids, len(NAMES)).permute(2, 0, 1)[None].float()


def seen(*classes: Sequence[int]) -> Picture:
    """Return a picture of blocks in which the seer sees these classes."""
    return np.repeat(blocks(classes)[:, :, None] * 20 + 10, 3, 2).astype(np.uint8)


def seer(base: Path, name: str = "seer", snapshot: bytes = b"best") -> runs.Finished:
    """Return a finished run of the seer, with files that stand for its snapshot and its end."""
    folder = base / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "best.pt").write_bytes(snapshot)
    s = fit.Fit(name=name, work="runs", size=SMALL)
    return runs.Finished(folder, s, Seer(), CAMVID, (1 / len(NAMES),) * len(NAMES), 2, 1.0, {})
