"""The training loop of every method that has gradient steps.

It owns seeds, precision, back-propagation, schedule, averages, checkpoints, validation, logs. A run lives in a folder:

    settings.json      the settings it was started with; another start with other settings is refused
    log.csv, events.*  the losses by step (CSV and TensorBoard), scores where it was validated
    resume.pt          everything to go on from, to the same losses
    best.pt, last.pt   averaged networks with their scores, and what is told about the run; best by the validation's
                       own figure
    bad.pt             the batch at which a loss was not finite; the run ends there
    done.json          the run has ended: steps, pictures seen, seconds, scores of the best snapshot, and the same

Of the seconds in log.csv and done.json, `wait` were spent until the next batch was there.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from nightseg_train import allocator, checkpoint, config, parallel
from nightseg_train.method import Batch, Learner, Method

log = logging.getLogger(__name__)
Batches = Callable[[int], Batch]  # step -> batch; the same step gives the same batch
Validate = Callable[[Method], Mapping[str, float]]  # scores by set; "choose" is the one that snapshots are chosen by
CHOOSE = "choose"


@dataclass(frozen=True)
class Loop:
    """Settings of the loop.

    The rates follow (1 - progress)^power after a linear warm-up; progress is the larger of the share of the steps and,
    where minutes is not 0, of the time. accumulate is how many batches make one step. clip is the largest norm of the
    gradients of each optimiser (0: no limit). ema is the decay of the averaged networks (0: none). precision is "bf16"
    (autocast) or "fp32".
    """

    steps: int = 1000
    minutes: float = 0.0
    accumulate: int = 1
    precision: str = "bf16"
    device: str = "cpu"
    threads: int = 2
    power: float = 0.9
    warm_up: int = 0
    clip: float = 0.0
    ema: float = 0.0
    score_every: int = 200
    log_every: int = 10
    save_minutes: float = 5.0


class NotFiniteError(FloatingPointError):
    """A loss is not finite; the batch is kept for a look."""


def factor(step: int, progress: float, s: Loop) -> float:
    """Return what the rates are multiplied by at a step."""
    warm = min((step + 1) / s.warm_up, 1.0) if s.warm_up else 1.0
    return warm * float(max(1 - progress, 0.0) ** s.power)


def seed_of(seed: int, step: int) -> int:
    """Return what a step's dropout and the like draw from in this process."""
    return seed * 1_000_003 + step * 1009 + parallel.world()[0]


class Run:
    """One training: the method, its optimisers and averages, and where it stands."""

    def __init__(
        self, method: Learner, s: Loop, folder: Path, seed: int, about: Mapping[str, object] | None = None
    ) -> None:
        """Take a method, and what its snapshots tell about it; go on from the folder's checkpoint where there is one.

        Raises:
            ValueError: the settings name an unknown precision.
        """
        if s.precision not in ("bf16", "fp32"):
            raise ValueError(f"loop.precision: {s.precision!r} is not one of bf16, fp32")
        self.method, self.s, self.folder, self.seed, self.about = method, s, folder, seed, about or {}
        self.device = torch.device(s.device)
        self.step, self.seconds, self.best, self.images = 0, 0.0, float("-inf"), 0
        self.waited = 0.0  # seconds until batches were there
        self.optimisers = dict(method.optimisers())
        self.rates = {k: [float(g["lr"]) for g in o.param_groups] for k, o in self.optimisers.items()}
        for module in method.modules().values():
            parallel.same_everywhere(module)
        self.averages = {k: checkpoint.Average(m, s.ema) for k, m in method.modules().items() if s.ema > 0}
        state = checkpoint.load(folder / "resume.pt")
        if state is not None:
            self._restore(state)

    def _restore(self, state: Mapping[str, object]) -> None:
        for name, module in self.method.modules().items():
            module.load_state_dict(_part(state, "modules", name))
        for name, average in self.averages.items():
            average.load(_part(state, "averages", name))
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(_part(state, "optimisers", name))
        self.step, self.seconds = int(cast(int, state["step"])), float(cast(float, state["seconds"]))
        self.best, self.images = float(cast(float, state["best"])), int(cast(int, state["images"]))
        self.waited = float(cast(float, state.get("waited", 0.0)))

    def save(self) -> None:
        """Write everything to go on from; the first process does."""
        if parallel.world()[0] == 0:
            state: dict[str, object] = {
                "modules": {k: m.state_dict() for k, m in self.method.modules().items()},
                "averages": {k: a.state() for k, a in self.averages.items()},
                "optimisers": {k: o.state_dict() for k, o in self.optimisers.items()},
                "step": self.step, "seconds": self.seconds, "best": self.best, "images": self.images,
                "waited": self.waited,
            }  # fmt: skip
            checkpoint.save(self.folder / "resume.pt", state)

    def advance(self, batches: Batches, scale: float) -> dict[str, float]:
        """Take one step with the rates at scale of what they started with; return the terms of the loss.

        Dropout and the like draw from (seed, step, process), so that a resumed run goes on to the same losses.

        Raises:
            NotFiniteError: a term of the loss is not finite.
        """
        torch.manual_seed(seed_of(self.seed, self.step))
        for name, optimiser in self.optimisers.items():
            for group, rate in zip(optimiser.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * scale
            optimiser.zero_grad(set_to_none=True)
        terms: dict[str, float] = {}
        for i in range(self.s.accumulate):
            asked = time.monotonic()
            batch = batches(self.step * self.s.accumulate + i).to(self.device)
            self.waited += time.monotonic() - asked
            self.images += parallel.world()[1] * sum(x.shape[0] for x in batch.x.values())
            for name, value in self._backward(batch).items():
                terms[name] = terms.get(name, 0.0) + value / self.s.accumulate
        for optimiser in self.optimisers.values():
            parameters = [p for g in optimiser.param_groups for p in g["params"]]
            parallel.mean_gradients(parameters)
            if self.s.clip > 0:
                nn.utils.clip_grad_norm_(parameters, self.s.clip)
            optimiser.step()
        modules = self.method.modules()
        for name, average in self.averages.items():
            average.update(modules[name])
        self.method.after(self.step)
        self.step += 1
        return terms

    def _backward(self, batch: Batch) -> dict[str, float]:
        terms: dict[str, float] = {}
        # One context for all parts, so that weights are cast once.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.s.precision == "bf16"):
            for part in self.method.losses(batch):
                total = torch.stack([v.float() for v in part.values()]).sum()
                terms |= {k: float(v.detach()) for k, v in part.items()}
                self._refuse_other_than_finite(total, terms, batch)
                with torch.autocast(self.device.type, enabled=False):
                    (total / self.s.accumulate).backward()  # type: ignore[no-untyped-call]
        return terms

    def _refuse_other_than_finite(self, total: torch.Tensor, terms: Mapping[str, float], batch: Batch) -> None:
        if not bool(torch.isfinite(total.detach())):
            checkpoint.save(self.folder / "bad.pt", {"batch": batch, "terms": terms, "step": self.step})
            bad = ", ".join(f"{k} {v:.3g}" for k, v in terms.items())
            raise NotFiniteError(f"fit: the loss of step {self.step} is not finite ({bad}); see {self.folder}/bad.pt")


def _part(state: Mapping[str, object], section: str, name: str) -> dict[str, object]:
    parts = state.get(section)
    if not isinstance(parts, dict) or name not in parts:
        raise ValueError(f"fit: resume.pt holds no {section} of {name}; it belongs to another method")
    return cast(dict[str, object], parts[name])


class Averaged:
    """Puts the averaged weights into the method's networks, in evaluation mode, for the length of a `with`."""

    def __init__(self, run: Run) -> None:
        """Take a run."""
        self.run = run
        self.kept: dict[str, dict[str, torch.Tensor]] = {}
        self.training: dict[str, bool] = {}

    def __enter__(self) -> Method:
        """Swap the averages in."""
        for name, module in self.run.method.modules().items():
            if name in self.run.averages:
                self.kept[name] = {k: v.detach().clone() for k, v in module.state_dict().items()}
                module.load_state_dict(self.run.averages[name].values)
            self.training[name] = module.training
            module.eval()
        return self.run.method

    def __exit__(self, *_: object) -> None:
        """Put the trained weights back, and each network into the mode that it was in."""
        for name, module in self.run.method.modules().items():
            if name in self.kept:
                module.load_state_dict(self.kept[name])
            module.train(self.training[name])


def fit(
    method: Learner,
    batches: Batches,
    validate: Validate,
    s: Loop,
    folder: Path,
    seed: int,
    settings: object = None,
    about: Mapping[str, object] | None = None,
) -> Path:
    """Train to the end of the schedule; goes on where it stopped. Return the file of the best snapshot.

    The settings of the whole run are kept in the folder and held against those that it was started with; about, plain
    values, is told by snapshots and done.json.

    Raises:
        NotFiniteError: a term of a loss is not finite; bad.pt holds the batch.
        ValueError: the folder holds a run with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _same_settings(folder / "settings.json", settings)
    torch.set_num_threads(s.threads)
    allocator.keep_memory()
    run = Run(method, s, folder, seed, about)
    rank = parallel.world()[0]
    rows = checkpoint.Rows(folder / "log.csv", run.step) if rank == 0 else None
    board = SummaryWriter(str(folder), purge_step=run.step) if rank == 0 else None
    bar = tqdm(initial=run.step, total=s.steps, desc=folder.name, mininterval=10, disable=rank > 0)
    began = saved = time.monotonic()
    began -= run.seconds
    progress = 0.0
    while progress < 1 and run.step < s.steps:
        spent = run.seconds / (60 * s.minutes) if s.minutes else 0.0
        scale = factor(run.step, max(run.step / s.steps, spent), s)
        progress = max((run.step + 1) / s.steps, spent)
        values = run.advance(batches, scale)
        run.seconds = time.monotonic() - began
        bar.update()
        bar.set_postfix(loss=f"{sum(values.values()):.3f}", refresh=False)
        if run.step % s.score_every == 0 or progress >= 1:
            values |= snapshot(run, validate)
        if rows and board and (run.step % s.log_every == 0 or CHOOSE in values):
            rows.row({"step": run.step, "seconds": run.seconds, "wait": run.waited, "scale": scale} | values)
            for name, value in values.items():
                board.add_scalar(name, value, run.step)
        if time.monotonic() - saved > 60 * s.save_minutes or progress >= 1:
            run.save()
            saved = time.monotonic()
    bar.close()
    if board:
        board.close()
    if rank == 0:
        _done(folder, run)
    return folder / "best.pt"


def _done(folder: Path, run: Run) -> None:
    best = checkpoint.load(folder / "best.pt") or {}
    found = {k: best.get(k) for k in ("step", "scores")}
    spent = {"seconds": round(run.seconds, 1), "wait": round(run.waited, 1)}
    done = {"steps": run.step, "images": run.images, **spent, "best": found, **run.about}
    (folder / "done.json").write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")


def snapshot(run: Run, validate: Validate) -> dict[str, float]:
    """Score the averaged networks, write them as last.pt and, where they are the best so far, as best.pt."""
    with Averaged(run) as method:
        scores = dict(validate(method))
        state: dict[str, object] = {
            "modules": {k: {n: v.clone() for n, v in m.state_dict().items()} for k, m in method.modules().items()},
            "scores": scores, "step": run.step, "seconds": run.seconds, "images": run.images, **run.about,
        }  # fmt: skip
    better = scores[CHOOSE] >= run.best
    run.best = max(run.best, scores[CHOOSE])
    if parallel.world()[0] == 0:
        checkpoint.save(run.folder / "last.pt", state)
        if better:
            checkpoint.save(run.folder / "best.pt", state)
        log.info("fit: step %d, %s", run.step, ", ".join(f"{k} {v:.1f}" for k, v in scores.items()))
    return scores


def _same_settings(path: Path, settings: object) -> None:
    """Keep the settings of a new run; refuse to go on with others. One that a run lacks had its default."""
    if settings is None:
        return
    if path.exists():
        remedy = "give the run another name, or delete that folder"
        try:
            kept = config.from_tree(type(settings), json.loads(path.read_text(encoding="utf-8")), "")
        except ValueError as fault:
            raise ValueError(f"fit: {path} was written by another version or is broken: {fault}; {remedy}") from fault
        changed = ", ".join(config.differences(kept, settings))
        if changed:
            raise ValueError(f"fit: {path.parent} holds a run with other settings: {changed}; {remedy}")
        return
    text = json.dumps(asdict(settings), indent=1, sort_keys=True, default=str)  # type: ignore[call-overload]
    path.write_text(text, encoding="utf-8")
