"""Pictures for the tests, and the small bundle that the Go tests use."""

from pathlib import Path

import numpy as np
from PIL import Image

TINY = Path(__file__).resolve().parents[2] / "model/testdata/tiny"


def draw(folder: Path, count: int, size: tuple[int, int] = (48, 32)) -> Path:
    """Fill a folder with smooth random pictures, 0.png and so on."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder
