"""The model card of a bundle as a page: what it is made for and rests on, and what it scores beside other ways.

It lies in the bundle's folder, MODEL_CARD.md, and is no part of its identity: scores are known when it is finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nightseg_train import bundle, shipped

CARD = "MODEL_CARD.md"
PARTS = (("intended_use", "Made for"), ("data", "Data"), ("limits", "Limits"))


def write(folder: Path, scores: Mapping[str, Mapping[str, str]], notes: str) -> Path:
    """Write the card of a bundle; return its file.

    Args:
        folder: of the bundle.
        scores: by set and row, as a table shows them.
        notes: what must be known to read them.

    Raises:
        FileNotFoundError: there is no bundle.
    """
    if not shipped.is_bundle(folder):
        raise FileNotFoundError(f"card: no bundle in {folder}: {bundle.MANIFEST} is missing")
    path = folder / CARD
    path.write_text(page(bundle.told(folder), scores, notes), encoding="utf-8")
    return path


def page(manifest: Mapping[str, object], scores: Mapping[str, Mapping[str, str]], notes: str) -> str:
    """Return the card in Markdown; a row that a set lacks has a dash there."""
    card = manifest.get("card")
    told = card if isinstance(card, dict) else {}
    parts = [f"# {manifest['name']} {manifest['version']}", f"Licence: {manifest['licence']}."]
    parts += [f"## {title}\n\n{told[key]}" for key, title in PARTS if key in told]
    rows = dict.fromkeys(row for found in scores.values() for row in found)
    lines = [["", *scores], ["---"] * (len(scores) + 1)]
    lines += [[row, *(found.get(row, "-") for found in scores.values())] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([*parts, f"## mIoU in percent\n\n{notes}\n\n{table}"]) + "\n"
