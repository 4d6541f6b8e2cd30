"""`report`: the page of a small run holds the numbers, curves and pictures that it should, and nothing else."""

from __future__ import annotations

import argparse
import base64
import dataclasses
import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import trees
from elements import Node, Tree
from nightseg_train import config, data, fit, loop, metrics, report, runs, scoring, streams
from nightseg_train.classes import CAMVID, NAMES
from nightseg_train.methods import dannet, source
from nightseg_train.streams import Part, Streams

FRAMES, STRIDE, SIZE = 33, 2, (64, 64)  # 17 frames are scored: enough for quarters
ABSENT = 10  # no label of the town is of this class


def parse(path: Path) -> Node:
    return Tree(path.read_text(encoding="utf-8")).root


def blocks(seed: int) -> data.Picture:
    """Return labels 48 x 64 of blocks of ten classes; an eleventh of the blocks is not labelled."""
    ids = np.random.default_rng(seed).integers(0, ABSENT + 1, (6, 8)).astype(np.uint8)
    ids[ids == ABSENT] = 255
    return np.asarray(np.kron(ids, np.ones((8, 8), np.uint8)), np.uint8)


def pixels(img: Node) -> data.Picture:
    """Return the RGB bytes of a picture in a page."""
    head, body = img.attrs["src"].split(",", 1)
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB"))


def settings() -> fit.Fit:
    parts = (Part("camvid", "town", "day_train"),)
    return fit.Fit(
        name="small",
        work="runs",
        size=SIZE,
        loop=loop.Loop(steps=6, precision="fp32", threads=1, score_every=3, log_every=1),
        streams=Streams(parts, parts, parts, (), "none", 2, 32, (0.75, 1.0), 32, 32, (0.9, 1.1)),
        validate=(fit.Validation("camvid", "town", "night_val", stride=STRIDE),),
        dannet=dataclasses.replace(dannet.official(), segment="ddrnet-tiny", relight="edge"),
        source=source.Settings(segment="ddrnet-tiny"),
    )


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout with a made-up data set, a run of DANNet, and one of source that has not ended."""
    base = tmp_path_factory.mktemp("report")
    for part, frames in (("day_train", 3), ("night_val", FRAMES)):
        for i in range(frames):
            ramp = np.random.default_rng(i).integers(0, 40 + 6 * (i * 7 % FRAMES), (48, 64, 3))
            trees.save(base / f"town/{part}/images/{i:03d}.png", ramp.astype(np.uint8))
            trees.save(base / f"town/{part}/labels/{i:03d}.png", blocks(i))
    fit.fit(settings(), base)
    fit.fit(dataclasses.replace(settings(), name="plain", method="source"), base)
    (base / "runs/plain/done.json").unlink()
    return base


@pytest.fixture(scope="module")
def written(town: Path) -> Node:
    return parse(report.write(town / "runs/small", town / "pages/small.html", 4, town))


@dataclass(frozen=True)
class Truth:
    """What the page should say, found without `report` and `looks`."""

    items: list[data.Item]
    masks: list[data.Picture]
    matrices: list[metrics.Matrix]

    def total(self) -> metrics.Matrix:
        """Return the matrix of all frames."""
        total: metrics.Matrix = np.sum(self.matrices, 0)
        return total


@pytest.fixture(scope="module")
def truth(town: Path) -> Truth:
    method, seen = fit.make(settings(), town)
    kept = torch.load(town / "runs/small/best.pt", weights_only=False)["modules"]
    for name, module in method.modules().items():
        module.load_state_dict(kept[name])
        module.eval()
    items = streams.read([Part("camvid", "town", "night_val")], town)[0][::STRIDE]
    masks, matrices = [], []
    for item in items:
        assert item.label is not None
        logits = method.predict(data.read_image(item.image, SIZE))
        masks.append(scoring.decide(logits, (48, 64), align_corners=True))
        matrices.append(metrics.confusion(data.read_label(item.label, len(seen.names)), masks[-1], len(NAMES)))
    return Truth(items, masks, matrices)


def test_the_page_is_whole_and_asks_for_nothing(town: Path, written: Node) -> None:
    text = (town / "pages/small.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert len(text) < 5e6
    assert "://" not in text and "url(" not in text and "@import" not in text
    assert str(town) not in text
    assert not [n for tag in ("script", "link", "iframe", "object") for n in written.all(tag)]
    known = [n.attrs["id"] for tag in ("h2",) for n in written.all(tag)]
    assert len(known) == len(set(known)) == 3
    assert [n.attrs["href"] for n in written.all("a")] == [f"#{k}" for k in known]
    assert [n.text() for n in written.all("h1")] == ["small"]


def test_the_head_says_what_the_run_was(town: Path, written: Node) -> None:
    done = json.loads((town / "runs/small/done.json").read_text())
    tiles = {next(n.all("span")).text(): n for n in written.all("div") if n.attrs.get("class") == "card tile"}
    big = {k: next(n.all("b")).text() for k, n in tiles.items()}
    assert big["steps"] == "6" and "of 6" in tiles["steps"].text()
    assert big["pictures seen"] == f"{done['images']:,}" == "36"
    assert big["minutes"] == f"{done['seconds'] / 60:.1f}"
    assert big["choose"] == big["camvid/night_val"] == f"{done['best']['scores']['choose']:.1f}"
    assert f"step {done['best']['step']}" in tiles["choose"].text()
    facts = {k.text(): v.text() for k, v in zip(written.all("dt"), written.all("dd"), strict=True)}
    assert facts["method"] == "dannet"
    assert "segment: ddrnet-tiny" in facts["networks"] and "relight: edge" in facts["networks"]
    assert facts["labelled pictures"] == "camvid day_train"
    assert facts["unlabelled pictures"] == "day, night; pairs of the same place"
    assert facts["soft targets"] == "none"
    assert facts["rests on"] == "labels of camvid day_train"
    assert not [n for n in written.all("p") if "warn" in n.attrs.get("class", "")]
    shown = next(next(written.all("details")).all("pre")).text()
    assert json.loads(shown) == json.loads((town / "runs/small/settings.json").read_text())
    assert "open" not in next(written.all("details")).attrs


def test_figures_of_a_part_are_those_of_its_frames(written: Node, truth: Truth) -> None:
    found = metrics.score(truth.total(), 17)
    assert 0 < found.miou < 100
    low, high = np.quantile(metrics.Bootstrap().values(truth.matrices), (0.025, 0.975))
    about = next(n.text() for n in written.all("p") if n.text().startswith("mIoU"))
    assert about.startswith(f"mIoU {found.miou:.1f} % ({low:.1f} to {high:.1f}: 95 % interval")
    assert "17 frames, one in 2 of the part;" in about
    table, light = written.all("table")
    share = truth.total().sum(1) / truth.total().sum() * 100
    wanted = [
        [n, "", "-" if np.isnan(v) else f"{v:.1f}", "-" if np.isnan(v) else f"{s:.1f}"]
        for n, v, s in zip(NAMES, found.per_class, share, strict=True)
    ]
    assert table.rows() == wanted
    assert wanted[ABSENT][2:] == ["-", "-"] and sum(r[2] != "-" for r in wanted) == 10
    bars = [n.attrs["style"] for n in table.all("div")]
    assert bars == [f"width:{v:.1f}%" for v in found.per_class if not np.isnan(v)]

    luma = [np.asarray(data.read_image(i.image, SIZE) @ np.array([0.299, 0.587, 0.114])).mean() for i in truth.items]
    order = np.argsort(luma)
    for row, part in zip(light.rows(), (order[:4], order[4:8], order[8:12], order[12:]), strict=True):
        assert row[2] == f"{metrics.mean_iou(np.sum([truth.matrices[k] for k in part], 0)):.1f}"
        assert row[3] == f"{np.mean([luma[k] for k in part]):.1f}"


def test_the_confusion_is_by_rows(written: Node, truth: Truth) -> None:
    told = [n.text() for n in written.all("title")]
    m = truth.total()[:, : len(NAMES)]
    for i, name in enumerate(NAMES):
        for k, other in enumerate(NAMES):
            if i != ABSENT:
                assert f"{100 * m[i, k] / m[i].sum():.1f} % of {name} taken for {other}" in told
    assert told.count(f"no {NAMES[ABSENT]} in the labels") == len(NAMES)
    assert not [t for t in told if t.startswith("nan")]
    labels = [n.text() for n in written.all("text")]
    assert all(labels.count(n) == 2 for n in NAMES)


def test_a_row_of_pictures_per_frame(written: Node, truth: Truth) -> None:
    shown = {n.attrs["alt"]: pixels(n) for n in written.all("img")}
    picks = [0, 5, 11, 16]  # evenly spread over the 17
    names = [truth.items[k].image.stem for k in picks]
    assert list(shown) == [f"{n}: {w}" for n in names for w in ("frame", "relit", "prediction", "label")]
    table = np.zeros((256, 3), np.uint8)
    table[: len(CAMVID)] = [c.colour for c in CAMVID]
    for k, name in zip(picks, names, strict=True):
        item = truth.items[k]
        assert item.label is not None
        assert np.array_equal(shown[f"{name}: label"], table[data.read_ids(item.label)])
        assert np.array_equal(shown[f"{name}: prediction"], table[truth.masks[k]])
        frame = data.read_image(item.image, None)
        assert shown[f"{name}: frame"].shape == shown[f"{name}: relit"].shape == frame.shape
        assert abs(shown[f"{name}: frame"].mean() - frame.mean()) < 3
    heads = [n.text() for n in written.all("p") if n.text().split(" ")[0] in names]
    assert heads[1].startswith(f"{names[1]} mIoU {metrics.mean_iou(truth.matrices[5]):.1f}, luma ")
    legend = [n.text() for n in written.all("li")]
    assert legend == [*NAMES, "not labelled"]


def test_curves_are_those_of_the_log(town: Path, written: Node) -> None:
    lines = report.read_log(town / "runs/small")
    titles = [n.text() for n in written.all("h3")]
    log = (town / "runs/small/log.csv").read_text().splitlines()
    terms = [k for k in log[0].split(",") if k not in (*report.NOT_LOSSES, "choose", "camvid/night_val")]
    assert [t for t in titles if t.startswith("loss: ")] == [f"loss: {t}" for t in terms]
    assert len(terms) > 5
    assert titles[:2] == ["choose, mIoU in %", "camvid/night_val, mIoU in %"] and "learning rate" in titles
    assert lines["choose"].steps.tolist() == [3, 6]
    assert lines["static"].steps.tolist() == [1, 2, 3, 4, 5, 6]
    dots = [*written.all("circle")]
    assert len(dots) == 4
    assert next(dots[0].all("title")).text() == f"step 3: {lines['choose'].values[0]:.2f}"


def test_a_run_without_relight_net_that_has_not_ended(town: Path) -> None:
    tree = parse(report.write(town / "runs/plain", town / "pages/plain.html", 99, town))
    shown = [n.attrs["alt"].split(": ")[1] for n in tree.all("img")]
    assert shown == ["frame", "prediction", "label"] * 17
    warned = [n.text() for n in tree.all("p") if "warn" in n.attrs.get("class", "")]
    assert warned == ["The run has not ended; this is its best snapshot so far."]
    facts = {k.text(): v.text() for k, v in zip(tree.all("dt"), tree.all("dd"), strict=True)}
    assert facts["unlabelled pictures"] == "none"


def test_a_page_that_does_not_fit_the_snapshot_says_so(town: Path) -> None:
    run = runs.read(town / "runs/small", town)
    seen = [report.see(run, v, town) for v in run.settings.validate]
    other = dataclasses.replace(run, scores={k: v + 1 for k, v in run.scores.items()})
    warned = f"The snapshot was recorded with {other.scores['camvid/night_val']:.2f} here"
    assert warned in report.render(other, seen, 0)
    assert "was recorded with" not in report.render(run, seen, 0)
    assert "<img" not in report.render(run, seen, 0)


def test_a_run_without_log_and_figures_still_has_a_page(town: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(town / "runs/small", folder)
    (folder / "log.csv").unlink()
    (folder / "done.json").write_text("{}", encoding="utf-8")
    text = report.write(folder, tmp_path / "bare.html", 0, town).read_text(encoding="utf-8")
    assert "holds no log" in text and "has not ended" not in text
    assert report.spent(folder, {}) == report.Spent(True, None, None, None)


def test_errors_name_the_folder(town: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(f"no run in {tmp_path / 'none'}")):
        report.write(tmp_path / "none", tmp_path / "x.html", 1, town)
    unscored = tmp_path / "unscored"
    unscored.mkdir()
    shutil.copy(town / "runs/small/settings.json", unscored)
    with pytest.raises(FileNotFoundError, match=re.escape(f"no {unscored / 'best.pt'}; the run has not been scored")):
        report.write(unscored, tmp_path / "x.html", 1, town)
    with pytest.raises(ValueError, match="-1 frames"):
        report.write(town / "runs/small", tmp_path / "x.html", -1, town)
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    "part", ["day_test", "dusk_test", "night_coarse", "night_test_proxy", "test/night", "10k/test"]
)
def test_sets_to_test_on_are_refused(town: Path, part: str) -> None:
    run = runs.read(town / "runs/small", town)
    with pytest.raises(ValueError, match=f"small was validated on camvid {part}, a set to test on"):
        report.see(run, fit.Validation("camvid", "town", part), town)


@pytest.mark.parametrize("part", ["day_val", "night_dev", "val/night", "latest", "train/night"])
def test_sets_to_choose_on_are_not(part: str) -> None:
    assert report.TO_TEST_ON.search(part) is None


def test_the_command(town: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "ROOT", town)
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    folders = [str(town / "runs/small"), str(town / "runs/plain")]
    report.run(parser.parse_args(["--run", *folders, "--frames", "1"]))
    for folder in folders:
        tree = parse(Path(folder) / "report.html")
        assert next(tree.all("h1")).text() == Path(folder).name
        assert len({n.attrs["alt"].split(":")[0] for n in tree.all("img")}) == 1
    with pytest.raises(ValueError, match="--out names one page, and there are 2 runs"):
        report.run(parser.parse_args(["--run", *folders, "--out", str(tmp_path / "x.html")]))
    report.run(parser.parse_args(["--run", folders[0], "--frames", "0", "--out", str(tmp_path / "sub/x.html")]))
    assert (tmp_path / "sub/x.html").is_file()


def test_relit_pictures_are_back_in_rgb(town: Path) -> None:
    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.tensor(0.0))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.by

    run, net = runs.read(town / "runs/small", town), Shift()
    run.method.relight = net  # type: ignore[attr-defined]
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    assert np.array_equal(report.relit(run, picture), picture)  # type: ignore[arg-type]
    net.by.data.fill_(0.5)
    wanted = np.clip(picture + 0.5 * 255 * np.array(scoring.STD), 0, 255)
    brighter = report.relit(run, picture)
    assert brighter is not None and np.abs(brighter - wanted).max() < 0.51
    assert report.relit(runs.read(town / "runs/plain", town), picture) is None
