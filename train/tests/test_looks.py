"""Looks at labelled sets: matrices by hand, MSRS's classes, one line and one kept file for each look at a test set."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import made
import trees
from nightseg_train import looks, metrics, subjects
from nightseg_train.classes import NAMES
from nightseg_train.data.ids import CITYSCAPES
from nightseg_train.data.others import MSRS_NAMES
from nightseg_train.looks import Set
from nightseg_train.metrics import Matrix
from nightseg_train.runs import AS_IS, Finished, Look

CAR, PERSON, POLE = (NAMES.index(n) for n in ("car", "pedestrian", "pole"))
BLOCK = made.SMALL[0] * made.SMALL[1] // 4
TEST = Set("night_test", "synth", "town", "train/night", test=True)
CHOICE = dataclasses.replace(TEST, name="night_val", test=False)


@pytest.fixture
def run(tmp_path: Path) -> Finished:
    """Return a run beside a town of two frames, of which it sees one as it is and half of the other."""
    label = made.blocks([[CAR, PERSON], [CAR, PERSON]])
    pictures = (made.seen([CAR, PERSON], [CAR, PERSON]), made.seen([CAR, CAR], [PERSON, PERSON]))
    made.labelled(tmp_path, "train/night", [(p, label) for p in pictures])
    return made.seer(tmp_path)


def matrix(classes: int, **counts: int) -> Matrix:
    """Return a matrix of the given counts; c_8_9 is those of label 8 taken for 9."""
    out = np.zeros((classes, classes + 1), np.int64)
    for name, count in counts.items():
        _, row, column = name.split("_")
        out[int(row), int(column)] = count
    return out


def look(run: Finished, s: Set, *allowed: str, how: Look = AS_IS) -> list[Matrix] | None:
    base = run.folder.parents[1]
    return looks.matrices(subjects.of_run(run, how), s, base / "kept", base, base / "looks.csv", allowed)


def lines(run: Finished) -> list[dict[str, str]]:
    file = run.folder.parents[1] / "looks.csv"
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows))


def test_matrices_are_those_counted_by_hand(run: Finished) -> None:
    found = look(run, CHOICE)
    assert found is not None and len(found) == 2
    assert np.array_equal(found[0], matrix(11, c_8_8=2 * BLOCK, c_9_9=2 * BLOCK))
    assert np.array_equal(found[1], matrix(11, c_8_8=BLOCK, c_8_9=BLOCK, c_9_8=BLOCK, c_9_9=BLOCK))


def test_a_look_without_the_relight_net_is_one(run: Finished) -> None:
    found = look(run, CHOICE, how=Look(relight=False))
    assert found is not None
    assert np.array_equal(found[0], matrix(11, c_8_9=2 * BLOCK, c_9_10=2 * BLOCK))


def test_what_camvids_classes_are_in_msrs() -> None:
    ids = looks.table(NAMES, MSRS_NAMES)
    told = {n: MSRS_NAMES[ids[i]] for i, n in enumerate(NAMES)}
    things = {"car": "car", "pedestrian": "person", "bicyclist": "bike"}
    assert told == {n: things.get(n, "background") for n in NAMES}
    assert looks.table(NAMES, NAMES)[:11].tolist() == list(range(11))
    with pytest.raises(ValueError, match="cannot be scored on labels of background, car"):
        looks.table(CITYSCAPES, MSRS_NAMES)


def test_matrices_of_msrs_classes(run: Finished, tmp_path: Path) -> None:
    trees.save(tmp_path / "msrs/night_proxy/images/a.png", made.seen([CAR, PERSON], [POLE, CAR]))
    trees.save(tmp_path / "msrs/night_proxy/labels/a.png", made.blocks([[1, 2], [0, 3]]))
    found = look(run, Set("proxy", "msrs", "msrs", "night_proxy"))
    assert found is not None and len(found) == 1
    assert np.array_equal(found[0], matrix(4, c_1_1=BLOCK, c_2_2=BLOCK, c_0_0=BLOCK, c_3_1=BLOCK))


def test_sets_to_test_on_are_not_looked_at_unasked(run: Finished) -> None:
    assert look(run, TEST) is None
    assert look(run, TEST, "another set", CHOICE.name) is None
    assert lines(run) == [] and not (run.folder.parents[1] / "kept").exists()


def test_a_look_is_one_line_and_the_next_reads_what_was_kept(run: Finished) -> None:
    first = look(run, TEST, TEST.name)
    assert first is not None
    shutil.rmtree(run.folder.parents[1] / "town")
    for allowed in ((), (TEST.name,)):
        again = look(run, TEST, *allowed)
        assert again is not None and np.array_equal(np.stack(first), np.stack(again))
    (line,) = lines(run)
    assert (line["bundle"], line["set"], line["frames"]) == ("run seer", "night_test", "2")
    assert line["figures"] == f"fp32/as trained {metrics.mean_iou(first[0] + first[1]):.2f}"
    assert len(line["bundle_sha256"]) == 64


def test_a_look_at_a_set_to_choose_on_is_kept_and_not_logged(run: Finished) -> None:
    first = look(run, CHOICE)
    shutil.rmtree(run.folder.parents[1] / "town")
    again = look(run, CHOICE)
    assert first is not None and again is not None
    assert np.array_equal(np.stack(first), np.stack(again))
    assert lines(run) == []


def test_another_snapshot_needs_another_look(run: Finished) -> None:
    assert look(run, TEST, TEST.name) is not None
    (run.folder / "best.pt").write_bytes(b"better")
    assert look(run, TEST) is None
    assert look(run, TEST, TEST.name) is not None
    assert look(run, TEST) is not None
    assert len({line["bundle_sha256"] for line in lines(run)}) == len(lines(run)) == 2


def test_ways_of_looking_are_looks_of_their_own(run: Finished) -> None:
    ways = (Look(), Look(relight=False), Look(reweight=False), Look("gamma"), Look("gamma", relight=False))
    assert look(run, TEST, TEST.name) is not None
    for way in ways[1:3]:
        assert look(run, TEST, how=way) is None
        assert look(run, TEST, TEST.name, how=way) is not None
    assert [line["figures"].rpartition(" ")[0] for line in lines(run)] == [
        "fp32/as trained", "fp32/no relight", "fp32/no weights",
    ]  # fmt: skip
    assert len({looks.kept(run.folder, TEST, subjects.how(way)) for way in ways}) == len(ways)


def test_what_is_kept_is_found_without_the_weights(run: Finished) -> None:
    first, there = look(run, TEST, TEST.name), run.folder.parents[1] / "kept"
    shutil.rmtree(run.folder)
    again = looks.held(there, TEST, subjects.how(AS_IS))
    assert first is not None and again is not None
    assert np.array_equal(np.stack(first), np.stack(again)) and again[0].dtype == np.int64
    assert looks.held(there, TEST, subjects.how(AS_IS), "other weights") is None
    assert looks.held(there, dataclasses.replace(TEST, part="train/day"), subjects.how(AS_IS)) is None
    assert looks.held(there, CHOICE, subjects.how(AS_IS)) is None


def test_the_log_is_added_to(run: Finished) -> None:
    file = run.folder.parents[1] / "looks.csv"
    before = ",".join(looks.HEAD) + "\n2026-11-25T12:49:51Z,street-11,00,day_test,84,fp32/none/0 61.33\n"
    file.write_text(before, encoding="utf-8")
    assert look(run, TEST, TEST.name) is not None
    assert file.read_text(encoding="utf-8").startswith(before)
    assert [line["bundle"] for line in lines(run)] == ["street-11", "run seer"]


def test_a_set_without_labels_is_refused(run: Finished, tmp_path: Path) -> None:
    made.wild(tmp_path, "night", {"n": made.street(1)})
    with pytest.raises(ValueError, match=r"n\.png has no label"):
        look(run, Set("wild", "camvid", "wild", "night"))
