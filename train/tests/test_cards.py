"""The page that tells what a bundle is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightseg_train import bundle, cards

MANIFEST = {
    "name": "mine", "version": "1.2.0", "licence": "research use only",
    "card": {"limits": "No rain.", "intended_use": "Streets."},
}  # fmt: skip


def test_a_card_has_what_the_bundle_tells_and_a_column_for_each_set(tmp_path: Path) -> None:
    (tmp_path / bundle.MANIFEST).write_text(json.dumps(MANIFEST), encoding="utf-8")
    path = cards.write(tmp_path, {"day": {"a": "60.0", "b": "61.0"}, "night": {"b": "50.0"}}, "Twelve frames.")
    assert path == tmp_path / "MODEL_CARD.md"
    assert path.read_text(encoding="utf-8") == (
        "# mine 1.2.0\n\nLicence: research use only.\n\n## Made for\n\nStreets.\n\n## Limits\n\nNo rain.\n\n"
        "## mIoU in percent\n\nTwelve frames.\n\n"
        "|  | day | night |\n| --- | --- | --- |\n| a | 60.0 | - |\n| b | 61.0 | 50.0 |\n"
    )


def test_a_bundle_that_tells_nothing() -> None:
    page = cards.page({k: v for k, v in MANIFEST.items() if k != "card"}, {"day": {}}, "None.")
    assert "Made for" not in page
    assert page.endswith("|  | day |\n| --- | --- |\n")


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"card: no bundle in .*bundle\.json is missing"):
        cards.write(tmp_path, {}, "")
