"""Loads weights in the layout of DANNet's authors into this package's nets.

Files are plain state dicts. One loader fits several releases, as DANIA, GPS-GLASS, IA-Seg and BiMix keep the layout:
DANNet's own files, files of wrapped nets (keys under `module.`), of old PyTorch versions (no `num_batches_tracked`),
and files stripped for inference (no `dsn` or `layer5`, the heads that the adaptation does not train, D12).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

OPTIONAL = ("dsn.", "layer5.")
FOREIGN = "fc."  # an ImageNet classifier left in the file
COUNTER = "num_batches_tracked"


def load(net: nn.Module, source: Path | Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copy weights into a net; returns the keys that the source lacks and that keep their values.

    An auxiliary head may be absent as a whole, not in part. Nothing is copied where an error is raised.

    Raises:
        OSError: the file can't be opened.
        ValueError: the file is truncated or no state dict, or a key is missing, unknown or of another shape.
    """
    where = str(source) if isinstance(source, Path) else type(net).__name__
    found = _state(_read(source) if isinstance(source, Path) else source, where)
    wanted = net.state_dict()
    optional = tuple(head for head in OPTIONAL if not any(key.startswith(head) for key in found))
    kept = []
    for key, value in wanted.items():
        if key in found:
            if found[key].shape != value.shape:
                raise ValueError(f"released: {where}: {key} is {_shape(found[key])}, the net wants {_shape(value)}")
        elif key.startswith(optional) or key.endswith(COUNTER):
            kept.append(key)
        else:
            raise ValueError(f"released: {where}: {key} is missing")
    unknown = next((key for key in found if key not in wanted), None)
    if unknown is not None:
        raise ValueError(f"released: {where}: {unknown} is no key of {type(net).__name__}")
    net.load_state_dict({key: found.get(key, value) for key, value in wanted.items()})
    return tuple(kept)


def _read(path: Path) -> object:
    """Return what a file holds; only tensors and plain containers are read, never code."""
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as err:  # a broken file shows as any of a dozen types
        raise ValueError(f"released: {path} is truncated or no file of weights") from err
    return content


def _state(content: object, where: str) -> dict[str, Tensor]:
    """Return the tensors by key, without the wrapper's prefix and without a foreign classifier."""
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"released: {where} is no state dict but {type(content).__name__}")
    state = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"released: {where} is no state dict: {key!r} is no tensor")
        key = key.removeprefix("module.")
        if not key.startswith(FOREIGN):
            state[key] = value
    return state


def _shape(x: Tensor) -> str:
    return "x".join(map(str, x.shape)) or "a scalar"
