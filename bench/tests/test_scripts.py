"""The measuring scripts: load, limits, tables, memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import accuracy
import common
import live
import replays

STAT = "cpu  10 2 3 400 50 6 7 8 9 1\ncpu0 0 0 0 0\n"


def test_busy_time_leaves_out_idle_waiting_and_guests() -> None:
    assert common.busy_ticks(STAT) == 10 + 2 + 3 + 6 + 7 + 8


def test_process_time_of_a_name_with_spaces() -> None:
    fields = ["S", "1", *["0"] * 9, "11", "22", "3", "4", "20", "0"]
    assert common.process_ticks("42 (a) b (c) " + " ".join(fields)) == 11 + 22 + 3 + 4


def test_load_sees_other_programs_but_not_ours() -> None:
    spin = [sys.executable, "-c", "import sys, time\nprint(1, flush=True)\nwhile True: pass"]
    child = subprocess.Popen(spin, stdout=subprocess.PIPE)
    try:
        if child.stdout:
            child.stdout.readline()
        counted, beside = common.Load(), common.Load()
        beside.beside(child.pid)
        counted.restart()
        beside.restart()
        child.wait(0.5)
    except subprocess.TimeoutExpired:
        a, b = counted.cores(), beside.cores()
    finally:
        child.kill()
        child.wait()
    assert a - b > 0.1, f"{a} cores with, {b} without the child"


def test_busy_machine_is_refused() -> None:
    with pytest.raises(common.RefusedError, match=r"0\.50 cores"):
        common.Load.judge(0.5, common.QUIET_BEFORE, force=False)
    common.Load.judge(0.5, common.QUIET_BEFORE, force=True)
    common.Load.judge(0.05, common.QUIET_BEFORE, force=False)


def test_limits() -> None:
    good, bad = common.Limit("a", 4, 3.5, at_least=True), common.Limit("b", 4, 3.5)
    assert good.holds
    assert not bad.holds
    common.hold([good, bad], check=False)
    with pytest.raises(common.RefusedError, match="1 of 2"):
        common.hold([good, bad], check=True)
    assert common.run_main(lambda: common.hold([bad], check=True)) == common.REFUSED


def test_last_json_skips_what_stands_before() -> None:
    assert common.last_json('a line\n{\n "x": {"y": 1}\n}\n') == {"x": {"y": 1}}
    with pytest.raises(ValueError, match="no JSON"):
        common.last_json("nothing")


def row(**changes: object) -> replays.Row:
    values: dict[str, Any] = {
        "source": "s", "frames": 60, "dropped": 0, "arrived": [60, 60], "missing": 0, "fps": 100.0,
        "mask_bytes": 61440, "hashes": {"no broker": "ab", "run 1": "ab", "subscriber 1": "ab"},
    }  # fmt: skip
    return replays.Row(**(values | changes))


def test_replays_tell_what_is_wrong() -> None:
    assert row().problems() == []
    assert "yes" in row().cells()
    for changes, word in (
        ({"dropped": 1}, "dropped"),
        ({"arrived": [60, 59]}, "arrived"),
        ({"missing": 1}, "arrived"),
        ({"hashes": {"no broker": "ab", "run 1": "ac"}}, "differ"),
    ):
        assert word in " ".join(row(**changes).problems())


def test_memory_that_grows_and_memory_that_does_not() -> None:
    flat = live.memory_figures([(float(t), 200.0 + t % 2) for t in range(60)])
    leak = live.memory_figures([(float(t), 200.0 + t) for t in range(60)])
    assert abs(flat["mb_per_minute"]) < 1
    assert leak["mb_per_minute"] == pytest.approx(60)
    assert leak["last_quarter_mb"] - leak["first_quarter_mb"] == pytest.approx(45)
    assert leak["most_mb"] == 259


def test_losses_between_two_documents() -> None:
    before = {"drops": {"overrun": 5}, "broker": {"drops": {"queue": 0}}, "source": {"late": 2}}
    after = {"drops": {"overrun": 5}, "broker": {"drops": {"queue": 3}}, "source": {"late": 2, "frozen": 1}}
    assert live.differences(before, after) == {"broker queue": 3, "source frozen": 1}


def test_allocations_per_frame() -> None:
    heard = live.Heard()
    heard.health = [(0.0, {"allocated_objects": 1}), (5.0, {"allocated_objects": 1000}),
                    (15.0, {"allocated_objects": 4000})]  # fmt: skip
    assert live.per_mask(heard, 1.0, 30) == pytest.approx(10)
    assert live.per_mask(heard, 6.0, 30) is None


KEPT: dict[str, Any] = {
    "nightseg": {
        "set": "s", "frames": 12, "labelled_pixels": 2_000_000, "classes": ["road", "fence"], "bundle": "b 1",
        "bundle_sha256": "f" * 64, "engine": "onnxruntime", "bootstrap_block": 3,
        "variants": [
            {"precision": "fp32", "relight": "none", "std": 0, "miou": 40.04, "interval": {"low": 38, "high": 42},
             "miou_without_apart": {"miou": 50, "interval": {"low": 49, "high": 51}},
             "per_class": {"road": 90.0, "fence": None}},
            {"precision": "int8", "relight": "none", "std": 0, "miou": 38.54, "interval": {"low": 37, "high": 40},
             "miou_without_apart": {"miou": 49, "interval": {"low": 48, "high": 50}},
             "minus_fp32": {"miou": -1.5, "interval": {"low": -2, "high": -1}},
             "per_class": {"road": 88.0, "fence": None}},
        ],
    },
    "espnet": {"miou": 20.0, "frames": 12, "per_class": {"road": 30.0, "fence": 10.0}},
}  # fmt: skip


def test_table_of_accuracy() -> None:
    text = accuracy.render("night_dev", KEPT)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert len({line.count("|") for line in lines}) == 1, "every row has the cells of the head"
    assert "40.0 (38.0 to 42.0)" in lines[2]
    assert "-1.5 (-2.0 to -1.0)" in lines[3]
    assert accuracy.ESPNET in lines[4]
    assert "30.0" in lines[4]
    assert [one.value for one in accuracy.behind("night_dev", KEPT)] == [1.5]


def test_sections_are_put_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "accuracy.md"
    file.write_text("# Accuracy\n\nWords.\n")
    accuracy.put(file, "a", "one\n")
    accuracy.put(file, "b", "two\n")
    accuracy.put(file, "a", "three\n")
    text = file.read_text()
    assert text.startswith("# Accuracy\n\nWords.\n")
    assert "one" not in text
    assert text.index("three") < text.index("two")
    file.write_text("<!-- begin a -->\n")
    with pytest.raises(ValueError, match="marks"):
        accuracy.put(file, "a", "x\n")


def test_a_test_set_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def look(command: list[str]) -> dict[str, Any]:
        looks.append(command)
        found: dict[str, Any] = KEPT["nightseg"] | {"bundle_sha256": identity}
        return found

    identity = "a" * 64
    monkeypatch.setattr(common, "call", look)
    monkeypatch.setattr(common, "program", lambda: "nightseg")
    monkeypatch.setattr(accuracy, "identity", lambda _: identity)
    docs = tmp_path / "accuracy.md"
    command = ["--keep", str(tmp_path), "--sets", "dusk_test", "--docs", str(docs), "--no-espnet"]
    assert accuracy.main(command) == common.REFUSED, "int8 is 1.5 points below"
    assert "--look" in looks[0]
    assert looks[0][looks[0].index("--look") + 1] == "dusk_test"
    assert accuracy.main([*command, "--within", "2"]) == common.DONE
    assert len(looks) == 1, "kept, and not looked at again"
    assert docs.read_text().count("### dusk_test") == 1
    identity = "b" * 64
    assert accuracy.main([*command, "--within", "2"]) == common.REFUSED, "another bundle"
    assert accuracy.main([*command, "--within", "2", "--render"]) == common.DONE
    assert len(looks) == 1


def test_a_set_to_choose_on_is_scored_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def look(command: list[str]) -> object:
        looks.append(command)
        return KEPT["nightseg"]

    monkeypatch.setattr(common, "call", look)
    monkeypatch.setattr(common, "program", lambda: "nightseg")
    command = ["--keep", str(tmp_path), "--sets", "day_val", "--no-espnet", "--within", "2"]
    assert accuracy.main(command) == accuracy.main(command) == common.DONE
    assert len(looks) == 2
    assert all("--look" not in c for c in looks)


def test_looks_of_the_trainer_are_asked_for_and_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def look(command: list[str]) -> dict[str, Any]:
        commands.append(command)
        found: dict[str, Any] = KEPT["espnet"] if "nightseg_train" in command else KEPT["nightseg"]
        return found | {"bundle_sha256": "a" * 64}

    monkeypatch.setattr(common, "call", look)
    monkeypatch.setattr(common, "program", lambda: "nightseg")
    monkeypatch.setattr(common, "need", lambda path, _: path)
    monkeypatch.setattr(accuracy, "identity", lambda _: "a" * 64)
    log = tmp_path / "looks.csv"
    command = ["--keep", str(tmp_path), "--sets", "day_val", "dusk_test", "--within", "2", "--log", str(log)]
    assert accuracy.main(command) == common.DONE
    chosen, tested = (c for c in commands if "--espnet" in c)
    assert "--look" not in chosen
    assert tested[-3:] == ["--look", "--log", str(log)]
    assert tested[tested.index("--images") + 1].endswith("camvid_dusk/dusk_test/images")
