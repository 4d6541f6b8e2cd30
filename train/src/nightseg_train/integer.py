"""Integer versions of a bundle's networks: several ways to calibrate, each measured, the best one kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nightseg_train import bundle, data, fit, graphs, loop, runtime, scoring
from nightseg_train.bundle import Nets
from nightseg_train.graphs import Calibration
from nightseg_train.nets import registry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frames:
    """Night pictures: those to calibrate on, and others to hold the integer networks against the float ones on."""

    calibration: list[data.Picture]
    compare: list[data.Picture]


@dataclass(frozen=True)
class Integer:
    """An integer version and how it did.

    Attributes:
        calibration: of the segmentation net.
        scores: mIoU in percent on the parts to choose on; empty where there are none.
        agreement: share of mask pixels that are as in float.
        relative: largest difference of a logit as a share of the range.
    """

    calibration: Calibration
    scores: dict[str, float]
    agreement: float
    relative: float

    def row(self) -> dict[str, object]:
        """Return it as plain values."""
        measured = self.scores | {"agreement": self.agreement, "relative": self.relative}
        return {"calibration": self.calibration.describe()} | {k: round(v, 4) for k, v in measured.items()}

    def worth(self) -> float:
        """Return what the versions are chosen by: "choose" plus the agreement with float in percent.

        mIoU of a few dozen frames alone is too noisy to tell the calibrations apart.
        """
        return self.scores.get(loop.CHOOSE, 0.0) + 100 * self.agreement


def write(folder: Path, nets: Nets, frames: Frames, score: fit.Score | None, c: Calibration) -> Integer:
    """Write relight.int8.onnx and segment.int8.onnx with one way to calibrate the latter, and measure them."""
    whole = runtime.Networks(folder, "fp32")

    def pictures() -> Sequence[graphs.Values]:
        return [p[None] for p in frames.calibration]

    def relit() -> Sequence[graphs.Values]:
        # A few frames as they are: the segmentation net also runs alone, when relighting is off.
        plain = [scoring.to_tensor(p).numpy() for p in frames.calibration[::4]]
        return [whole.relit(p) for p in frames.calibration] + plain

    if nets.relight is not None:
        relight = Calibration("minmax", keep_float=registry.float_nodes(nets.relight))
        graphs.quantise(folder / "relight.onnx", folder / "relight.int8.onnx", graphs.RELIGHT, pictures, relight)
    graphs.quantise(folder / "segment.onnx", folder / "segment.int8.onnx", graphs.SEGMENT, relit, c)
    small = runtime.Networks(folder, "int8")
    scores = {} if score is None else dict(score(small.predictor()))
    agreement, difference = bundle.compare(whole, small, frames.compare, nets.decision)
    return Integer(c, scores, agreement, difference)


def ways(nets: Nets, percentiles: Sequence[float], float_heads: Sequence[bool]) -> list[Calibration]:
    """Return the ways to calibrate the segmentation net: ranges by extremes or percentiles, head in float or not."""
    ranges = [Calibration("minmax"), *(Calibration("percentile", p) for p in percentiles)]
    heads = [registry.float_nodes(nets.segment, head) for head in float_heads]
    return [Calibration(r.method, r.percentile, keep) for r in ranges for keep in heads]


def choose(
    folder: Path, nets: Nets, frames: Frames, score: fit.Score | None, tries: Sequence[Calibration]
) -> tuple[Integer, list[Integer]]:
    """Try all ways to calibrate; leave the best one's files in the folder, and return it and all."""
    tried = []
    for c in tries:
        tried.append(write(folder, nets, frames, score, c))
        log.info("export: %s", tried[-1].row())
    best = max(tried, key=lambda i: i.worth())
    return (best if best is tried[-1] else write(folder, nets, frames, score, best.calibration)), tried
