"""Settings of a training: frozen dataclasses, read from YAML; a key that nothing knows is an error."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from nightseg_train.augment import Night

T = typing.TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]  # of the checkout: what paths in settings are relative to


@dataclass(frozen=True)
class Teacher:
    """Fine-tuning of ESPNetv2 (width s) with a head of 11 classes."""

    s: float = 2.0
    steps: int = 480
    batch: int = 8
    crop: tuple[int, int] = (320, 448)
    zoom: tuple[float, float] = (0.75, 1.6)
    rate: float = 5e-4
    weight_decay: float = 1e-2
    ema: float = 0.99
    minutes: float = 22.0
    night: Night = field(default_factory=Night)


@dataclass(frozen=True)
class Student:
    """Joint training of the relight net and the segmentation net.

    segment names the segmentation net (see nets/registry.py); lite0 starts from ImageNet weights, which learn at
    encoder_rate of the rate. From step rare_from on the rare classes get more of it: a share rare_windows of the
    labelled windows is put around a pixel of a class whose share of the labels is below rare_share, and pixels whose
    own class has a probability above easy no longer count in the cross-entropy.
    """

    segment: str = "lite0"
    relight_width: int = 16
    steps: int = 4500
    labelled: int = 6
    synth: int = 2
    day: int = 4
    real_night: int = 4
    small_steps: int = 900
    small_crop: tuple[int, int] = (256, 352)
    crop: tuple[int, int] = (320, 448)
    zoom: tuple[float, float] = (0.75, 1.6)
    rate: float = 1e-3
    encoder_rate: float = 0.4
    warm_up: int = 100
    weight_decay: float = 1e-2
    ema: float = 0.998
    minutes: float = 85.0
    clip: float = 5.0
    light_labelled: float = 0.05
    light_unlabelled: float = 0.05
    light_pictures: int = 1
    skip_relight: float = 0.2
    distil: float = 1.0
    self_train: float = 1.0
    sure: float = 0.7
    paste: float = 0.5
    aux: float = 0.4
    label_std: float = 0.05
    rare_from: int = 600
    rare_share: float = 0.03
    rare_windows: float = 0.5
    easy: float = 0.9
    score_every: int = 300
    save_minutes: float = 5.0
    night: Night = field(default_factory=Night)


@dataclass(frozen=True)
class Export:
    """How the networks become files; the integer version is the best of the methods and float parts given."""

    calibration_frames: int = 24
    percentiles: tuple[float, ...] = (99.99, 99.999)
    float_heads: tuple[bool, ...] = (False, True)
    stds: tuple[float, ...] = (0.0, 0.05, 0.1, 0.16, 0.2)


@dataclass(frozen=True)
class Config:
    """All of a training; paths are relative to the root of the checkout."""

    name: str = "street-11"
    version: str = "1.0.0"
    seed: int = 1
    threads: int = 2
    shared: str = "../shared"
    work: str = ".cache/train/street-11"
    synth: str = ".cache/synth/train"
    out: str = "model/bundles/street-11"
    teacher: Teacher = field(default_factory=Teacher)
    student: Student = field(default_factory=Student)
    export: Export = field(default_factory=Export)

    def digest(self) -> str:
        """Return the sha256 of the settings in a canonical form."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def load(path: Path) -> Config:
    """Read the settings of the shipped bundle's training (see read)."""
    return read(Config, path)


def read(kind: type[T], path: Path) -> T:
    """Return the dataclass kind filled from a YAML file; what it leaves out keeps its default.

    `extends: FILE`, relative to the file itself, begins from the settings of another file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown key, or a value of the wrong type; the message names the key and the file.
    """
    try:
        return from_tree(kind, _tree(path, ()), "")
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from fault


def _tree(path: Path, above: tuple[Path, ...]) -> dict[str, object]:
    if path in above:
        raise ValueError(f"extends: {path} extends itself")
    tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(tree, dict):
        raise ValueError("a mapping is needed")
    base = tree.pop("extends", None)
    return tree if base is None else _merged(_tree(path.parent / str(base), (*above, path)), tree)


def _merged(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    """Return base with the values of over; mappings are merged, everything else is replaced."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def from_tree(kind: type[T], tree: object, where: str) -> T:
    """Return the dataclass kind filled from plain values; where is the dotted place for messages.

    Raises:
        ValueError: an unknown key, or a value of the wrong type.
    """
    if not isinstance(tree, dict):
        raise ValueError(f"{where or 'settings'}: a mapping is needed, not {type(tree).__name__}")
    hints = typing.get_type_hints(kind)
    values: dict[str, object] = {}
    for key, value in tree.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in hints:
            raise ValueError(f"{place}: unknown key; known are {', '.join(sorted(hints))}")
        values[key] = _convert(hints[key], value, place)
    required = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]  # type: ignore[arg-type]
    lacking = [name for name in required if name not in values]
    if lacking:
        raise ValueError(f"{where}.{lacking[0]}: needed".lstrip("."))
    return kind(**values)


def _convert(hint: object, value: object, place: str) -> object:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_tree(hint, value, place)
    if isinstance(hint, types.GenericAlias):
        inner = typing.get_args(hint)
        if not isinstance(value, list) or (inner[-1] is not Ellipsis and len(value) != len(inner)):
            raise ValueError(f"{place}: a list that fits {hint} is needed")
        return tuple(_convert(inner[0], v, place) for v in value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, type) or not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{place}: {value!r} is not {getattr(hint, '__name__', hint)}")
    return value
