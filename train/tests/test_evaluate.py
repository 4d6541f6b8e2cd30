"""`eval`: what is scored, where, and that sets to test on are looked at only when asked for, and logged."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import trees
from conftest import ROOT
from nightseg_train import __main__ as cli
from nightseg_train import bundle, data, evaluate, looks, runs
from nightseg_train.classes import NAMES
from nightseg_train.subjects import Seen

TINY = ROOT / "model/testdata/tiny"


def labelled(folder: Path, names: int = 3) -> tuple[str, ...]:
    """Write two pictures and, as their labels, the golden mask of the tiny bundle and noise; return the arguments."""
    golden = np.asarray(Image.open(TINY / "golden/image.png"))
    mask = np.asarray(Image.open(TINY / "golden/mask.fp32.png"))
    for i, label in enumerate((mask, np.random.default_rng(1).integers(0, names, mask.shape).astype(np.uint8))):
        trees.save(folder / f"images/{i}.png", golden)
        trees.save(folder / f"labels/{i}.png", label)
    return "--images", str(folder / "images"), "--labels", str(folder / "labels")


def command(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, object]:
    assert cli.main(["--threads", "1", "eval", *args]) == code
    out = capsys.readouterr().out
    return dict(json.loads(out)) if code == 0 else {}


def test_a_bundle_is_scored_by_its_own_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = labelled(tmp_path / "town")
    got = command(capsys, "--bundle", str(TINY), *where)
    assert got["frames"] == 2 and got["classes_present"] == ["sky", "road", "car"]
    (tmp_path / "town/images/1.png").unlink()
    assert command(capsys, "--bundle", str(TINY), *where)["miou"] == 100  # the golden mask is what it decides
    assert command(capsys, "--bundle", str(TINY), *where, "--no-relight")["miou"] != 100
    weighted = command(capsys, "--bundle", str(TINY), *where, "--std", "0.5")
    assert weighted["miou"] != 100


def test_weights_multiply_probabilities_or_logits() -> None:
    d = bundle.read(TINY)
    assert (d.mode, d.std, d.size, d.align_corners) == ("probability", 0.05, (32, 48), False)
    x = torch.randn(1, 3, 4, 6)
    picture = np.zeros((32, 48, 3), np.uint8)
    added = d.weighted(lambda _: x, 0.1)(picture) - x
    assert torch.allclose(added, added[:, :, :1, :1].expand_as(x), atol=1e-6)
    assert float(added[0, 0, 0, 0]) < 0 < float(added[0, 2, 0, 0])  # sky is common, cars are rare
    name, sha = bundle.identity(TINY)
    assert name == "tiny-3 0.1.0" and len(sha) == 64


@pytest.mark.parametrize("name", ["day_test", "dusk_test", "night_coarse", "night_test_proxy"])
def test_sets_to_test_on_are_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where, log = labelled(tmp_path / name), tmp_path / "looks.csv"
    more = ("--bundle", str(TINY), *where, "--log", str(log))
    command(capsys, *more, code=1)
    (tmp_path / "harmless").symlink_to(tmp_path / name)
    hidden = [a.replace(f"/{name}/", "/harmless/") for a in where]
    command(capsys, "--bundle", str(TINY), *hidden, "--log", str(log), code=1)
    assert not log.exists()
    got = command(capsys, *more, "--look")
    command(capsys, "--bundle", str(TINY), *hidden, "--log", str(log), "--look", "--no-relight")
    with log.open(encoding="utf-8") as f:
        rows = list(csv.reader(f))
    assert tuple(rows[0]) == looks.HEAD
    assert rows[1][1:] == ["tiny-3 0.1.0", bundle.identity(TINY)[1], name, "2", f"fp32/network/0 {got['miou']:.2f}"]
    assert rows[2][3] == name and rows[2][5].startswith("fp32/none/0 ")


def test_a_set_to_choose_on_is_not_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "looks.csv"
    command(capsys, "--bundle", str(TINY), *labelled(tmp_path / "day_val"), "--log", str(log))
    assert not log.exists()


def test_where_to_score_is_one_of_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = labelled(tmp_path / "town")
    for args in ((), where[:2], ("--set", "day_val", *where)):
        command(capsys, "--bundle", str(TINY), *args, code=1)
    for args in ((), ("--bundle", str(TINY), "--espnet")):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["eval", *args, *where])
    command(capsys, "--bundle", str(tmp_path), *where, code=1)


@pytest.mark.parametrize(
    ("what", "option"),
    [
        (("--espnet",), ("--no-relight",)),
        (("--espnet",), ("--std", "0.1")),
        (("--bundle", str(TINY)), ("--no-weights",)),
        (("--bundle", str(TINY)), ("--prepare", "gamma")),
        (("--run", "none"), ("--precision", "int8")),
    ],
)
def test_an_option_of_something_else_is_refused(
    what: tuple[str, ...], option: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cli.main(["eval", *what, *option, *labelled(tmp_path)]) == 1
    assert f"eval: {option[0]} is for --" in caplog.text


def test_a_run_is_looked_at_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, networks and data of runs are tested with `export`; here stands a run that tells how it was seen."""
    seen: list[runs.Look] = []

    class Run:
        names = NAMES
        folder = tmp_path

        def mask(self, image: Path, size: tuple[int, int], look: runs.Look) -> data.Picture:
            seen.append(look)
            return np.zeros(size, np.uint8)

    (tmp_path / "best.pt").write_bytes(b"weights")
    monkeypatch.setattr(runs, "read", lambda *_: Run())
    how = ("--no-relight", "--no-weights", "--prepare", "clahe")
    args = cli._parser().parse_args(["eval", "--run", str(tmp_path), *how, *labelled(tmp_path / "x")])
    evaluate.run(args)
    assert seen == [runs.Look("clahe", False, False)] * 2
    assert evaluate.subject(args).seen.how == "fp32/clahe, no relight, no weights"


def test_the_untouched_network_is_scored(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    got = command(capsys, "--espnet", "--shared", str(shared), *labelled(tmp_path / "town", 11))
    per_class = got["per_class"]
    assert isinstance(per_class, dict) and list(per_class) == list(NAMES)


def test_log_of_looks_begins_with_its_head(tmp_path: Path) -> None:
    file = tmp_path / "looks.csv"
    matrix = np.zeros((2, 3), np.int64)
    matrix[0, 0], matrix[1, 0] = 3, 1
    for _ in range(2):
        looks.add(file, Seen("net", "ab", "fp32/none/0"), "dusk_test", [matrix, matrix])
    rows = file.read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3
    assert rows[2].split(",")[1:] == ["net", "ab", "dusk_test", "2", "fp32/none/0 37.50"]
