"""Finished runs: read back to the same predictions, looked at in other ways, refused where they do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import made
from nightseg_train import checkpoint, fit, loop, runs
from nightseg_train.classes import NAMES
from nightseg_train.data import SIZE, Picture
from nightseg_train.methods.selftrain import SelfTrain
from nightseg_train.methods.source import Source
from nightseg_train.runs import Finished, Look


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a town and a finished run of two steps."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("base")
    made.run(base, made.settings("source", made.town(base)))
    return base


@pytest.fixture
def run(base: Path) -> Finished:
    """Return the finished run."""
    return runs.read(base / "runs/small", base)


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """Return a copy of the run's folder that a test may spoil."""
    return shutil.copytree(base / "runs/small", tmp_path / "small")


def street(seed: int = 3) -> Picture:
    return made.street(seed)


def equalised(picture: Picture) -> Picture:
    """Return the lightness after CLAHE with 8 x 8 tiles whose bins are cut to twice the mean."""
    return np.asarray(cv2.createCLAHE(2.0, (8, 8)).apply(lightness(picture)), np.uint8)


def lightness(picture: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[:, :, 0], np.uint8)


def test_a_run_predicts_as_its_averaged_networks_did(base: Path, run: Finished) -> None:
    s = fit.read_settings(base / "runs/small")
    assert s == made.settings("source", s.windows)
    method, labelled = fit.make(s, base)
    trained = loop.Run(method, s.loop, base / "runs/small", s.seed)
    with loop.Averaged(trained) as averaged:
        expected = averaged.predict(street())
    assert torch.equal(run.predict(street()), expected)
    for module in method.modules().values():
        module.eval()
    assert not torch.equal(method.predict(street()), expected)  # the weights themselves have gone further
    assert (run.step, run.names, run.shares) == (2, NAMES, labelled.shares)
    assert set(run.scores) == {"synth/train/night", "choose"} and run.seconds > 0


def test_a_look_can_leave_out_relight_net_and_weights(run: Finished) -> None:
    method = run.method
    assert isinstance(method, Source)
    whole = run.predict(street())
    plain = run.predict(street(), Look(reweight=False))
    assert torch.allclose(whole - plain, method.log_weight.expand_as(whole), atol=1e-3)
    assert float(method.log_weight.abs().max()) > 0.01
    past = run.predict(street(), Look(relight=False))
    assert past.shape == whole.shape and not torch.equal(past, whole)


def test_a_look_can_prepare_the_picture(run: Finished) -> None:
    for name, prepare in (("gamma", runs.gamma), ("clahe", runs.clahe)):
        got = run.predict(street(), Look(name))
        assert torch.equal(got, run.predict(prepare(street())))
        assert not torch.equal(got, run.predict(street()))


def test_looks_have_short_names() -> None:
    assert Look().name() == ""
    assert Look("gamma").name() == "gamma"
    assert Look("clahe", relight=False, reweight=False).name() == "clahe, no relight, no weights"


def test_an_unknown_way_to_prepare_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prepare.*'gama'.*none, gamma, clahe"):
        Look("gama")


def test_gamma_is_a_power_of_the_values() -> None:
    levels = np.array([0, 16, 64, 128, 255], np.uint8).reshape(1, 5, 1).repeat(3, 2)
    assert runs.gamma(levels)[0, :, 0].tolist() == [0, 64, 128, 181, 255]
    assert runs.gamma(levels, 2.0)[0, :, 1].tolist() == [0, 1, 16, 64, 255]
    assert np.array_equal(runs.gamma(street(), 1.0), street())


@pytest.mark.parametrize("grey", [20, 90, 200])
def test_clahe_of_a_flat_picture(grey: int) -> None:
    flat = made.flat(grey, size=SIZE)
    level = int(lightness(flat)[0, 0])
    # Tiles of 60 x 80 pixels, all in one of 256 bins, are cut to twice the mean of a bin; the rest goes to all bins
    # alike, what that leaves over to the first ones. The new level is the share of the pixels up to the old one.
    pixels = 60 * 80
    cut = 2 * pixels // 256
    each, over = divmod(pixels - cut, 256)
    expected = (cut + each * (level + 1) + min(over, level + 1)) * 255 / pixels
    got = runs.clahe(flat)
    assert float(np.abs(lightness(got) - expected).max()) < 1.5
    assert int(np.ptp(got, 2).max()) <= 2  # grey stays grey


def test_clahe_spreads_what_is_dark() -> None:
    dark = np.asarray(street() // 8, np.uint8)
    assert int(np.abs(lightness(runs.clahe(dark)).astype(int) - equalised(dark)).max()) <= 2  # of rounding to RGB
    assert float(lightness(runs.clahe(dark)).std()) > 1.2 * float(lightness(dark).std())


def test_folders_without_a_run_or_a_snapshot(base: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no run in .*nowhere; `fit` leaves settings\.json"):
        runs.read(tmp_path / "nowhere", base)
    (copy / "best.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"best\.pt; the run has not been scored yet"):
        runs.read(copy, base)


def test_a_run_is_read_without_the_pictures_that_it_learned_from(run: Finished, copy: Path, tmp_path: Path) -> None:
    again = runs.read(copy, tmp_path)  # there is no town
    assert torch.equal(again.predict(street()), run.predict(street()))
    assert (again.names, again.shares, again.origin) == (run.names, run.shares, run.origin)


def test_a_snapshot_of_an_older_version_is_read_with_them(
    base: Path, run: Finished, copy: Path, tmp_path: Path
) -> None:
    state = checkpoint.load(copy / "best.pt")
    assert state is not None
    checkpoint.save(copy / "best.pt", {k: v for k, v in state.items() if k not in ("labelled", "origin")})
    again = runs.read(copy, base)
    assert torch.equal(again.predict(street()), run.predict(street()))
    assert (again.names, again.shares, again.origin) == (run.names, run.shares, run.origin)
    with pytest.raises(FileNotFoundError, match="town"):
        runs.read(copy, tmp_path)


def test_settings_of_an_older_layout_name_key_and_run(base: Path, copy: Path) -> None:
    tree = json.loads((copy / "settings.json").read_text(encoding="utf-8"))
    tree["windows"]["small_crop"] = [64, 96]
    (copy / "settings.json").write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(ValueError, match=r"windows\.small_crop: unknown key"):
        runs.read(copy, base)
    with pytest.raises(ValueError, match=str(copy)):
        runs.read(copy, base)


@pytest.mark.parametrize("lacking", ["modules", "relight", "a layer"])
def test_a_snapshot_that_does_not_fit_is_refused(base: Path, copy: Path, lacking: str) -> None:
    state = checkpoint.load(copy / "best.pt")
    assert state is not None and isinstance(state["modules"], dict)
    if lacking == "modules":
        del state["modules"]
    elif lacking == "relight":
        del state["modules"]["relight"]
    else:
        state["modules"]["segment"].popitem()
    checkpoint.save(copy / "best.pt", state)
    with pytest.raises(ValueError, match=r"best\.pt"):
        runs.read(copy, base)


def test_probabilities_sum_to_one_and_turn_with_the_picture(run: Finished) -> None:
    p = runs.probabilities(run, street(), (24, 32))
    assert p.shape == (24, 32, 11)
    assert torch.allclose(p.sum(2), torch.ones(24, 32), atol=1e-5)
    mirrored = np.ascontiguousarray(street()[:, ::-1])
    assert torch.allclose(runs.probabilities(run, mirrored, (24, 32)).flip(1), p, atol=1e-6)
    assert float((run.predict(mirrored).flip(3) - run.predict(street())).abs().max()) > 1e-3  # one view does not


def test_probabilities_are_the_mean_of_both_views_without_class_weights(run: Finished) -> None:
    logits = run.predict(street(), Look(reweight=False))
    turned = run.predict(np.ascontiguousarray(street()[:, ::-1]), Look(reweight=False)).flip(3)
    size = (logits.shape[2], logits.shape[3])
    expected = (logits.softmax(1) + turned.softmax(1))[0].permute(1, 2, 0) / 2
    assert torch.allclose(runs.probabilities(run, street(), size), expected, atol=1e-6)


def test_every_method_can_be_read_back(base: Path) -> None:
    s = made.settings("selftrain", made.town(base), "taught")
    made.teach(base, s.windows)
    run = runs.read(made.run(base, s), base)
    assert isinstance(run.method, SelfTrain)
    assert run.settings == s
    assert run.predict(street()).shape == (1, 11, 12, 16)
