"""What a report is drawn with: elements, charts, colours."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from elements import Tree
from nightseg_train.classes import CAMVID, CITYSCAPES, MSRS
from nightseg_train.drawing import charts, page, paint


def test_text_is_escaped() -> None:
    made = page.el("b", "a < b & c", page.el("i"), title='"x"', class_="k", left_out=None, stroke_width=1.5)
    assert made == '<b title="&quot;x&quot;" class="k" stroke-width="1.5">a &lt; b &amp; c<i></i></b>'
    assert page.el("img", src="data:,") == '<img src="data:,">'


def test_ticks_are_round() -> None:
    assert charts.ticks(0, 500) == [0, 200, 400]
    assert charts.ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert charts.ticks(33.2, 36.1) == [34, 35, 36]
    assert charts.ticks(0, 6) == [0, 2, 4, 6]
    for low, high in ((0.0, 1e-4), (-3.0, 2.0), (0.0, 87_000.0), (60.9, 61.1)):
        found = charts.ticks(low, high)
        assert 2 <= len(found) <= 5 and low <= found[0] and found[-1] <= high


def test_running_mean() -> None:
    line = np.arange(10.0)
    assert charts.smooth(line).tolist() == [1, 1.5, 2, 3, 4, 5, 6, 7, 7.5, 8]
    assert charts.smooth(np.array([7.0])).tolist() == [7]
    assert np.ptp(charts.smooth(np.resize([0.0, 1.0], 400))) < 0.2


def test_a_curve_lies_where_its_values_are() -> None:
    c = charts.Curve(np.array([0.0, 50, 100]), np.array([0.0, 4, 2]))
    node = Tree(charts.curve(c, 100, "plain", best=50)).root
    (line,) = node.all("polyline")
    points = np.array([p.split(",") for p in line.attrs["points"].split()], np.float64)
    bottom = charts.HEIGHT - charts.BOTTOM
    assert points[:, 0].tolist() == [
        charts.LEFT,
        (charts.LEFT + charts.WIDTH - charts.RIGHT) / 2,
        charts.WIDTH - charts.RIGHT,
    ]
    assert points[0, 1] == bottom
    assert points[1, 1] == pytest.approx(charts.TOP, abs=4)
    assert points[2, 1] == pytest.approx((bottom + points[1, 1]) / 2, abs=0.1)
    (best,) = (n for n in node.all("line") if n.attrs["class"] == "best")
    assert float(best.attrs["x1"]) == points[1, 0]
    raw = [n.attrs["class"] for n in Tree(charts.curve(c, 100, "noisy")).root.all("polyline")]
    assert raw == ["raw", "line"]
    many = charts.Curve(np.arange(90_000.0), np.ones(90_000))
    assert len(charts.curve(many, 90_000, "noisy")) < 50_000


def test_colours_differ_and_pictures_shrink() -> None:
    for known in (CAMVID, CITYSCAPES, MSRS):
        assert len(set(paint.colours(known))) == len(known)
        assert paint.BLACK not in paint.colours(known)
    assert paint.colours(CITYSCAPES)[13] == (0, 0, 142)
    assert paint.fitted((1080, 1920), 400) == (225, 400)
    assert paint.fitted((48, 64), 400) == (48, 64)


def test_shrunk_masks_keep_the_colours_of_their_classes() -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 8, 255], np.uint8), (60, 80))
    uri = paint.png(mask, (15, 20), paint.colours(CAMVID))
    picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")
    assert picture.size == (20, 15)
    found = {tuple(c) for c in np.asarray(picture).reshape(-1, 3).tolist()}
    assert found == {paint.colours(CAMVID)[0], paint.colours(CAMVID)[8], paint.BLACK}
