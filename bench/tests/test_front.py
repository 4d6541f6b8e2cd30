"""The front, the tables that scores are read from, and the picture."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import front
from front_picture import Point, picture, spread
from front_picture import front as best


def test_the_front() -> None:
    assert best([(10, 60), (20, 70), (15, 55), (20, 65), (30, 70)]) == [0, 1]
    assert best([(10, 60), (10, 60)]) == [0, 1]
    assert best([(5, 1)]) == [0]


def test_labels_keep_their_distance() -> None:
    assert spread([10, 12, 50, 11], 5) == [10, 20, 50, 15]


TABLE = """<!-- begin day_val -->
| row | seeds | mIoU, 95 % interval | against 2 |
| --- | --- | --- | --- |
| 2 darkened [1] | 1 | 62.4 (60.4 to 64.0) |  |
| 7, int8 [3] | 1 | 70.5 (68.8 to 71.9) | +8.0 |

[1] A note.
<!-- end day_val -->
<!-- begin night_dev -->
| row | seeds | mIoU |
| --- | --- | --- |
| 2 darkened | 1 | 35.8 ± 0.4 |
<!-- end night_dev -->
"""


def test_scores_of_a_table() -> None:
    assert front.of_table(TABLE, "day_val") == {"2 darkened": 62.4, "7, int8": 70.5}
    assert front.of_table(TABLE, "night_dev") == {"2 darkened": 35.8}


def test_a_row_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(TABLE)
    with pytest.raises(ValueError, match="no row '6 ours'"):
        front.of_benchmark(tmp_path / "a.md")


def keep(folder: Path, sha: dict[str, str]) -> None:
    for name in front.SETS:
        variants = [
            {"precision": p, "relight": r, "std": std, "miou": 50 + std * 10 + (p == "int8")}
            for p in ("fp32", "int8") for r in ("none", "network") for std in (0, 0.16)
        ]  # fmt: skip
        said = {"bundle": "a 1.0.0", "bundle_sha256": sha[name] * 64, "variants": variants}
        (folder / f"{name}.json").write_text(json.dumps({"nightseg": said, "espnet": {"miou": 30.0}}))


def test_scores_of_a_bundle(tmp_path: Path) -> None:
    keep(tmp_path, {"day_val": "a", "night_dev": "a"})
    found, bundle = front.of_bundle("a", tmp_path, 0.15)
    assert bundle == "a 1.0.0 (`aaaaaaaaaaaa`)" and len(found) == 4
    one = next(s for s in found if s.precision == "int8" and s.relit)
    assert one.mean() == pytest.approx(52.6)
    times = {front.NET: {"int8": 17.0}, front.RELIGHT: {"int8": 3.0}}
    assert one.ms(times) == 20
    assert front.of_espnet(tmp_path).mean() == 30
    keep(tmp_path, {"day_val": "a", "night_dev": "b"})
    with pytest.raises(ValueError, match=r"run bench/run\.sh accuracy again"):
        front.of_bundle("a", tmp_path, 0)


def test_table_and_picture() -> None:
    scored = [
        front.Scored("shipped", "int8", front.NET, True, {"day_val": 70.0, "night_dev": 50.0}),
        front.Scored("shipped", "fp32", front.NET, True, {"day_val": 71.0, "night_dev": 50.0}),
        front.Scored("<teacher>", "fp32", front.TEACHER, False, {"day_val": 60.0, "night_dev": 40.0}),
    ]
    nets = [(front.NET, 49, 17), (front.RELIGHT, 5, 3), (front.TEACHER, 170, 90), ("ddrnet-tiny", 14, 5)]
    said: dict[str, Any] = {
        "provider": "openvino", "threads": 2, "rounds": 3, "date": "2026-01-01", "others": 0.0,
        "nets": [{"name": n, "fp32": f, "int8": i} for n, f, i in nets],
    }  # fmt: skip
    text = front.render(scored, said, ["a 1.0.0"])
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert lines[0] == "| ddrnet-tiny | int8 | 5.0 | - | - | not scored |  |"
    assert lines[2] == "| shipped | int8 | 20.0 | 70.0 | 50.0 | 60.0 | yes |"
    assert lines[-1] == "| <teacher> | fp32 | 170.0 | 60.0 | 40.0 | 50.0 |  |"
    drawn = picture([Point("shipped", "int8", 20, 60), Point("shipped", "fp32", 54, 60.5),
                     Point("<teacher>", "fp32", 170, 50)], [("ddrnet-tiny", 5)])  # fmt: skip
    assert len(drawn) < 25_000
    root = ET.fromstring(drawn)
    names = {t.text for t in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"shipped", "<teacher>", "ddrnet-tiny, no score", "float", "int8"} <= names
