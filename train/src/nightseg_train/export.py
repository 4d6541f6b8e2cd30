"""From a checkpoint to a bundle: ONNX files, integer versions, golden vectors, manifest.

What is chosen here (calibration, std of the re-weighting) is chosen on day_val and night_dev.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from nightseg_train import checkpoint, data, graphs, losses, pseudo, runtime, scoring
from nightseg_train.classes import CAMVID, IGNORE, NAMES
from nightseg_train.config import Config, Student
from nightseg_train.graphs import Calibration
from nightseg_train.student import Nets
from nightseg_train.teacher import Validation

log = logging.getLogger(__name__)
CARD = {
    "intended_use": "Segmentation of street scenes by day, at dusk and by night from a forward-looking camera, for "
    "research and demonstration. Not for decisions that safety hangs on.",
    "data": "Labels: CamVid day (CC BY-NC 4.0) and synthetic drives of this project. Without labels: CamVid and "
    "MSRS/MFNet frames by day and by night, and two public night clips. Teacher: ESPNetv2 with Cityscapes-trained "
    "weights. The segmentation net started from the ImageNet weights of EfficientNet-Lite0. No frame of day_test, "
    "dusk_test or night_coarse was used for training, calibration or choice.",
    "limits": "480 x 640 input. Left-hand traffic of one English town and a campus in Tokyo; fence and bicyclist are "
    "seldom seen by night; no rain, snow or fog was trained on. Confidence is not calibrated.",
}
LICENCE = (
    "research use only: trained on CamVid (CC BY-NC 4.0) and MSRS/MFNet frames (no data licence stated), "
    "from weights trained on ImageNet (Apache-2.0), with a teacher that was trained on Cityscapes"
)


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint as it is exported: the networks, the class shares of the labels, where it stood."""

    nets: Nets
    shares: list[float]
    step: int
    scores: dict[str, float]


def read_snapshot(path: Path, s: Student) -> Snapshot:
    """Read a file that the student's training left (student.pt, student.best.pt or student.last.pt).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    state = checkpoint.load(path)
    if state is None:
        raise FileNotFoundError(f"export: no checkpoint {path}")
    if not {"net", "shares", "step", "day_val", "night_dev"} <= set(state):
        raise ValueError(f"export: {path} is no snapshot of the student")
    nets = Nets(s, len(NAMES))
    nets.load_state_dict(cast(dict[str, torch.Tensor], state["net"]))
    scores = {k: round(float(cast(float, state[k])), 2) for k in ("day_val", "night_dev")}
    shares = [float(v) for v in cast(list[float], state["shares"])]
    return Snapshot(nets.eval(), shares, int(cast(int, state["step"])), scores)


@dataclass(frozen=True)
class Frames:
    """Pictures for an export: night frames for calibration, others to compare on, and the two sets to choose on."""

    calibration: list[data.Picture]
    compare: list[data.Picture]
    validation: Validation

    @classmethod
    def read(cls, shared: Path, count: int) -> Frames:
        """Read count calibration frames, spread over all dusk and night pictures, and twelve others."""
        files = pseudo.night_files(shared)
        at = np.linspace(0, len(files) - 1, count + 12).round().astype(int)
        other = {int(i) for i in at[5 :: max(len(at) // 12, 1)][:12]}
        read = {int(i): data.read_image(files[i].image) for i in at}
        chosen = [p for i, p in read.items() if i not in other]
        return cls(chosen, [p for i, p in read.items() if i in other], Validation.of(shared))


@dataclass(frozen=True)
class Integer:
    """An integer version and how it did: mIoU on day and night, agreement with float, largest logit difference."""

    calibration: Calibration
    day_val: float
    night_dev: float
    agreement: float
    relative: float

    def row(self) -> dict[str, object]:
        """Return it as plain values."""
        values = {k: round(getattr(self, k), 4) for k in ("day_val", "night_dev", "agreement", "relative")}
        return {"calibration": self.calibration.describe()} | values


def write_float(snapshot: Snapshot, folder: Path) -> dict[str, float]:
    """Write relight.onnx and segment.onnx; return the differences from PyTorch."""
    h, w = data.SIZE
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (1, h, w, 3), dtype=np.uint8))
    x = scoring.to_tensor(image[0].numpy())
    relight = graphs.RelightGraph(snapshot.nets.relight)
    return {
        "relight": graphs.write(relight, image, graphs.RELIGHT, folder / "relight.onnx"),
        "segment": graphs.write(snapshot.nets.segment, x, graphs.SEGMENT, folder / "segment.onnx"),
    }


def mask(logits: NDArray[np.float32]) -> data.Picture:
    """Return the class ids at full size, without re-weighting."""
    return scoring.decide(torch.from_numpy(logits), data.SIZE)


def write_integer(folder: Path, frames: Frames, c: Calibration) -> Integer:
    """Write relight.int8.onnx and segment.int8.onnx with one way to calibrate, and measure them."""
    whole = runtime.Networks(folder, "fp32")

    def pictures() -> Sequence[graphs.Values]:
        return [p[None] for p in frames.calibration]

    def relit() -> Sequence[graphs.Values]:
        # A few frames as they are: the segmentation net also runs alone, when relighting is off.
        plain = [scoring.to_tensor(p).numpy() for p in frames.calibration[::4]]
        return [whole.relit(p) for p in frames.calibration] + plain

    relight = Calibration("minmax", keep_float=graphs.RELIGHT_FLOAT)
    graphs.quantise(folder / "relight.onnx", folder / "relight.int8.onnx", graphs.RELIGHT, pictures, relight)
    graphs.quantise(folder / "segment.onnx", folder / "segment.int8.onnx", graphs.SEGMENT, relit, c)
    small = runtime.Networks(folder, "int8")
    day, night = frames.validation.score(small.predictor())
    agreement, difference = compare(whole, small, frames.compare)
    return Integer(c, day, night, agreement, difference)


def compare(a: runtime.Networks, b: runtime.Networks, pictures: Sequence[data.Picture]) -> tuple[float, float]:
    """Return the share of mask pixels that agree, and the largest logit difference as a share of a's range."""
    same, worst = [], 0.0
    for p in pictures:
        x, y = a.logits(p), b.logits(p)
        same.append(float((mask(x) == mask(y)).mean()))
        worst = max(worst, graphs.relative(y, x))
    return float(np.mean(same)), worst


def choose_integer(folder: Path, frames: Frames, config: Config) -> tuple[Integer, list[Integer]]:
    """Try every calibration of the settings; leave the best one's files in the folder.

    Best is the mean of day_val and night_dev plus the agreement with float in percent: mIoU of 46 frames alone is
    too noisy to tell the methods apart.
    """
    e = config.export
    ways = [Calibration("minmax"), *(Calibration("percentile", p) for p in e.percentiles)]
    tried: list[Integer] = []
    for way in ways:
        for head in e.float_heads:
            c = Calibration(way.method, way.percentile, ("/head/",) if head else ())
            tried.append(write_integer(folder, frames, c))
            log.info("export: %s", tried[-1].row())
    best = max(tried, key=lambda i: (i.day_val + i.night_dev) / 2 + 100 * i.agreement)
    return write_integer(folder, frames, best.calibration), tried


def choose_std(
    net: runtime.Networks, frames: Frames, shares: Sequence[float], stds: Sequence[float]
) -> dict[str, object]:
    """Score each std of the re-weighting; the best by (day_val + 2 night_dev) / 3 is "std"."""
    rows = []
    for std in stds:
        offset = np.log(losses.class_weights(shares, std).numpy())
        v = frames.validation
        day = scoring.score_items(net.predictor(), v.day, len(NAMES), offset).miou
        night = scoring.score_items(net.predictor(), v.night, len(NAMES), offset).miou
        rows.append({"std": std, "day_val": round(day, 2), "night_dev": round(night, 2)})
    best = max(rows, key=lambda r: r["day_val"] + 2 * r["night_dev"])
    return {"std": best["std"], "tried": rows}


def golden_picture(synth: Path) -> data.Picture:
    """Return a synthetic night frame; pictures of others are not ours to hand on.

    Raises:
        FileNotFoundError: there are no synthetic drives.
    """
    return data.read_image(data.list_dark_zurich(synth, "train", "night")[7].image)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _entry(folder: Path, name: str) -> dict[str, str]:
    return {"file": name, "sha256": sha256(folder / name)}


def _write_png(path: Path, picture: data.Picture) -> None:
    ok, raw = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not ok:
        raise ValueError(f"export: {path.name} cannot be written")
    path.write_bytes(raw.tobytes())


def write_golden(folder: Path, picture: data.Picture) -> tuple[dict[str, object], dict[str, float]]:
    """Write the golden picture, logits and masks of ONNX Runtime's own processor code.

    Returns the manifest's part, and how far OpenVINO, where it is installed, is off in int8.
    """
    (folder / "golden").mkdir(exist_ok=True)
    _write_png(folder / "golden/image.png", np.ascontiguousarray(picture[:, :, ::-1]))
    outputs: dict[str, object] = {}
    for precision in ("fp32", "int8"):
        logits = runtime.Networks(folder, precision).logits(picture)
        (folder / f"golden/logits.{precision}.bin").write_bytes(logits.astype("<f4").tobytes())
        _write_png(folder / f"golden/mask.{precision}.png", mask(logits))
        names = {"logits": f"golden/logits.{precision}.bin", "mask": f"golden/mask.{precision}.png"}
        outputs[precision] = {k: _entry(folder, v) for k, v in names.items()}
    return {"image": _entry(folder, "golden/image.png"), "outputs": outputs}, _openvino(folder, picture)


def _openvino(folder: Path, picture: data.Picture) -> dict[str, float]:
    try:
        pairs = [(p, runtime.Networks(folder, p), runtime.Networks(folder, p, "openvino")) for p in ("fp32", "int8")]
    except ValueError:
        return {}
    out: dict[str, float] = {}
    for precision, ours, theirs in pairs:
        agreement, relative = compare(ours, theirs, [picture])
        out |= {f"{precision}_logits_relative": relative, f"{precision}_mask_agreement": agreement}
    return out


def tolerances(openvino: dict[str, float]) -> dict[str, object]:
    """Return the manifest's tolerances; OpenVINO's int8 arithmetic gets twice what was measured, at least."""
    relative = max(0.1, 2 * openvino.get("int8_logits_relative", 0.0))
    agreement = min(0.98, 1 - 2 * (1 - openvino.get("int8_mask_agreement", 1.0)))
    return {
        "fp32": {"logits_relative": 1e-3, "mask_agreement": 0.999},
        "int8": {"logits_relative": round(min(relative, 0.5), 3), "mask_agreement": round(agreement, 3)},
    }


def manifest(config: Config, snapshot: Snapshot, folder: Path, parts: dict[str, object]) -> dict[str, object]:
    """Return bundle.json; parts are the members that were measured (golden, calibration, training and so on)."""

    def graph(name: str, source: dict[str, str], port: graphs.Port) -> dict[str, object]:
        files = {p: _entry(folder, f"{name}{s}.onnx") for p, s in (("fp32", ""), ("int8", ".int8"))}
        output = {"name": port.result, "type": "float32", "layout": "NCHW"}
        return {"input": {"name": port.source} | source, "output": output, "files": files}

    total = sum(snapshot.shares)
    return {
        "schema": 1,
        "name": config.name,
        "version": config.version,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "licence": LICENCE,
        "classes": [
            {"id": i, "name": c.name, "colour": list(c.colour), "static": c.static} for i, c in enumerate(CAMVID)
        ],
        "unknown": {"index": IGNORE, "colour": [0, 0, 0]},
        "shapes": [list(data.SIZE)],
        "resize": {"filter": "bilinear", "antialias": True, "fit": "stretch"},
        "normalise": {"mean": list(scoring.MEAN), "std": list(scoring.STD)},
        "align_corners": False,
        "stride": 8,
        "graphs": {
            "relight": graph("relight", {"type": "uint8", "layout": "NHWC"}, graphs.RELIGHT),
            "segment": graph("segment", {"type": "float32", "layout": "NCHW"}, graphs.SEGMENT),
        },
        "class_shares": [v / total for v in snapshot.shares],
        "temperature": 1.0,
        "card": CARD,
    } | parts


def export(config: Config, root: Path, source: Path, quick: bool = False) -> Path:
    """Write the bundle of a snapshot; quick tries one calibration only. Returns the bundle's folder."""
    work, shared = root / config.work, root / config.shared
    snapshot, folder = read_snapshot(source, config.student), work / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    parity = write_float(snapshot, folder)
    frames = Frames.read(shared, config.export.calibration_frames)
    if quick:
        chosen = write_integer(folder, frames, Calibration("minmax"))
        tried = [chosen]
    else:
        chosen, tried = choose_integer(folder, frames, config)
    whole = runtime.Networks(folder, "fp32")
    relit, plain = frames.validation.score(whole.predictor()), frames.validation.score(whole.predictor(relight=False))
    std = choose_std(runtime.Networks(folder, "int8"), frames, snapshot.shares, config.export.stds)
    golden, openvino = write_golden(folder, golden_picture(root / config.synth))
    names = ("day_val", "night_dev")
    for name in ("teacher.csv", "student.csv"):
        if (work / name).exists():
            shutil.copy(work / name, folder / f"training.{name}")
    training = {
        "config": config.digest(),
        "seed": config.seed,
        "step": snapshot.step,
        "scores": snapshot.scores,
        "fp32": dict(zip(names, relit, strict=True)),
        "fp32_without_relight": dict(zip(names, plain, strict=True)),
        "int8": {"day_val": chosen.day_val, "night_dev": chosen.night_dev},
        "reweight": std,
        "parity_with_pytorch": parity,
        "openvino": openvino,
    }
    parts: dict[str, object] = {
        "reweight": {"mode": "probability", "std": std["std"]},
        "calibration": {"frames": len(frames.calibration), "chosen": chosen.row(), "tried": [t.row() for t in tried]},
        "training": _rounded(training),
        "tolerance": tolerances(openvino),
        "golden": golden,
    }
    text = json.dumps(manifest(config, snapshot, folder, parts), indent=1)
    (folder / "bundle.json").write_text(text + "\n", encoding="utf-8")
    return _move(folder, root / config.out)


def _rounded(value: object) -> object:
    """Return a tree whose floats have five digits at most."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _move(folder: Path, out: Path) -> Path:
    """Put a finished folder in the place of out."""
    fresh, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, fresh)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)
    return out
