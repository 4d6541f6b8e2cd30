"""The table: what it says of a bound that holds, and of one that does not; without a GPU it ends at once."""

from __future__ import annotations

import json

import pytest

import common
import table
from common import Limit


def test_rows_say_what_holds() -> None:
    text = table.markdown([Limit("time, ms", 1.98, 2.0), Limit("times as fast", 1.1, 1.15, at_least=True)], "here")
    assert "| time, ms | at most 2 | 1.98 | holds |" in text
    assert "| times as fast | at least 1.15 | 1.1 | **does not hold** |" in text


def test_without_a_gpu_it_is_skipped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checks = {"checks": [{"name": "onnxruntime", "text": "lib.so, providers openvino, cpu"}]}
    monkeypatch.setattr(common, "call", lambda *_a, **_k: checks)
    monkeypatch.setattr(common, "program", lambda: "nightseg")
    assert table.main(["--gpu", "."]) == 0
    assert "openvino" in json.loads(capsys.readouterr().out)["skipped"]


def test_a_gpu_is_timed_on_each_provider(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {k: {"median": 1.0} for k in ("networks_wall", "loop_wall", "outside_core")}
    checks = {"checks": [{"name": "onnxruntime", "text": "lib.so, providers tensorrt, cuda, cpu"}]}
    monkeypatch.setattr(common, "call", lambda command, **_k: checks if "doctor" in command else figures)
    monkeypatch.setattr(common, "program", lambda: "nightseg")
    assert table.main(["--gpu", "."]) == 0
    assert len(json.loads(capsys.readouterr().out)["gpu"]) == 4
