"""The command `check`: what it finds in sets that are whole, incomplete, broken, or wrongly labelled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import trees
from nightseg_train import __main__ as program
from nightseg_train.data import check


def camvid(root: Path) -> Path:
    for n in ("a", "b", "c"):
        trees.colour(root / f"day/images/{n}.png")
        trees.ids(root / f"day/labels/{n}.png", 10)
    return root


def faults(root: Path) -> list[str]:
    return check.check_set("camvid", root)[0].faults


def test_a_whole_set_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    camvid(tmp_path)
    assert program.main(["check", "--set", "camvid", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "day: 3 pictures, 3 labels: ok\n"
    (tmp_path / "manifest.csv").write_text("split,name\nday,a\nday,b\nday,c\nday,d\nnight,e\n", encoding="utf-8")
    assert program.main(["check", "--set", "camvid", "--root", str(tmp_path), "--json"]) == 1
    tree = json.loads(capsys.readouterr().out)
    assert not tree["ok"]
    assert [(p["name"], p["pictures"], p["expected"]) for p in tree["parts"]] == [("day", 3, 4), ("night", 0, 1)]
    assert "day/images: 3 pictures, not 4" in tree["parts"][0]["faults"]
    assert "no folder" in tree["parts"][1]["faults"][0]


def test_broken_files_are_named(tmp_path: Path) -> None:
    camvid(tmp_path)
    image, label = tmp_path / "day/images/b.png", tmp_path / "day/labels/c.png"
    image.write_bytes(image.read_bytes()[:-30])
    label.write_bytes(b"no picture")
    found = faults(tmp_path)
    assert len(found) == 2
    assert "b.png: broken" in found[0]
    assert "c.png: broken" in found[1]
    jpeg = trees.colour(tmp_path / "x.jpg", (64, 64))
    jpeg.write_bytes(jpeg.read_bytes()[:-900])
    assert check.decode(jpeg)[0] is None


def test_wrong_labels_are_named(tmp_path: Path) -> None:
    camvid(tmp_path)
    trees.ids(tmp_path / "day/labels/a.png", 11)
    trees.ids(tmp_path / "day/labels/b.png", 1, (4, 4))
    trees.colour(tmp_path / "day/labels/c.png")
    found = faults(tmp_path)
    assert "a.png: holds 11, not among the 11 classes" in found[0]
    assert "b.png: is 4x4, its picture 8x6" in found[1]
    assert "c.png: has the mode RGB" in found[2]
    (tmp_path / "day/labels/a.png").unlink()
    assert faults(tmp_path)[0].endswith("a.png: no label in day/labels")


def test_dark_zurich_pairs_and_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.dark_zurich(tmp_path)
    command = ["check", "--set", "dark-zurich", "--root", str(tmp_path), "--part", "train/night"]
    assert program.main(command) == 1
    out = capsys.readouterr().out
    assert "train/night: 2 of 2416 pictures, 0 labels, 2 pairs (2 complete, 2 distinct day pictures): 2 wrong" in out
    assert "2 pairs, not 2416; it is in Dark_Zurich_train_anon.zip" in out
    next((tmp_path / "rgb_anon/train/day").rglob("*000002*")).unlink()
    report = check.check_set("dark-zurich", tmp_path, ("train/night",))[0]
    assert report.pairs == check.PairCount(2, 1, 1)
    assert "GOPR0351_ref_day.csv:2: no picture" in report.faults[-1]
    reports = check.check_set("dark-zurich", tmp_path / "none")
    assert len(reports) == 7
    assert all(".zip" in r.faults[0] for r in reports)


def test_many_faults_are_cut_in_the_text() -> None:
    report = check.PartReport("x", faults=[f"fault {i}" for i in range(12)])
    text = check.as_text([report])
    assert "fault 9\n" in text
    assert "fault 10" not in text
    assert "and 2 more" in text


def test_lists_and_nothing_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    camvid(tmp_path)
    file = tmp_path / "mine.txt"
    file.write_text("day/images/a.png,day/labels/a.png\nday/images/b.png\n", encoding="utf-8")
    command = ["check", "--list", str(file), "--root", str(tmp_path)]
    assert program.main(command) == 0
    assert capsys.readouterr().out == "mine.txt: 2 pictures, 1 labels: ok\n"
    assert program.main([*command, "--classes", "10"]) == 1
    file.write_text("day/images/z.png\n", encoding="utf-8")
    assert program.main(command) == 1
    assert program.main(["check", "--set", "synth", "--root", str(tmp_path)]) == 1
    assert "nothing of synth; expected is rgb_anon/SPLIT" in capsys.readouterr().out
    assert program.main(["check", "--set", "camvid", "--root", str(tmp_path), "--part", "no"]) == 1
    with pytest.raises(SystemExit, match="2"):
        program.main(["check", "--root", str(tmp_path)])


def test_bdd100k_without_a_list_is_a_fault(tmp_path: Path) -> None:
    trees.colour(tmp_path / "images/10k/val/a.jpg")
    assert "--frames" in check.check_set("bdd100k-night", tmp_path, ("10k/val",))[0].faults[0]
