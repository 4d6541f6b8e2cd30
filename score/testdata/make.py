"""Write the vectors with which the Go package score is held to nightseg_train.metrics.

Run it with the trainer's Python and the package on the path:

    PYTHONPATH=train/src python score/testdata/make.py
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
from nightseg_train.metrics import Mask, confusion, score

HERE = Path(__file__).resolve().parent


def mask(rng: np.random.Generator, size: int, ids: list[int], like: Mask | None = None) -> Mask:
    """Return size random ids; with like, three of four pixels are equal to it."""
    out = rng.choice(np.array(ids, np.uint8), size)
    if like is None:
        return out
    return np.where(rng.random(size) < 0.75, like, out).astype(np.uint8)


def case(name: str, classes: int, pairs: list[tuple[Mask, Mask]]) -> dict[str, object]:
    """Return the vector of a set of (label, prediction) pairs."""
    total = np.zeros((classes, classes + 1), np.int64)
    for label, predicted in pairs:
        total += confusion(label, predicted, classes)
    result = score(total, len(pairs))
    return {
        "name": name,
        "classes": classes,
        "pairs": [[base64.b64encode(m.tobytes()).decode() for m in p] for p in pairs],
        "matrix": total.ravel().tolist(),
        "per_class": [None if np.isnan(v) else v for v in result.per_class],
        "miou": None if np.isnan(result.miou) else result.miou,
    }


def main() -> None:
    """Write vectors.json."""
    rng = np.random.default_rng(11)
    every = [*range(11), 255]

    def random(frames: int, labels: list[int], predictions: list[int]) -> list[tuple[Mask, Mask]]:
        out = []
        for _ in range(frames):
            label = mask(rng, 400, labels)
            out.append((label, mask(rng, 400, predictions, label)))
        return out

    void = np.full(16, 255, np.uint8)
    cases = [
        case("all classes", 11, random(3, every, every)),
        case("absent classes", 11, random(2, [0, 3, 8, 255], every)),
        case("predictions beyond the classes", 5, random(2, [0, 1, 2, 3, 4], [*range(9), 255])),
        case("nineteen classes", 19, random(2, [*range(19), 255], [*range(19)])),
        case("all right", 3, [(np.array([0, 1, 2], np.uint8), np.array([0, 1, 2], np.uint8))]),
        case("nothing labelled", 3, [(void, np.zeros(16, np.uint8))]),
    ]
    text = json.dumps({"cases": cases}, indent=1)
    (HERE / "vectors.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
