"""The teacher: Cityscapes-trained ESPNetv2, a head of 11 classes, fine-tuned under simulated night."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from nightseg_train import augment, checkpoint, data, pools, scoring
from nightseg_train.classes import IGNORE, NAMES
from nightseg_train.config import Config, Teacher
from nightseg_train.nets.espnetv2 import ESPNetv2, camvid_head

log = logging.getLogger(__name__)


def weights_file(shared: Path, s: float) -> Path:
    """Return where the Cityscapes-trained weights of width s lie."""
    return shared / "models" / "espnetv2_cityscapes" / f"espnetv2_s_{s:.1f}_city_1024x512.safetensors"


def cityscapes(shared: Path, s: float = 2.0) -> ESPNetv2:
    """Return the network with its published weights, untouched, in evaluation mode.

    Raises:
        FileNotFoundError: the weights are not there.
    """
    path = weights_file(shared, s)
    if not path.is_file():
        raise FileNotFoundError(f"teacher: no weights at {path}")
    net = ESPNetv2(s)
    net.load_state_dict(load_file(str(path)))
    return net.eval()


def labelled_batch(pool: pools.Pool, s: Teacher, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Return pictures N x 3 x H x W in normalised units and labels N x H/2 x W/2 of a step's random windows."""
    rng = np.random.default_rng((seed, 1, step))

    def light(r: np.random.Generator, picture: data.Picture, ids: data.Picture | None) -> augment.Floats:
        return augment.mix(r, picture, ids, s.night)

    picks = [pools.nth(len(pool), step * s.batch + i, (seed, 1)) for i in range(s.batch)]
    cuts = [pools.cut(pool, i, rng, s.crop, s.zoom, light) for i in picks]
    return pools.pictures(cuts), pools.label_ids(cuts)


def schedule(step: int, steps: int, warm_up: int) -> float:
    """Return the factor of the learning rate: linear warm-up, then poly with power 0.9."""
    if step < warm_up:
        return (step + 1) / warm_up
    return float(max(1 - step / steps, 1e-4) ** 0.9)


@dataclass
class Validation:
    """The two sets to choose on: CamVid day_val (every third frame: near-doubles) and MSRS night_dev."""

    day: list[data.Item]
    night: list[data.Item]

    @classmethod
    def of(cls, shared: Path, stride: int = 3) -> Validation:
        """List both sets below the shared folder."""
        day = data.list_camvid(shared / "data/camvid_dusk/day_val")[::stride]
        return cls(day, data.list_camvid(shared / "data/msrs_night/night_dev"))

    def score(self, predict: scoring.Predict) -> tuple[float, float]:
        """Return mIoU in percent on day and on night."""
        n = len(NAMES)
        return scoring.score_items(predict, self.day, n).miou, scoring.score_items(predict, self.night, n).miou


def predictor(net: ESPNetv2) -> scoring.Predict:
    """Return a function from a picture to the network's logits at half size, in bf16."""

    def predict(picture: data.Picture) -> Tensor:
        x = scoring.to_tensor(picture).to(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return net.half_size(x).float()

    return predict


def train(config: Config, root: Path) -> Path:
    """Fine-tune the teacher; goes on from its checkpoint; returns the file of its averaged weights."""
    s: Teacher = config.teacher
    shared, work = root / config.shared, root / config.work
    done, resume = work / "teacher.pt", work / "teacher.resume.pt"
    if done.exists():
        return done
    net = camvid_head(cityscapes(shared, s.s)).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(net.parameters(), s.rate, weight_decay=s.weight_decay)
    average = checkpoint.Average(net, s.ema)
    start, spent = _resume(resume, net, optimiser, average)
    pool = pools.Pool.read(data.list_camvid(shared / "data/camvid_dusk/day_train"), len(NAMES))
    rows = checkpoint.Log(work / "teacher.csv", ("step", "loss", "seconds"), start)
    began = time.monotonic() - spent
    for step in tqdm(range(start, s.steps), initial=start, total=s.steps, desc="teacher", mininterval=10):
        elapsed = time.monotonic() - began
        progress = max(step / s.steps, elapsed / (60 * s.minutes))
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = s.rate * schedule(round(progress * 1000), 1000, 20)
        loss = _step(net, optimiser, *labelled_batch(pool, s, config.seed, step))
        average.update(net)
        rows.row(step=step + 1, loss=loss, seconds=elapsed)
        if (step + 1) % 40 == 0:
            state: dict[str, object] = {"net": net.state_dict(), "optimiser": optimiser.state_dict()}
            checkpoint.save(resume, state | {"ema": average.state(), "step": step + 1, "seconds": elapsed})
    net.load_state_dict(average.values)
    day, night = Validation.of(shared).score(predictor(net.eval()))
    log.info("teacher: day_val %.1f, night_dev %.1f", day, night)
    checkpoint.save(done, {"net": net.state_dict(), "day_val": day, "night_dev": night})
    return done


def _resume(
    path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, average: checkpoint.Average
) -> tuple[int, float]:
    state = checkpoint.load(path)
    if state is None:
        return 0, 0.0
    net.load_state_dict(state["net"])  # type: ignore[arg-type]
    optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]
    average.load(state["ema"])  # type: ignore[arg-type]
    return int(state["step"]), float(state["seconds"])  # type: ignore[call-overload, arg-type]


def _step(net: ESPNetv2, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.half_size(x)
    loss = F.cross_entropy(logits.float(), y.long(), ignore_index=IGNORE)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimiser.step()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError("teacher: the loss is not finite")
    return value


def load(path: Path, s: float) -> ESPNetv2:
    """Return the fine-tuned teacher in evaluation mode."""
    state = checkpoint.load(path)
    if state is None:
        raise FileNotFoundError(f"teacher: no {path}")
    net = camvid_head(ESPNetv2(s))
    net.load_state_dict(state["net"])  # type: ignore[arg-type]
    return net.to(memory_format=torch.channels_last).eval()
