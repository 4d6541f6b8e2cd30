"""Settings of a training: frozen dataclasses, read from YAML; a key that nothing knows is an error."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import yaml

T = typing.TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]  # of the checkout: what paths in settings are relative to


def digest(settings: object) -> str:
    """Return the sha256 of settings, a dataclass, in a canonical form."""
    tree = dataclasses.asdict(settings)  # type: ignore[call-overload]
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(old: object, new: object) -> list[str]:
    """Return what differs between two settings, dataclasses of one kind: "KEY was VALUE and is VALUE", by key."""
    was, now = (dict(_flat(json.loads(json.dumps(dataclasses.asdict(s))), "")) for s in (old, new))  # type: ignore[call-overload]
    return [f"{key} was {was[key]!r} and is {now[key]!r}" for key in sorted(was) if was[key] != now[key]]


def _flat(tree: object, where: str) -> Iterator[tuple[str, object]]:
    """Yield the values of nested mappings with their dotted keys; a list is one value."""
    if not isinstance(tree, dict):
        yield where, tree
        return
    for key, value in tree.items():
        yield from _flat(value, f"{where}.{key}".lstrip("."))


def read(kind: type[T], path: Path) -> T:
    """Return the dataclass kind filled from a YAML file; what it leaves out keeps its default.

    `extends: FILE`, relative to the file itself, begins from the settings of another file; of a list of files the later
    ones count.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown key, or a value of the wrong type; the message names the key and the file.
    """
    try:
        return from_tree(kind, _tree(path.resolve(), ()), "")
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from fault


def _tree(path: Path, above: tuple[Path, ...]) -> dict[str, object]:
    if path in above:
        raise ValueError(f"extends: {path} extends itself")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as fault:
        raise ValueError(f"not YAML: {fault}") from fault
    if not isinstance(tree, dict):
        raise ValueError("a mapping is needed")
    bases = tree.pop("extends", [])
    out: dict[str, object] = {}
    for base in bases if isinstance(bases, list) else [bases]:
        out = _merged(out, _tree((path.parent / str(base)).resolve(), (*above, path)))
    return _merged(out, tree)


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
