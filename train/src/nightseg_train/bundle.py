"""What a bundle holds beside its networks: the manifest and the golden vectors; docs/bundles.md has every field."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nightseg_train import checkpoint, data, graphs, losses, runtime, scoring
from nightseg_train.classes import IGNORE, Class
from nightseg_train.nets.lightnet import LightNet
from nightseg_train.nets.relight import Relight

MANIFEST = "bundle.json"


@dataclass(frozen=True)
class Card:
    """The model card."""

    intended_use: str
    data: str
    limits: str


@dataclass(frozen=True)
class About:
    """What people are to know of a bundle; the licence is that of weights and data."""

    name: str
    version: str
    licence: str
    card: Card


@dataclass(frozen=True)
class Decision:
    """How logits become a mask.

    Attributes:
        classes: by id.
        shares: a_k of the labels; they sum to 1.
        size: height and width of the networks' input and of the mask.
        align_corners: how logits are brought to that size.
        mode, std: of the re-weighting.
    """

    classes: tuple[Class, ...]
    shares: tuple[float, ...]
    size: tuple[int, int]
    align_corners: bool
    mode: str
    std: float

    def mask(self, logits: NDArray[np.float32]) -> data.Picture:
        """Return the class ids at full size, without re-weighting."""
        return scoring.decide(torch.from_numpy(logits), self.size, self.align_corners)

    def weighted(self, predict: scoring.Predict, std: float) -> scoring.Predict:
        """Return a predictor with class weights of spread std.

        Raises:
            ValueError: a weight reaches 0.
        """
        weights = losses.class_weights(self.shares, std)

        def with_weights(picture: data.Picture) -> Tensor:
            return scoring.reweighted(predict(picture), weights, self.mode)

        return with_weights


@dataclass(frozen=True)
class Nets:
    """What is exported: networks in evaluation mode (relight may be missing), and what is made of their logits."""

    segment: nn.Module
    relight: LightNet | Relight | None
    decision: Decision


def told(folder: Path) -> dict[str, Any]:
    """Return all that a bundle's manifest says.

    Raises:
        FileNotFoundError: there is no bundle.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"bundle: no {path}")
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return tree


def read(folder: Path) -> Decision:
    """Return what a bundle's manifest says of the decision.

    Raises:
        FileNotFoundError: there is no bundle.
    """
    m = told(folder)
    found = tuple(Class(c["name"], (c["colour"][0], c["colour"][1], c["colour"][2]), c["static"]) for c in m["classes"])
    h, w = m["shapes"][0]
    again = m["reweight"]
    return Decision(found, tuple(m["class_shares"]), (h, w), m["align_corners"], again["mode"], again["std"])


def identity(folder: Path) -> tuple[str, str]:
    """Return a bundle's name with its version, and the sha256 of its manifest in canonical form."""
    m = told(folder)
    canonical = json.dumps(m, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{m['name']} {m['version']}", hashlib.sha256(canonical.encode()).hexdigest()


def compare(
    a: runtime.Networks, b: runtime.Networks, pictures: Sequence[data.Picture], d: Decision
) -> tuple[float, float]:
    """Return the share of mask pixels that agree, and the largest logit difference as a share of a's range."""
    same, worst = [], 0.0
    for p in pictures:
        x, y = a.logits(p), b.logits(p)
        same.append(float((d.mask(x) == d.mask(y)).mean()))
        worst = max(worst, graphs.relative(y, x))
    return float(np.mean(same)), worst


def _entry(folder: Path, name: str) -> dict[str, str]:
    return {"file": name, "sha256": checkpoint.sha256(folder / name)}


def _write_png(path: Path, picture: data.Picture) -> None:
    ok, raw = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not ok:
        raise ValueError(f"bundle: {path.name} cannot be written")
    path.write_bytes(raw.tobytes())


def precisions(folder: Path) -> tuple[str, ...]:
    """Return the precisions that the segmentation net of a folder is there in."""
    return ("fp32", "int8") if (folder / "segment.int8.onnx").exists() else ("fp32",)


def write_golden(folder: Path, picture: data.Picture, d: Decision) -> tuple[dict[str, object], dict[str, float]]:
    """Write the golden picture, logits and masks of ONNX Runtime's own processor code.

    Returns the manifest's part, and how far OpenVINO, where it is installed, is off.
    """
    (folder / "golden").mkdir(exist_ok=True)
    _write_png(folder / "golden/image.png", np.ascontiguousarray(picture[:, :, ::-1]))
    outputs: dict[str, object] = {}
    for precision in precisions(folder):
        logits = runtime.Networks(folder, precision).logits(picture)
        (folder / f"golden/logits.{precision}.bin").write_bytes(logits.astype("<f4").tobytes())
        _write_png(folder / f"golden/mask.{precision}.png", d.mask(logits))
        names = {"logits": f"golden/logits.{precision}.bin", "mask": f"golden/mask.{precision}.png"}
        outputs[precision] = {k: _entry(folder, v) for k, v in names.items()}
    return {"image": _entry(folder, "golden/image.png"), "outputs": outputs}, _openvino(folder, picture, d)


def _openvino(folder: Path, picture: data.Picture, d: Decision) -> dict[str, float]:
    out: dict[str, float] = {}
    for precision in precisions(folder):
        ours = runtime.Networks(folder, precision)
        try:
            theirs = runtime.Networks(folder, precision, "openvino")
        except ValueError:
            return {}
        agreement, relative = compare(ours, theirs, [picture], d)
        out |= {f"{precision}_logits_relative": relative, f"{precision}_mask_agreement": agreement}
    return out


def tolerances(folder: Path, openvino: dict[str, float]) -> dict[str, object]:
    """Return the manifest's tolerances; OpenVINO's int8 arithmetic gets twice what was measured, at least."""
    relative = max(0.1, 2 * openvino.get("int8_logits_relative", 0.0))
    agreement = min(0.98, 1 - 2 * (1 - openvino.get("int8_mask_agreement", 1.0)))
    known: dict[str, object] = {
        "fp32": {"logits_relative": 1e-3, "mask_agreement": 0.999},
        "int8": {"logits_relative": round(min(relative, 0.5), 3), "mask_agreement": round(agreement, 3)},
    }
    return {p: known[p] for p in precisions(folder)}


def grid(d: Decision, logits: tuple[int, int]) -> dict[str, object]:
    """Return the manifest's members `stride` and, where the size of the logits does not follow from it, `logits`."""
    pairs = list(zip(d.size, logits, strict=True))
    edge = int(d.align_corners and any(n % m for n, m in pairs))  # then the first and the last logit lie on pixels
    stride = max(round(float(np.mean([(n - edge) / max(m - edge, 1) for n, m in pairs]))), 1)
    follows = all(-(-n // stride) == m for n, m in pairs)
    return {"stride": stride} | ({} if follows else {"logits": [list(logits)]})


def manifest(about: About, d: Decision, folder: Path, parts: dict[str, object]) -> dict[str, object]:
    """Return bundle.json; parts are the members that were measured (golden, calibration, training and so on)."""

    def graph(name: str, source: dict[str, str], port: graphs.Port) -> dict[str, object]:
        named = {p: f"{name}{'' if p == 'fp32' else f'.{p}'}.onnx" for p in precisions(folder)}
        files = {p: _entry(folder, file) for p, file in named.items() if (folder / file).exists()}
        output = {"name": port.result, "type": "float32", "layout": "NCHW"}
        return {"input": {"name": port.source} | source, "output": output, "files": files}

    networks = {"segment": graph("segment", {"type": "float32", "layout": "NCHW"}, graphs.SEGMENT)}
    if (folder / "relight.onnx").exists():
        networks["relight"] = graph("relight", {"type": "uint8", "layout": "NHWC"}, graphs.RELIGHT)
    return {
        "schema": 1,
        "name": about.name,
        "version": about.version,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "licence": about.licence,
        "classes": [
            {"id": i, "name": c.name, "colour": list(c.colour), "static": c.static} for i, c in enumerate(d.classes)
        ],
        "unknown": {"index": IGNORE, "colour": [0, 0, 0]},
        "shapes": [list(d.size)],
        "resize": {"filter": "bilinear", "antialias": True, "fit": "stretch"},
        "normalise": {"mean": list(scoring.MEAN), "std": list(scoring.STD)},
        "align_corners": d.align_corners,
        **grid(d, graphs.output_size(folder / "segment.onnx")),
        "graphs": networks,
        "class_shares": list(d.shares),
        "reweight": {"mode": d.mode, "std": d.std},
        "temperature": 1.0,
        "card": asdict(about.card),
    } | parts


def write(about: About, d: Decision, folder: Path, parts: dict[str, object]) -> None:
    """Write the manifest of a folder that holds everything else; floats of parts get five digits."""
    tree = manifest(about, d, folder, {k: _rounded(v) for k, v in parts.items()})
    (folder / MANIFEST).write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


class Replaced:
    """A folder that takes the place of another when all in it is written; a context manager. A fault leaves the old."""

    def __init__(self, out: Path) -> None:
        """Take the folder to be replaced; it need not be there."""
        self.out = out
        self.fresh, self.old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")

    def __enter__(self) -> Path:
        """Return the folder to write into."""
        for path in (self.fresh, self.old):
            shutil.rmtree(path, ignore_errors=True)
        self.fresh.mkdir(parents=True)
        return self.fresh

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the new folder in the place of the old, or remove it after a fault."""
        if kind is None:
            with suppress(FileNotFoundError):
                self.out.rename(self.old)
            self.fresh.rename(self.out)
            shutil.rmtree(self.old, ignore_errors=True)
        shutil.rmtree(self.fresh, ignore_errors=True)
