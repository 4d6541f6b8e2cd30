"""The nets that ship: relight net and segmentation net, trained together.

Each step sees four kinds of pictures in one batch: CamVid day pictures with labels and synthetic pictures with labels,
most of them darkened; day pictures without labels, darkened, with the teacher's view of the undarkened picture as
target; and true dusk and night pictures with the teacher's view of a brightened one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from nightseg_train import augment, checkpoint, data, losses, pools, pseudo, scoring, teacher
from nightseg_train.classes import NAMES
from nightseg_train.config import Config, Student
from nightseg_train.nets import registry
from nightseg_train.nets.lite import LiteSeg, imagenet, start_from
from nightseg_train.nets.relight import Relight
from nightseg_train.pools import Cut, Pool

log = logging.getLogger(__name__)
THINGS = (2, 6, 7, 8, 9, 10)  # pasted into night pictures: pole, signsymbol, fence, car, pedestrian, bicyclist
TIMES = ("day", "dusk", "night")
FIELDS = ("step", "loss", "labelled", "distil", "night", "light", "rate", "seconds", "day_val", "night_dev")


class Nets(nn.Module):
    """The relight net and the segmentation net."""

    def __init__(self, s: Student, classes: int) -> None:
        """Make both with random weights; the relight net starts as the identity."""
        super().__init__()
        if s.segment not in registry.EDGE:
            raise ValueError(f"student.segment: {s.segment!r} is not one of {', '.join(registry.EDGE)}")
        self.relight = Relight(s.relight_width)
        self.segment = registry.edge(s.segment, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the relit picture."""
        y: Tensor = self.segment(self.relight(x))
        return y


@dataclass(frozen=True)
class Pools:
    """Everything that a training sees; synth has one pool per time of day."""

    labelled: Pool
    synth: tuple[Pool, ...]
    day: Pool
    night: Pool
    exposure: float  # mean of the labelled day pictures in normalised units
    shares: tuple[float, ...]  # of each class in the labels


@dataclass(frozen=True)
class Batch:
    """One step's pictures, N x 3 x H x W: labelled ones first, then day and night pictures with soft targets."""

    x: Tensor
    labels: Tensor
    soft: Tensor
    night: int  # how many pictures at the end are true dusk or night pictures
    exposure: float  # what the light loss draws the mean of relit pictures to
    easy: float  # see config.Student
    with_relight: Tensor  # N x 1 x 1 x 1: 0 where a picture goes to the segmentation net as it is


def read_pools(config: Config, root: Path) -> Pools:
    """Read all pictures; makes the soft targets where they are missing.

    Raises:
        FileNotFoundError: the teacher, the synthetic drives or a data set is missing.
    """
    synth = root / config.synth
    if not synth.is_dir():
        raise FileNotFoundError(f"student: no synthetic drives in {synth}; `make synth-train` renders them")
    n = len(NAMES)
    day, night = pseudo.make(config, root)
    labelled = Pool.read(data.list_camvid(root / config.shared / "data/camvid_dusk/day_train"), n)
    drives = tuple(Pool.read(data.list_dark_zurich(synth, "train", t), n) for t in TIMES)
    level = float(np.mean([scoring.to_tensor(i[::16, ::16].copy()).mean().item() for i in labelled.images]))
    shares = pools.shares([*labelled.labels, *(v for q in drives for v in q.labels)], n)
    return Pools(labelled, drives, day, night, level, tuple(shares.tolist()))


def batch(p: Pools, s: Student, seed: int, step: int) -> Batch:
    """Return the batch of a step; it depends on the seed and the step alone."""
    rng = np.random.default_rng((seed, 2, step))
    crop = s.small_crop if step < s.small_steps else s.crop
    rare = [k for k, a in enumerate(p.shares) if a < s.rare_share] if step >= s.rare_from else []

    def darken(r: np.random.Generator, picture: data.Picture, ids: data.Picture | None) -> augment.Floats:
        return augment.mix(r, picture, ids, s.night)

    def plain(r: np.random.Generator, picture: data.Picture, _: data.Picture | None) -> augment.Floats:
        return augment.mild(r, picture)

    def rough(r: np.random.Generator, picture: data.Picture, _: data.Picture | None) -> augment.Floats:
        return augment.roughen(r, picture, s.night.noise)

    def draw(pool: Pool, count: int, light: pools.Light, stream: int) -> list[Cut]:
        picks = [pools.nth(len(pool), step * count + i, (seed, stream)) for i in range(count)]
        out = []
        for i in picks:
            towards = rare if pool.labels and rare and rng.random() < s.rare_windows else []
            out.append(pools.cut(pool, i, rng, crop, s.zoom, light, towards))
        return out

    labelled = draw(p.labelled, s.labelled, darken, 10)
    for i in range(s.synth if p.synth else 0):
        t = (step + i) % len(p.synth)
        labelled += draw(p.synth[t], 1, plain if TIMES[t] == "night" else darken, 20 + i)
    day = draw(p.day, s.day, darken, 30)
    night = draw(p.night, s.real_night, rough, 40)
    for i in range(len(night)):
        if labelled and rng.random() < s.paste:
            night[i] = pools.paste(rng, night[i], labelled[int(rng.integers(len(labelled)))], THINGS)
    x = pools.pictures(labelled + day + night)
    keep = torch.from_numpy((rng.random(x.shape[0]) >= s.skip_relight).astype(np.float32)).view(-1, 1, 1, 1)
    easy = s.easy if step >= s.rare_from else 1.0
    return Batch(x, pools.label_ids(labelled), pools.soft_targets(day + night), len(night), p.exposure, easy, keep)


def batches(p: Pools, s: Student, seed: int, first: int) -> Generator[Batch, None, None]:
    """Yield the batches from a step on; a thread prepares the next two while the caller computes."""
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(1) as worker:
        ahead = [worker.submit(batch, p, s, seed, first + i) for i in range(2)]
        step = first + len(ahead)
        while True:
            ready = ahead.pop(0).result()
            ahead.append(worker.submit(batch, p, s, seed, step))
            step += 1
            yield ready


@dataclass(frozen=True)
class Terms:
    """The parts of a step's loss."""

    labelled: Tensor
    distil: Tensor
    night: Tensor
    light: Tensor

    def total(self) -> Tensor:
        """Return the loss."""
        return self.labelled + self.distil + self.night + self.light


def terms(nets: Nets, b: Batch, s: Student, weight: Tensor) -> Terms:
    """Return the loss of a batch in its parts.

    The light loss is taken on s.light_pictures darkened labelled pictures and as many true night pictures.
    """
    with torch.autocast("cpu", torch.bfloat16):
        r = nets.relight.residual(b.x).float()
        relit = b.x + r * b.with_relight
        logits, aux = nets.segment.both(relit)
    n, m = b.labels.shape[0], b.x.shape[0] - b.night
    ce = losses.cross_entropy(logits[:n], b.labels, weight, b.easy)
    ce = ce + s.aux * losses.cross_entropy(aux[:n], b.labels[:, ::2, ::2], weight, b.easy)
    zero = logits.sum() * 0
    distil = night = zero
    k = m - n
    if k:
        distil = losses.distillation(logits[n:m], b.soft[:k], 0.0)
        distil = distil + s.aux * losses.distillation(aux[n:m], b.soft[:k], 0.0)
    if b.night:
        night = losses.distillation(logits[m:], b.soft[k:], s.sure)
        night = night + s.aux * losses.distillation(aux[m:], b.soft[k:], s.sure)
    q = min(s.light_pictures, n)
    e = torch.tensor(b.exposure)
    light = s.light_labelled * losses.light_loss(r[:q], b.x[:q] + r[:q], b.x[:q], e)
    q = min(s.light_pictures, b.night)
    if q:
        xs, rs = b.x[m : m + q], r[m : m + q]
        light = light + s.light_unlabelled * losses.light_loss(rs, xs + rs, xs, e)
    return Terms(ce, s.distil * distil, s.self_train * night, light)


def predictor(nets: Nets, relight: bool = True) -> scoring.Predict:
    """Return a function from a picture to logits at 1/8, in bf16."""

    def predict(picture: data.Picture) -> Tensor:
        x = scoring.to_tensor(picture).to(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            y: Tensor = nets(x) if relight else nets.segment(x)
        return y.float()

    return predict


def _groups(nets: Nets, s: Student) -> list[dict[str, object]]:
    """Return the parameters by rate (scale: share of the rate) and decay; the last group has the full rate."""
    pretrained = list(nets.segment.encoder.parameters()) if isinstance(nets.segment, LiteSeg) else []
    known = {id(p) for p in pretrained}
    fresh = [p for p in nets.parameters() if id(p) not in known]
    groups: list[dict[str, object]] = []
    for params, scale in ((pretrained, s.encoder_rate), (fresh, 1.0)):
        groups.append({"params": [p for p in params if p.ndim <= 1], "scale": scale, "weight_decay": 0.0})
        groups.append({"params": [p for p in params if p.ndim > 1], "scale": scale})
    return [g for g in groups if g["params"]]


class Run:
    """The state of a training: what a checkpoint holds."""

    def __init__(self, config: Config, work: Path) -> None:
        """Make the networks from the seed, or go on from the checkpoint in the folder work."""
        s = config.student
        torch.manual_seed(config.seed)
        self.nets = Nets(s, len(NAMES)).to(memory_format=torch.channels_last).train()
        self.optimiser = torch.optim.AdamW(_groups(self.nets, s), s.rate, weight_decay=s.weight_decay)
        self.step, self.seconds, self.best = 0, 0.0, -1.0
        self.path = work / "student.resume.pt"
        state = checkpoint.load(self.path)
        if state is None and isinstance(self.nets.segment, LiteSeg):
            start_from(self.nets.segment.encoder, imagenet())
        self.average = checkpoint.Average(self.nets, s.ema)
        if state is not None:
            self.nets.load_state_dict(state["net"])  # type: ignore[arg-type]
            self.optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]
            self.average.load(state["ema"])  # type: ignore[arg-type]
            self.step = int(state["step"])  # type: ignore[call-overload]
            self.seconds = float(state["seconds"])  # type: ignore[arg-type]
            self.best = float(state["best"])  # type: ignore[arg-type]

    def save(self) -> None:
        """Write the checkpoint."""
        state: dict[str, object] = {
            "net": self.nets.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.average.state(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
        }
        checkpoint.save(self.path, state)

    def advance(self, b: Batch, s: Student, weight: Tensor, factor: float) -> dict[str, float]:
        """Take one step of the optimiser at factor of the learning rate; return the parts of the loss.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = s.rate * factor * group["scale"]
        parts = terms(self.nets, b, s, weight)
        loss = parts.total()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.nets.parameters(), s.clip)
        self.optimiser.step()
        self.average.update(self.nets)
        self.step += 1
        named = {"loss": loss} | {k: getattr(parts, k) for k in ("labelled", "distil", "night", "light")}
        values = {k: float(v.detach()) for k, v in named.items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"student: the loss of step {self.step} is not finite")
        return values

    def averaged(self, s: Student) -> Nets:
        """Return a copy with the averaged weights, in evaluation mode."""
        nets = Nets(s, len(NAMES))
        nets.load_state_dict(self.average.values)
        return nets.to(memory_format=torch.channels_last).eval()


def train(config: Config, root: Path) -> Path:
    """Train; goes on from its checkpoint; returns the file of the averaged weights that scored best."""
    s, shared, work = config.student, root / config.shared, root / config.work
    done = work / "student.pt"
    if done.exists():
        return done
    teacher.train(config, root)
    p = read_pools(config, root)
    weight = losses.class_weights(p.shares, s.label_std).float()
    run, validation = Run(config, work), teacher.Validation.of(shared)
    rows = checkpoint.Log(work / "student.csv", FIELDS, run.step)
    stream = batches(p, s, config.seed, run.step)
    began, saved = time.monotonic() - run.seconds, time.monotonic()
    bar = tqdm(initial=run.step, total=s.steps, desc="student", mininterval=20)
    progress = 0.0
    while progress < 1:
        progress = max((run.step + 1) / s.steps, run.seconds / (60 * s.minutes))
        values = run.advance(next(stream), s, weight, _factor(run.step, progress, s))
        run.seconds = time.monotonic() - began
        bar.update()
        if run.step % s.score_every == 0 or progress >= 1:
            values |= _score(run, s, validation, work, p.shares)
            run.seconds = time.monotonic() - began
        if run.step % 10 == 0 or "day_val" in values:
            rate = run.optimiser.param_groups[-1]["lr"]
            row = dict.fromkeys(FIELDS, "") | values | {"step": run.step, "rate": rate, "seconds": run.seconds}
            rows.row(**row)
        if time.monotonic() - saved > 60 * s.save_minutes or progress >= 1:
            run.save()
            saved = time.monotonic()
    stream.close()
    return _finish(work)


def _factor(step: int, progress: float, s: Student) -> float:
    """Return the factor of the learning rate: linear warm-up, then poly with power 0.9 over the progress."""
    return min((step + 1) / s.warm_up, 1.0) * float(max(1 - progress, 1e-3) ** 0.9)


def _score(
    run: Run, s: Student, validation: teacher.Validation, work: Path, shares: Sequence[float]
) -> dict[str, float]:
    """Score the averaged weights; keep them as snapshot, and as the best one where they are."""
    nets = run.averaged(s)
    day, night = validation.score(predictor(nets))
    log.info("student: step %d, day_val %.1f, night_dev %.1f", run.step, day, night)
    snapshot: dict[str, object] = {
        "net": nets.state_dict(), "step": run.step, "day_val": day, "night_dev": night,
        "shares": list(shares), "seconds": run.seconds,
    }  # fmt: skip
    checkpoint.save(work / "student.last.pt", snapshot)
    if (day + 2 * night) / 3 >= run.best:
        run.best = (day + 2 * night) / 3
        checkpoint.save(work / "student.best.pt", snapshot)
    return {"day_val": day, "night_dev": night}


def _finish(work: Path) -> Path:
    best = checkpoint.load(work / "student.best.pt")
    if best is None:
        raise ValueError(f"student: nothing was scored in {work}")
    checkpoint.save(work / "student.pt", best)
    return work / "student.pt"
