"""Settings: strict, built on one another, and with a digest that follows every value."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ROOT
from nightseg_train import checkpoint, config, export, fit, queue, targets

STREET = ROOT / "train/configs/street-11"


def write(folder: Path, text: str, name: str = "settings.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_of_the_shipped_bundle_fit_each_other() -> None:
    student, soft = config.read(fit.Fit, STREET / "student.yaml"), config.read(targets.Targets, STREET / "targets.yaml")
    seen = ("day", "night", "clips", "held_out")
    assert [getattr(student.windows, k) for k in seen] == [getattr(soft.windows, k) for k in seen]
    assert student.windows.targets == soft.out
    teacher, bundle = config.read(fit.Fit, STREET / "teacher.yaml"), config.read(export.Export, STREET / "export.yaml")
    assert soft.members[0].run == f"{teacher.work}/{teacher.name}"
    assert bundle.run == f"{student.work}/{student.name}"
    assert bundle.about.name == Path(bundle.out).name == "street-11"
    done = [j.done.relative_to(ROOT).as_posix() for j in queue.jobs(STREET / "queue.yaml", ROOT)]
    assert done == [f"{soft.members[0].run}/done.json", soft.out, f"{bundle.run}/done.json"]


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    text = "{name: x, source: {rate: 0.5}, windows: {crop: [64, 96], light: {lamps: 2}}}"
    got = config.read(fit.Fit, write(tmp_path, text))
    assert got.source.rate == 0.5
    assert got.windows.crop == (64, 96)
    assert got.windows.light.lamps == 2
    assert got.windows.light.gamma == fit.Fit("x").windows.light.gamma


def test_later_files_count(tmp_path: Path) -> None:
    write(tmp_path, "{name: a, seed: 1, source: {rate: 0.5, aux: 0.1}}", "a.yaml")
    write(tmp_path, "{name: b, seed: 2, source: {rate: 0.25}}", "b.yaml")
    got = config.read(fit.Fit, write(tmp_path, "{extends: [a.yaml, b.yaml], seed: 3}"))
    assert (got.name, got.seed, got.source.rate, got.source.aux) == ("b", 3, 0.25, 0.1)
    with pytest.raises(ValueError, match="extends itself"):
        config.read(fit.Fit, write(tmp_path, "extends: settings.yaml"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{name: x, sorce: {}}", "sorce"),
        ("{name: x, source: {rat: 1}}", "source.rat"),
        ("{name: x, windows: {light: {lamp: 1}}}", "windows.light.lamp"),
        ("{name: x, seed: one}", "seed"),
        ("{name: x, seed: true}", "seed"),
        ("{name: x, windows: {crop: [64]}}", "windows.crop"),
        ("{name: x, source: 3}", "source"),
        ("{name: x, windows: {night: [{set: camvid, root: a, part: b, stride: 0}]}}", "stride 0 is below 1"),
        ("{seed: 1}", "name: needed"),
    ],
)
def test_bad_settings_name_the_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config.read(fit.Fit, write(tmp_path, text))


def test_digest_follows_the_values(tmp_path: Path) -> None:
    plain = config.read(fit.Fit, write(tmp_path, "name: x"))
    assert config.digest(plain) == config.digest(fit.Fit("x"))
    assert config.digest(config.read(fit.Fit, write(tmp_path, "{name: x, source: {aux: 0.3}}"))) != config.digest(plain)


def test_a_log_is_cut_back_to_the_step_gone_on_from(tmp_path: Path) -> None:
    rows = checkpoint.Rows(tmp_path / "log.csv", 0)
    for step in (1, 2, 3):
        rows.row({"step": step, "loss": 0.5 / step})
    checkpoint.Rows(tmp_path / "log.csv", 2).row({"step": 3, "loss": 9.0, "score": 1.5})
    assert (tmp_path / "log.csv").read_text().split() == ["step,loss,score", "1,0.5,", "2,0.25,", "3,9,1.5"]
