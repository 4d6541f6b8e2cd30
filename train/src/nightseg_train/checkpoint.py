"""Checkpoints that a run can go on from, written so that a crash leaves the old one whole."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def save(path: Path, state: dict[str, object]) -> None:
    """Write state beside path and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load(path: Path) -> dict[str, object] | None:
    """Return the state of a checkpoint, or None where there is none."""
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(state, dict):
        raise ValueError(f"checkpoint: {path} does not hold a state")
    return state


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class Average:
    """Exponential moving average of a network's parameters; buffers are copied."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        """Start from the network as it is."""
        self.decay = decay
        self.steps = 0
        self.values = {k: v.detach().clone() for k, v in net.state_dict().items()}

    def update(self, net: nn.Module) -> None:
        """Take one step towards the network; the first steps weigh more."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        params = dict(net.named_parameters())
        with torch.no_grad():
            for key, value in net.state_dict().items():
                if key in params:
                    self.values[key].lerp_(value, 1 - decay)
                else:
                    self.values[key].copy_(value)

    def state(self) -> dict[str, object]:
        """Return what load needs."""
        return {"values": self.values, "steps": self.steps}

    def load(self, state: dict[str, object]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: the state was not written by state().
        """
        values, steps = state.get("values"), state.get("steps")
        if not isinstance(values, dict) or not isinstance(steps, int):
            raise ValueError("checkpoint: no moving average in it")
        tensors: dict[str, Tensor] = values
        for key, value in tensors.items():
            self.values[key].copy_(value)
        self.steps = steps


class Rows:
    """A CSV file whose columns are what the rows bring; one that exists is cut back to the step gone on from."""

    def __init__(self, path: Path, resume_at: int) -> None:
        """Open path; rows whose step is above resume_at are dropped."""
        self.path = path
        self.fields: list[str] = []
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as f:
                reader = csv.DictReader(f)
                self.rows = [r for r in reader if int(r["step"]) <= resume_at]
                self.fields = list(reader.fieldnames or [])
            self._rewrite()

    def row(self, values: Mapping[str, float]) -> None:
        """Append one row; floats are written with five digits. A new column rewrites the file."""
        text = {k: f"{v:.5g}" if isinstance(v, float) else str(v) for k, v in values.items()}
        self.rows.append(text)
        new = [k for k in text if k not in self.fields]
        if new:
            self.fields += new
            self._rewrite()
            return
        with self.path.open("a", newline="", encoding="utf-8") as f:
            csv.DictWriter(f, self.fields, restval="").writerow(text)

    def _rewrite(self) -> None:
        part = self.path.with_suffix(".part")
        with part.open("w", newline="", encoding="utf-8") as f:
            out = csv.DictWriter(f, self.fields, restval="")
            out.writeheader()
            out.writerows(self.rows)
        part.replace(self.path)
