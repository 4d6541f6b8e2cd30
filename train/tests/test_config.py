"""Settings: strict, and with a digest that follows every value."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ROOT
from nightseg_train import config


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_settings_load() -> None:
    shipped = config.load(ROOT / "train/configs/street-11.yaml")
    assert shipped.name == "street-11"


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    got = config.load(write(tmp_path, "student: {rate: 0.5, crop: [64, 96], night: {lamps: 2}}"))
    assert got.student.rate == 0.5
    assert got.student.crop == (64, 96)
    assert got.student.night.lamps == 2
    assert got.student.night.gamma == config.Config().student.night.gamma


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("studnet: {}", "studnet"),
        ("student: {rat: 1}", "student.rat"),
        ("student: {night: {lamp: 1}}", "student.night.lamp"),
        ("seed: one", "seed"),
        ("seed: true", "seed"),
        ("student: {crop: [64]}", "student.crop"),
        ("student: 3", "student"),
        ("export: {float_heads: [1]}", "export.float_heads"),
    ],
)
def test_bad_settings_name_the_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config.load(write(tmp_path, text))


def test_digest_follows_the_values(tmp_path: Path) -> None:
    plain = config.load(write(tmp_path, ""))
    assert plain.digest() == config.Config().digest()
    assert config.load(write(tmp_path, "student: {aux: 0.3}")).digest() != plain.digest()
