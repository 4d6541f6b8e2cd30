"""The command `weights`: shares of known labels, the table of the weights, and which files count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import trees
from nightseg_train import __main__ as program
from nightseg_train import losses
from nightseg_train.data import shares


def test_shares_of_known_labels(tmp_path: Path) -> None:
    trees.save(tmp_path / "a/1.png", np.array([[0, 0, 0, 1], [255, 255, 255, 255]], np.uint8))
    trees.save(tmp_path / "b/2.png", np.array([[0, 0, 2, 2]], np.uint8))
    found = shares.measure(shares.label_files(tmp_path), 4)
    assert found.shares.tolist() == [5 / 8, 1 / 8, 2 / 8, 0]
    assert found.files.tolist() == [2, 1, 1, 0]
    assert (found.labels, found.labelled) == (2, 8 / 12)
    text = shares.as_text(found, shares.names_of(4), [0.05])
    assert "a class in no label counts as a share of 1e-05" in text
    assert f"{losses.class_weights(found.shares.tolist(), 0.05)[1]:.4f}" in text


def test_command_with_names_and_label_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, value in enumerate((7, 26)):
        trees.ids(tmp_path / f"x_{i}_gtFine_labelIds.png", value)
        trees.colour(tmp_path / f"x_{i}_gtFine_color.png")
    assert program.main(["weights", "--labels", str(tmp_path), "--std", "0.1", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert [c["name"] for c in tree["classes"] if c["share"] > 0] == ["road", "car"]
    expected = losses.class_weights([c["share"] for c in tree["classes"]], 0.1).tolist()
    assert tree["weights"]["0.1"] == expected
    for i in range(2):
        trees.ids(tmp_path / f"x_{i}_gtFine_labelTrainIds.png", 10)
    assert program.main(["weights", "--labels", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "10 bicyclist" in out  # CamVid's names: 11 classes unless said
    assert "w_k std 0.05  w_k std 0.16" in out


def test_remedies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \*\.png"):
        shares.label_files(tmp_path)
    trees.ids(tmp_path / "a.png", 13)
    assert program.main(["weights", "--labels", str(tmp_path)]) == 1
    assert "13, which is no class (of 11); --classes N" in caplog.text
    trees.save(tmp_path / "a.png", np.full((2, 2), 255, np.uint8))
    with pytest.raises(ValueError, match="no pixel"):
        shares.measure([tmp_path / "a.png"], 11)
    assert shares.names_of(3) == ("0", "1", "2")
