"""The comparison of runs: cells by hand, rows that are finished, tables in documents, and the command."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import made
from nightseg_train import __main__, compare, config, data, metrics, runs, scoring, subjects
from nightseg_train.classes import NAMES
from nightseg_train.compare import Row, Table
from nightseg_train.looks import Set
from nightseg_train.metrics import Bootstrap, Matrix
from nightseg_train.runs import Look
from nightseg_train.subjects import Seen, Subject

CLASSES = ("road", "car", "person")
SET = Set("val", "synth", "town", "train/night")


def frame(road: int, car: int) -> Matrix:
    """Return a frame of 100 pixels of each of two classes and none of a third, of which so many are right."""
    return np.array([[road, 100 - road, 0, 0], [100 - car, car, 0, 0], [0, 0, 0, 0]], np.int64)


def iou(right: int, other: int) -> float:
    """Return the IoU in percent of a class of which so many of 100 are right, beside another class."""
    return 100 * right / (200 - other)


def frames(seed: int, better: int = 0, n: int = 12) -> list[Matrix]:
    rng = np.random.default_rng(seed)
    return [frame(*(int(v) + better for v in rng.integers(40, 70, 2))) for _ in range(n)]


def test_a_cell_by_hand() -> None:
    seeds = [[frame(80, 60)] * 3, [frame(60, 60)] * 3]
    got = compare.cell(seeds, None, [1])
    by_class = [[iou(80, 60), iou(60, 80)], [iou(60, 60), iou(60, 60)]]
    assert got.miou == pytest.approx([np.mean(v) for v in by_class])
    assert (got.low, got.high) == pytest.approx((np.mean(by_class), np.mean(by_class)))  # all frames are the same
    assert got.per_class[:2] == pytest.approx(np.mean(by_class, 0).tolist())
    assert got.per_class[2] is None
    assert got.without == pytest.approx((iou(80, 60) + iou(60, 60)) / 2)
    assert got.gain is None
    assert compare.cell(seeds, None, []).without is None


def test_the_interval_is_that_of_the_mean_over_the_seeds() -> None:
    a, b = frames(1), frames(2)
    got = compare.cell([a, b], None, [])
    values = (Bootstrap().values(a) + Bootstrap().values(b)) / 2
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))
    assert got.low < np.mean(got.miou) < got.high
    alone = compare.cell([a], None, [])
    assert got.high - got.low < alone.high - alone.low


def test_a_row_does_not_differ_from_itself() -> None:
    seeds = [frames(1), frames(2)]
    assert compare.cell(seeds, seeds, []).gain == pytest.approx((0, 0, 0))


def test_the_gain_is_positive_for_the_better_row_and_paired() -> None:
    base, better = [frames(1), frames(2)], [frames(1, 5), frames(2, 5)]
    up, down = compare.cell(better, base, []), compare.cell(base, better, [])
    assert up.gain is not None and down.gain is not None
    assert up.gain[0] == pytest.approx(np.mean(up.miou) - np.mean(down.miou))
    assert 0 < up.gain[1] < up.gain[0] < up.gain[2]
    assert down.gain == pytest.approx((-up.gain[0], -up.gain[2], -up.gain[1]))
    assert up.gain[2] - up.gain[1] < 0.5 * (up.high - up.low)  # of the same frames, the hard ones are hard for both


def test_plain_values_have_two_decimals() -> None:
    tree = compare.cell([[frame(80, 60)]], [[frame(60, 60)]], [1]).as_tree()
    assert tree["miou"] == [round((iou(80, 60) + iou(60, 80)) / 2, 2)]
    assert tree["per_class"] == [round(iou(80, 60), 2), 50.0, None]
    assert tree["without"] == round(iou(80, 60), 2)
    assert json.loads(json.dumps(tree)) == tree


def done(base: Path, name: str, images: int = 10, seconds: float = 90) -> None:
    folder = base / "kept" / name
    folder.mkdir(parents=True)
    tree = {"images": images, "seconds": seconds, "origin": {"labels": ["town day", "town dusk"], "weights": ["those"]}}
    (folder / "done.json").write_text(json.dumps(tree), encoding="utf-8")


def table(*rows: Row, base: str = "plain", sets: Sequence[Set] = (SET,)) -> Table:
    return Table("runs", "kept", base, tuple(sets), rows)


def page(t: Table, s: Set, figures: compare.Figures, base: Path, names: tuple[str, ...]) -> str:
    return compare.markdown(t, s, compare.score(t, s, figures, names), base, names)


def cells(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without the line below the head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in lines]
    assert set(rows[1]) == {"---"} and len({len(r) for r in rows}) == 1
    return [rows[0], *rows[2:]]


def test_a_table_has_a_line_for_each_row_that_was_seen(tmp_path: Path) -> None:
    notes = ("without teacher", "with it")
    t = table(
        Row("plain", "a", note=notes[1]), Row("later", "b", note="x"), Row("two", "c", seeds=(1, 2), note=notes[0])
    )
    done(tmp_path, "a")
    done(tmp_path, "c-s1", 123, 150)
    figures = {"plain": [[frame(60, 60)] * 2], "two": [[frame(80, 60)] * 2, [frame(60, 60)] * 2]}
    s = dataclasses.replace(SET, apart=("car",))
    text = page(t, s, figures, tmp_path, CLASSES)
    head, plain, two = cells(text)
    assert text.startswith("### val\n") and "2 frames" in text
    assert head[-7:] == ["without car", "against plain", *CLASSES, "labels", "weights"]
    assert plain[:4] == ["plain [1]", "1", "10", "1.5"] and two[:4] == ["two [2]", "2", "123", "2.5"]
    assert text.endswith(f"|\n\n[1] {notes[1]}\n\n[2] {notes[0]}\n") and "standard deviation" in text
    assert two[-2:] == ["town day, town dusk", "those"]
    means = np.array([(iou(80, 60) + iou(60, 80)) / 2, iou(60, 60)])
    mean, gain = f"{means.mean():.1f}", f"{means.mean() - means[1]:+.1f}"
    assert plain[4] == f"{means[1]:.1f} ({means[1]:.1f} to {means[1]:.1f})"
    assert two[4] == f"{mean} ± {abs(means[0] - means[1]) / 2**0.5:.1f} ({mean} to {mean})"
    assert plain[6] == "" and two[6] == f"{gain} ({gain} to {gain})"
    assert two[-3] == "-" and two[-5] == f"{(iou(80, 60) + iou(60, 60)) / 2:.1f}" == two[5]


def test_a_table_without_its_base_row_has_no_gains(tmp_path: Path) -> None:
    done(tmp_path, "b")
    t = table(Row("plain", "a"), Row("other", "b"))
    head, other = cells(page(t, SET, {"other": [[frame(60, 60)]]}, tmp_path, CLASSES))
    assert other[head.index("against plain")] == ""


def test_a_row_whose_first_seed_is_not_finished(tmp_path: Path) -> None:
    done(tmp_path, "a-s2", 77)
    t = table(Row("plain", "a", seeds=(1, 2)))
    _, line = cells(page(t, SET, {"plain": [[frame(60, 60)]]}, tmp_path, CLASSES))
    assert line[:3] == ["plain", "1", "77"]


def test_a_row_may_be_a_run_elsewhere_that_does_not_tell_its_origin(base: Path) -> None:
    """Runs of older versions do not; it is then found from their settings."""
    s = made.settings("source", made.town(base), "else")
    folder = made.run(base, dataclasses.replace(s, work="other/runs", start=()))
    end = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    del end["origin"]
    (folder / "done.json").write_text(json.dumps(end), encoding="utf-8")
    t = table(Row("plain", "plain"), Row("elsewhere", "../other/runs/else"))
    figures = compare.gather(t, SET, base, base / "looks.csv", ())
    _, plain, elsewhere = cells(page(t, SET, figures, base, NAMES))
    assert elsewhere[0] == "elsewhere" and elsewhere[-2:] == plain[-2:]
    assert elsewhere[-2] == "synth train/day, synth train/dusk, synth train/night"
    assert (base / "kept/else/val.fp32-as-trained.xz").is_file()


def test_place_replaces_what_stands_between_the_marks() -> None:
    text = "before\n<!-- begin a -->\nold\n<!-- end a -->\nbetween\n<!-- begin a.b -->\nkept\n<!-- end a.b -->\nafter\n"
    got = compare.place(text, "a", "new \\1\n")
    assert got == text.replace("old\n", "new \\1\n")
    assert compare.place(got, "a", "new \\1\n") == got
    assert compare.place(text, "a.b", "x\n") == text.replace("kept\n", "x\n")


def test_place_adds_marks_at_the_end() -> None:
    got = compare.place("# Head\n\ntext\n\n\n", "axb", "part\n")
    assert got == "# Head\n\ntext\n\n<!-- begin axb -->\npart\n<!-- end axb -->\n"
    more = compare.place(got, "a.b", "other\n")  # the dot is a dot
    assert more == got + "\n<!-- begin a.b -->\nother\n<!-- end a.b -->\n"
    assert compare.place(more, "a.b", "other\n") == more


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a town and two finished runs, one of them of a seed."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("base")
    for name, seed in (("plain", 1), ("other-s2", 2)):
        s = made.settings("source", made.town(base), name)
        made.run(base, dataclasses.replace(s, seed=seed))
    (base / "docs").mkdir()
    return base


ROWS = (
    Row("plain", "plain"), Row("other", "other", seeds=(1, 2)), Row("bare", "plain", look=Look(relight=False)),
)  # fmt: skip


def test_runs_that_are_not_finished_are_left_out_and_named(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    t = table(*ROWS, Row("none", "none"))
    (base / "runs/none").mkdir(exist_ok=True)
    with caplog.at_level(logging.WARNING):
        figures = compare.gather(t, SET, base, base / "looks.csv", ())
    assert {k: len(v) for k, v in figures.items()} == {"plain": 1, "other": 1, "bare": 1}
    assert [r.getMessage() for r in caplog.records] == [
        "compare: other (other-s1) is not finished", "compare: none (none) is not finished",
    ]  # fmt: skip


def test_figures_are_those_of_the_networks(base: Path) -> None:
    figures = compare.gather(table(*ROWS), SET, base, base / "looks.csv", ())
    for name, look in (("plain", Look()), ("bare", Look(relight=False))):
        run = runs.read(base / "runs/plain", base)
        for item, got in zip(SET.items(base)[0], figures[name][0], strict=True):
            assert item.label is not None
            label = data.read_label(item.label, len(NAMES))
            mask = scoring.decide(run.predict(data.read_image(item.image, made.SMALL), look), made.SMALL)
            assert np.array_equal(got, metrics.confusion(label, mask, len(NAMES)))


def test_rows_are_made_anew_from_what_was_kept(base: Path, tmp_path: Path) -> None:
    t, log = table(*ROWS), base / "looks.csv"
    first = compare.gather(t, SET, base, log, ())
    shutil.copytree(base / "kept", tmp_path / "kept")
    again = compare.gather(t, SET, tmp_path, log, ())  # no run and no picture is there
    assert page(t, SET, again, tmp_path, NAMES) == page(t, SET, first, base, NAMES)


def test_a_row_may_be_a_bundle(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def of_bundle(folder: Path, precision: str, relight: bool) -> Subject:
        asked.append((folder, precision, relight))
        seen = Seen("b 1", "ab", f"{precision}/{'on' if relight else 'off'}")
        return Subject(lambda _, size: np.zeros(size, np.uint8), NAMES, seen)

    monkeypatch.setattr(subjects, "of_bundle", of_bundle)
    rows = [Row("b", bundle="b", precision="int8"), Row("bare", bundle="b", look=Look(relight=False))]
    (base / "b").mkdir()
    manifest = {"training": {"origin": {"labels": ["town day"], "weights": []}}}
    (base / "b/bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    t = table(*rows)
    _, *lines = cells(page(t, SET, compare.gather(t, SET, base, base / "looks.csv", ()), base, NAMES))
    assert asked == [(base / "b", "int8", True), (base / "b", "fp32", False)]
    assert [line[:4] for line in lines] == [["b", "1", "-", "-"], ["bare", "1", "-", "-"]]
    assert lines[0][-2:] == ["town day", ""]
    assert {f.name for f in (base / "kept/b").iterdir()} == {"val.int8-on.xz", "val.fp32-off.xz"}


@pytest.mark.parametrize(
    "row", [{}, {"run": "a", "bundle": "b"}, {"bundle": "b", "seeds": (1,)}, {"bundle": "b", "look": Look("gamma")}]
)
def test_a_row_is_one_thing(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rows: 'x' "):
        Row("x", **row)


def test_sets_to_test_on_need_leave(base: Path) -> None:
    s = dataclasses.replace(SET, name="held", test=True)
    file = base / "some looks.csv"
    assert compare.gather(table(*ROWS), s, base, file, ()) == {} and not file.exists()
    assert set(compare.gather(table(*ROWS), s, base, file, ("held",))) == {"plain", "other", "bare"}
    lines = file.read_text(encoding="utf-8").count("\n")
    assert lines == 4
    assert set(compare.gather(table(*ROWS), s, base, file, ())) == {"plain", "other", "bare"}
    assert file.read_text(encoding="utf-8").count("\n") == lines


@pytest.fixture
def settings(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a table of a finished and an unfinished run, on a set to choose on and one to test on."""
    monkeypatch.setattr(config, "ROOT", base)
    file = tmp_path / "table.yaml"
    file.write_text(
        "work: runs\nkeep: docs/kept\nbase: plain\n"
        "sets:\n"
        "  - {name: val, set: synth, root: town, part: train/night}\n"
        "  - {name: test, set: synth, root: town, part: train/dusk, test: true}\n"
        "rows:\n"
        "  - {label: plain, run: plain}\n"
        "  - {label: none, run: none}\n"
        "  - {label: bare, run: plain, look: {relight: false}}\n",
        encoding="utf-8",
    )
    return file


def test_the_command_writes_the_tables_of_a_document(settings: Path, base: Path, tmp_path: Path) -> None:
    docs = tmp_path / "benchmark.md"
    docs.write_text("# Benchmark\n\n<!-- begin val -->\nold\n<!-- end val -->\n\nThe end.\n", encoding="utf-8")
    args = ["compare", "--config", str(settings), "--docs", str(docs)]
    assert __main__.main(args) == 0
    first = docs.read_text(encoding="utf-8")
    assert first.startswith("# Benchmark\n\n<!-- begin val -->\n### val\n") and first.endswith("\nThe end.\n")
    assert [row[0] for row in cells(first)] == ["row", "plain", "bare"]
    assert __main__.main(args) == 0
    assert docs.read_text(encoding="utf-8") == first
    assert not (base / "docs/looks.csv").exists()
    assert __main__.main([*args, "--sets", "test", "--look", "test"]) == 0
    assert "<!-- begin test -->\n### test\n" in docs.read_text(encoding="utf-8")
    assert (base / "docs/looks.csv").read_text(encoding="utf-8").count("\n") == 3
    assert __main__.main([*args, "--sets", "tset"]) == 1


def test_the_command_can_print(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["compare", "--config", str(settings), "--sets", "val"]) == 0
    assert [row[0] for row in cells(capsys.readouterr().out)] == ["row", "plain", "bare"]


def test_the_command_writes_a_card(settings: Path, tmp_path: Path) -> None:
    told = {"name": "mine", "version": "1.0.0", "licence": "none"}
    (tmp_path / "bundle.json").write_text(json.dumps(told), encoding="utf-8")
    assert __main__.main(["compare", "--config", str(settings), "--sets", "val", "--card", str(tmp_path)]) == 0
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# mine 1.0.0\n") and "|  | val |\n" in card
    assert "\n| plain | " in card and "\n| bare | " in card
    assert __main__.main(["compare", "--config", str(settings), "--sets", "val", "--card", str(tmp_path / "no")]) == 1
