"""Growth: tenths of a run, the tables, the chart."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

import chart
import growth


def test_tenths_tell_a_run_that_slows_down() -> None:
    samples = [(float(t), 10 * t if t <= 50 else 500 + 5 * (t - 50), 100.0 + t) for t in range(151)]
    rows = growth.tenths(samples)
    assert len(rows) == 10
    assert rows[-1]["frames"] == 1000
    assert rows[0]["fps"] == pytest.approx(10)
    assert rows[-1]["fps"] == pytest.approx(5)
    assert rows[0]["mb"] < rows[-1]["mb"]


def test_tables_and_chart_show_each_shape() -> None:
    one = {"least": 1.0, "median": 2.0, "most": 3.0}
    rows = [
        {"shape": s, "megapixels": m, "networks_wall": one, "outside_core": one, "loop_wall": one}
        for s, m in (("320x240", 0.0768), ("640x480", 0.3072))
    ]
    cameras = [{"n": 1, "fps": 30.0, "cameras": [{"camera": "cam1", "fps": 30.0, "p50_ms": 20.0, "p99_ms": 31.0}]}]
    text = growth.markdown({"shapes": rows, "frames": [{"frames": 100, "fps": 50.0, "mb": 300.0}], "cameras": cameras})
    assert "| 640x480 | 0.31 | 2.0 | 2.00 | 2.0 | 7 |" in text
    assert "| 1 | 30 | 30 | 20 / 31 |" in text
    tree = ET.fromstring(growth.draw(rows))
    words = [t.text for t in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "320x240" in words and "640x480" in words


def test_ticks_are_round_and_within() -> None:
    assert chart.Axis("", 0, 100).ticks() == [0, 20, 40, 60, 80, 100]
    assert chart.Axis("", 41.0, 58.0).ticks() == [45, 50, 55]
