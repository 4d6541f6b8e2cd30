"""The synthetic street looks like a street to a network that never saw one of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import PROGRAM
from nightseg_train import data, evaluate, metrics, scoring
from nightseg_train.classes import NAMES
from nightseg_train.nets.espnetv2 import load_cityscapes

FIRST_SEED = 2001  # not among the seeds of training


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four short drives by day and by night."""
    if not PROGRAM.exists():
        pytest.skip("no bin/nightseg: `make build` makes it")
    out = tmp_path_factory.mktemp("synth")
    command = [str(PROGRAM), "synth", "--out", str(out), "--split", "val", "--seed", str(FIRST_SEED)]
    command += ["--sequences", "4", "--frames", "5", "--fps", "0.4", "--times", "day,night"]
    subprocess.run(command, check=True, capture_output=True)
    return out


def score(shared: Path, drives: Path, time: str) -> metrics.Score:
    """Return what the untouched Cityscapes network scores on the drives at a time of day."""
    net = load_cityscapes(shared / evaluate.ESPNET)
    total = np.zeros((len(NAMES), len(NAMES) + 1), np.int64)
    items = data.list_dark_zurich(drives, "val", time)
    assert len(items) == 20
    for item in items:
        assert item.label is not None
        label = data.read_label(item.label, len(NAMES))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            logits = net.half_size(scoring.to_tensor(data.read_image(item.image))).float()
        total += metrics.confusion(label, scoring.cityscapes_mask(logits, (label.shape[0], label.shape[1])), len(NAMES))
    return metrics.score(total, len(items))


def test_day_frames_look_like_a_street_and_night_frames_are_harder(shared: Path, drives: Path) -> None:
    day, night = score(shared, drives, "day"), score(shared, drives, "night")
    assert day.miou >= 30
    for name in ("road", "sky", "building", "tree", "car"):
        assert day.per_class[NAMES.index(name)] >= 40, name
    assert night.miou < day.miou - 5
