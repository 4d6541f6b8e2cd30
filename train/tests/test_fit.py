"""`fit`: settings files, batches from folders, and a whole small run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import trees
from nightseg_train import config, fit, loop, streams
from nightseg_train.classes import CAMVID
from nightseg_train.method import Needs
from nightseg_train.methods import dannet
from nightseg_train.nets.lite import LiteSeg
from nightseg_train.streams import Part, Streams

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SEEN = fit.Labelled(CAMVID, (1 / 11,) * 11, 0.0)
NEEDS = Needs(labelled=True, unlabelled=("day", "night"), pairs=True)


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """Return a folder with three labelled day and night pictures of a made-up street in Dark Zurich's layout."""
    for time in ("day", "night"):
        for i in range(3):
            stem = f"street_frame_{i:06d}"
            trees.colour(tmp_path / f"town/rgb_anon/train/{time}/street/{stem}_rgb_anon.png", (48, 64), seed=i)
            trees.ids(tmp_path / f"town/gt/train/{time}/street/{stem}_gt_labelTrainIds.png", i, (48, 64))
    return tmp_path


def small(**changes: object) -> Streams:
    times = {t: (Part("synth", "town", f"train/{t}"),) for t in ("day", "night")}
    s = Streams(times["day"], times["day"], times["night"], (), "order", 2, 32, (0.75, 1.0), 32, 32, (0.9, 1.1))
    return dataclasses.replace(s, **changes)  # type: ignore[arg-type]


def settings() -> fit.Fit:
    return fit.Fit(
        name="small",
        work="runs",
        loop=loop.Loop(steps=2, precision="fp32", threads=1, score_every=2, log_every=1),
        streams=small(),
        validate=(fit.Validation("synth", "town", "train/night", stride=2),),
        dannet=dataclasses.replace(dannet.official(), segment="ddrnet-tiny", relight="edge"),
    )


def test_batches_depend_on_seed_and_step_alone_and_pairs_are_cut_alike(town: Path) -> None:
    reader = streams.Reader(small(), NEEDS, town, 1)
    with streams.Ahead(reader) as ahead:
        first, again = ahead(5), streams.Reader(small(), NEEDS, town, 1)(5)
    assert all(torch.equal(first.x[k], again.x[k]) for k in ("source", "day", "night"))
    assert not torch.equal(first.x["source"], reader(6).x["source"])
    assert first.x["day"].shape == (2, 3, 32, 32)
    assert first.labels is not None and first.labels.shape == (2, 32, 32)
    assert torch.equal(first.x["day"], first.x["night"])  # the town's nights are its days, pixel for pixel


def test_processes_share_one_batch(town: Path) -> None:
    whole = streams.Reader(small(), NEEDS, town, 1)(3)
    for rank in range(2):
        reader = streams.Reader(small(), NEEDS, town, 1)
        reader.rank, reader.world = rank, 2
        assert torch.equal(reader(3).x["night"], whole.x["night"][rank : rank + 1])


def test_every_nth_picture_of_a_part(town: Path) -> None:
    part = Part("synth", "town", "train/day", stride=2)
    assert [i.image.name[13:19] for i in streams.read([part], town)[0]] == ["000000", "000002"]


def test_streams_refuse_what_does_not_fit(town: Path) -> None:
    with pytest.raises(ValueError, match=r"streams\.night: the method needs it"):
        streams.Reader(small(night=()), NEEDS, town, 1)
    with pytest.raises(ValueError, match=r"streams\.pairs: 'x'"):
        streams.Reader(small(pairs="x"), NEEDS, town, 1)


def test_a_small_run_trains_scores_and_goes_on(town: Path) -> None:
    best = fit.fit(settings(), town)
    state = torch.load(best, weights_only=False)
    assert state["step"] == 2
    assert set(state["scores"]) == {"synth/train/night", loop.CHOOSE}
    assert np.isfinite(state["scores"][loop.CHOOSE])
    assert fit.fit(settings(), town) == best
    assert (town / "runs/small/log.csv").read_text().count("\n") == 3


def test_a_setting_that_an_older_run_lacks_had_its_default(town: Path) -> None:
    fit.fit(settings(), town)
    file = town / "runs/small/settings.json"
    kept = json.loads(file.read_text(encoding="utf-8"))
    del kept["streams"]["source"][0]["stride"], kept["selftrain"]
    file.write_text(json.dumps(kept), encoding="utf-8")
    fit.fit(settings(), town)
    every_second = dataclasses.replace(small().source[0], stride=2)
    with pytest.raises(ValueError, match="other settings"):
        fit.fit(dataclasses.replace(settings(), streams=small(source=(every_second,))), town)


def test_start_names_networks_and_files(town: Path) -> None:
    method = fit.METHODS["dannet"](settings(), SEEN)
    for entry, message in (
        ("segment", "NETWORK=FILE"),
        ("head=x.pt", "NETWORK=FILE"),
        ("segment=imagenet", "no ImageNet weights for segment, a DDRNet"),
    ):
        with pytest.raises(ValueError, match=message):
            fit.begin(method, (entry,), town)
    lite0 = dataclasses.replace(settings().dannet, segment="lite0")
    method = fit.METHODS["dannet"](dataclasses.replace(settings(), dannet=lite0), SEEN)
    net = method.modules()["segment"]
    assert isinstance(net, LiteSeg)
    before = net.encoder.stages[3][0].project[0].weight.clone()  # type: ignore[index]
    fit.begin(method, ("segment=imagenet",), town)
    assert not torch.equal(before, net.encoder.stages[3][0].project[0].weight)  # type: ignore[index]


def test_settings_files_are_the_presets() -> None:
    assert config.read(fit.Fit, CONFIGS / "dannet-official.yaml").dannet == dannet.official()
    assert config.read(fit.Fit, CONFIGS / "dannet-paper.yaml").dannet == dannet.paper()
    assert config.read(fit.Fit, CONFIGS / "dannet-synth.yaml").dannet.segment == "lite0"


def test_unknown_keys_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("name: x\ndannet: {gama: 1}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"x\.yaml: dannet\.gama: unknown key"):
        config.read(fit.Fit, file)
