"""What a run rests on: whose labels taught it and whose weights it began with, through all that came before it.

The labelled parts of the run itself count, those of the run that it started from, and those of every network that made
its soft targets. Labels that only choose (a snapshot, a mix, a calibration) do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

IMAGENET, CITYSCAPES = "ImageNet", "Cityscapes"


@dataclass(frozen=True)
class Origin:
    """Both in the order in which they were met, each once.

    Attributes:
        labels: labelled parts, "SET PART".
        weights: what published weights were trained on, or the name of their file where that is not known.
    """

    labels: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    @classmethod
    def of(cls, kept: object) -> Origin | None:
        """Return the origin that plain values of a snapshot, of soft targets or of done.json tell, None if none."""
        return cls(tuple(kept["labels"]), tuple(kept["weights"])) if isinstance(kept, dict) else None

    def __or__(self, other: Origin) -> Origin:
        """Return what both rest on together."""
        return Origin(_once(self.labels, other.labels), _once(self.weights, other.weights))

    def text(self) -> str:
        """Return it for people: "labels of A, B; weights of C"."""
        named = (("labels", self.labels), ("weights", self.weights))
        return "; ".join(f"{kind} of {', '.join(found)}" for kind, found in named if found)


def _once(*parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for part in parts for one in part))
