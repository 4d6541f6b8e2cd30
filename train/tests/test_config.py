"""Settings: strict, built on one another, and with a digest that follows every value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import ROOT
from nightseg_train import checkpoint, compare, config, export, fit, queue, targets

STREET, SYNTH = ROOT / "train/configs/street-11", ROOT / "train/configs/synth-11"


def write(folder: Path, text: str, name: str = "settings.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_of_the_shipped_bundle_fit_each_other() -> None:
    done = [j.done.relative_to(ROOT).as_posix() for j in queue.jobs(STREET / "queue.yaml", ROOT)]
    rounds = ("second", "third", "fourth", "fifth")
    fit_each_other(done, (("student", "targets"), *((one, f"{one}-targets") for one in rounds)))
    mean = config.read(fit.Fit, STREET / "mean.yaml")
    assert starts(mean) <= set(done[: done.index(f"{mean.work}/{mean.name}/done.json")])
    relight = config.read(fit.Fit, STREET / "relight.yaml")
    bundle = config.read(export.Export, STREET / "export.yaml")
    assert starts(relight) <= set(done[:-1]) and done[-1] == f"{bundle.run}/done.json"
    assert bundle.run == f"{relight.work}/{relight.name}"
    assert bundle.about.name == "street-11" and not bundle.integer
    made = (ROOT / "scripts/street-11.sh").read_text(encoding="utf-8")
    assert f"work={relight.work}\n" in made and bundle.out == f"{relight.work}/bundle"
    assert f"--set-version {bundle.about.version} " in made


def fit_each_other(done: list[str], rounds: tuple[tuple[str, str], ...]) -> None:
    """Check that runs and the soft targets before them read the same, and nothing that is made later."""
    for run, soft_targets in rounds:
        student = config.read(fit.Fit, STREET / f"{run}.yaml")
        soft = config.read(targets.Targets, STREET / f"{soft_targets}.yaml")
        seen = ("day", "night", "clips", "held_out")
        assert [getattr(student.windows, k) for k in seen] == [getattr(soft.windows, k) for k in seen]
        assert student.windows.targets == soft.out
        before = done[: done.index(soft.out)]
        members = {f"{m.run}/done.json" for m in soft.members if m.run}
        members |= {f"{m.bundle}/bundle.json" for m in soft.members if m.bundle.startswith(student.work)}
        assert starts(student) | members <= set(before)
        assert done[len(before) + 1] == f"{student.work}/{student.name}/done.json"


def starts(s: fit.Fit) -> set[str]:
    """Return the files that are there when the runs and bundles have ended that a run begins from."""
    begun = [Path(file) for entry in s.start for file in entry.partition("=")[2].split(" + ")]
    return {(p.parent / "done.json" if p.suffix else p / "bundle.json").as_posix() for p in begun}


def test_the_bundle_that_may_be_shipped_learns_from_synthetic_drives_alone() -> None:
    run, bundle = config.read(fit.Fit, SYNTH / "student.yaml"), config.read(export.Export, SYNTH / "export.yaml")
    assert bundle.run == f"{run.work}/{run.name}"
    made = (ROOT / "scripts/synth-11.sh").read_text(encoding="utf-8")
    assert bundle.about.name == "synth-11" and bundle.out == f"{run.work}/{run.name}/bundle"
    assert f"work={run.work}/{run.name}\n" in made and "find .cache/synth/wide/" in made
    assert bundle.about.licence.startswith("Apache-2.0")
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    w = run.windows
    seen = (*w.labelled, *w.rendered, bundle.golden)
    assert {p.root for p in seen} == {".cache/synth/wide"}
    assert not (w.day or w.night or w.clips or w.targets) and run.selftrain.taught() == ()
    assert fit.origin(run, ROOT).weights == ("ImageNet",)


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


@dataclass(frozen=True)
class Inner:
    """Settings with a key that must be given."""

    rate: float
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    """Settings with others inside, some in a list."""

    name: str
    seed: int = 1
    inner: Inner = field(default_factory=lambda: Inner(0.5))
    more: tuple[Inner, ...] = ()


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_can_begin_from_another(tmp_path: Path) -> None:
    put(tmp_path / "base/all.yaml", "name: all\nseed: 3\ninner: {rate: 0.1, sizes: [4, 5, 6]}\nmore: [{rate: 1}]\n")
    put(tmp_path / "base/mid.yaml", "extends: all.yaml\nname: mid\nmore: [{rate: 2}, {rate: 3}]\n")
    top = put(tmp_path / "top.yaml", "extends: base/mid.yaml\ninner: {sizes: [7]}\n")
    got = config.read(Outer, top)
    assert (got.name, got.seed) == ("mid", 3)
    assert got.inner == Inner(0.1, (7,))  # mappings are merged, lists are replaced
    assert got.more == (Inner(2.0), Inner(3.0))
    assert config.read(Outer, tmp_path / "base/all.yaml").more == (Inner(1.0),)


def test_two_files_can_begin_from_the_same(tmp_path: Path) -> None:
    put(tmp_path / "all.yaml", "name: all\n")
    one, two = (put(tmp_path / f"{n}.yaml", f"extends: all.yaml\nseed: {n}\n") for n in (1, 2))
    assert [config.read(Outer, p).seed for p in (one, two)] == [1, 2]


@pytest.mark.parametrize(
    ("files", "start"),
    [
        ({"a.yaml": "a.yaml"}, "a.yaml"),
        ({"a.yaml": "b.yaml", "b.yaml": "c.yaml", "c.yaml": "a.yaml"}, "a.yaml"),
        ({"a.yaml": "b.yaml", "b.yaml": "b.yaml"}, "a.yaml"),
        ({"in/a.yaml": "../in/a.yaml"}, "in/a.yaml"),
        ({"in/a.yaml": "../out/b.yaml", "out/b.yaml": "../in/a.yaml"}, "in/a.yaml"),
    ],
)
def test_files_that_begin_from_themselves(tmp_path: Path, files: dict[str, str], start: str) -> None:
    for name, other in files.items():
        put(tmp_path / name, f"extends: {other}\nname: x\n")
    with pytest.raises(ValueError, match="extends itself"):
        config.read(Outer, tmp_path / start)


def test_the_file_that_another_begins_from_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        config.read(Outer, put(tmp_path / "x.yaml", "extends: none.yaml\nname: x\n"))


def test_wrong_keys_are_found_in_the_file_begun_from(tmp_path: Path) -> None:
    put(tmp_path / "all.yaml", "name: all\ninner: {rate: 1, size: 3}\n")
    with pytest.raises(ValueError, match=r"inner\.size: unknown key; known are rate, sizes"):
        config.read(Outer, put(tmp_path / "x.yaml", "extends: all.yaml\n"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("seed: 1", r"x\.yaml: name: needed"),
        ("{name: a, inner: {sizes: [1]}}", r"x\.yaml: inner\.rate: needed"),
        ("{name: a, more: [{rate: 1}, {}]}", r"x\.yaml: more.*\.rate: needed"),
        ("", r"x\.yaml: name: needed"),
        ("[name, a]", r"x\.yaml: a mapping is needed"),
        ("name: [", r"x\.yaml"),
    ],
)
def test_what_has_no_default_is_needed(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config.read(Outer, put(tmp_path / "x.yaml", text))


def test_what_is_needed_may_come_from_the_file_begun_from(tmp_path: Path) -> None:
    put(tmp_path / "all.yaml", "name: all\ninner: {rate: 1}\n")
    got = config.read(Outer, put(tmp_path / "x.yaml", "extends: all.yaml\ninner: {sizes: []}\n"))
    assert got == Outer("all", inner=Inner(1.0, ()))


def test_the_files_of_the_benchmark_load() -> None:
    folder = ROOT / "train/configs/benchmark"
    files = sorted(folder.glob("*.yaml"))
    begun_from = {line.split()[1] for f in files for line in f.read_text().splitlines() if line.startswith("extends:")}

    def load(path: Path) -> object:
        faults = []
        for kind in (fit.Fit, targets.Targets, queue.Queue, compare.Table):
            try:
                return config.read(kind, path)
            except ValueError as fault:
                faults.append(str(fault))
        return faults

    for path in files:
        assert path.name in begun_from or not isinstance(load(path), list), load(path)
    table = config.read(compare.Table, folder / "table.yaml")
    assert table.base in {r.label for r in table.rows}
    assert queue.jobs(folder / "queue.yaml", ROOT)
