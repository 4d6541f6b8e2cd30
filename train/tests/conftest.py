"""What several tests need."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from nightseg_train import data

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "bin/nightseg"
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def shared() -> Path:
    """Return the folder of shared data, or skip where this checkout has none beside it."""
    if not SHARED.is_dir():
        pytest.skip("no folder `shared` beside the checkout: data sets and published weights lie there")
    return SHARED


def verify(folder: Path, cache: Path) -> None:
    """Let the program in the vehicle replay the golden vectors, where it is built."""
    if not PROGRAM.exists():
        pytest.skip("no bin/nightseg: `make build` makes it")
    command = [str(PROGRAM), "bundle", "verify", str(folder), "--threads", "1", "--cache-dir", str(cache)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def picture(seed: int) -> data.Picture:
    """Return a picture of noise and a gradient, 480 x 640."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, data.SIZE[1])[None, :, None]
    return np.asarray(ramp + rng.integers(0, 56, (*data.SIZE, 3)), np.uint8)


def label(seed: int) -> data.Picture:
    """Return labels of blocks, 360 x 480, with some pixels that are not labelled."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 12, (9, 12)).astype(np.uint8)
    blocks[blocks == 11] = 255
    return np.kron(blocks, np.ones((40, 40), np.uint8))


def soft(seed: int) -> data.Picture:
    """Return soft targets that favour one class per block, 120 x 160 x 11."""
    rng = np.random.default_rng(seed)
    best = np.kron(rng.integers(0, 11, (6, 8)), np.ones((20, 20), np.int64))
    return np.asarray(np.eye(11)[best] * 200 + 5, np.uint8)
