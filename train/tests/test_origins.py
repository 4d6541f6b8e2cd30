"""What runs rest on, through the runs that they start from and the soft targets that teach them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import made
from nightseg_train import checkpoint, fit
from nightseg_train.origins import Origin
from nightseg_train.streams import Part
from nightseg_train.windows import Windows

CAMVID, SYNTH = Part("camvid", "x", "day_train"), Part("synth", "y", "train/night")


def keep(base: Path, s: fit.Fit) -> None:
    """Write the settings of a run that stands for a finished one."""
    folder = base / s.work / s.name
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps(dataclasses.asdict(s)), encoding="utf-8")


def settings(method: str, name: str, start: str, **windows: object) -> fit.Fit:
    s = made.settings(method, Windows(**windows), name)  # type: ignore[arg-type]
    return dataclasses.replace(s, start=(f"segment={start}",))


def test_two_origins_are_joined_in_order_and_each_is_named_once() -> None:
    both = Origin(("b", "a"), ("x",)) | Origin(("a", "c"), ())
    assert both == Origin(("b", "a", "c"), ("x",))
    assert both.text() == "labels of b, a, c; weights of x"
    assert Origin(weights=("x", "y")).text() == "weights of x, y"


@pytest.mark.parametrize(
    ("start", "weights"),
    [("imagenet", "ImageNet"), ("a/espnetv2.safetensors", "Cityscapes"), ("data/theirs.pth", "data/theirs.pth")],
)
def test_published_weights(tmp_path: Path, start: str, weights: str) -> None:
    s = settings("source", "a", start, labelled=(CAMVID,), rendered=(SYNTH,))
    assert fit.origin(s, tmp_path) == Origin(("camvid day_train", "synth train/night"), (weights,))


def test_a_run_rests_on_what_came_before_it(tmp_path: Path) -> None:
    keep(tmp_path, settings("source", "init", "imagenet", labelled=(CAMVID,)))
    keep(tmp_path, settings("source", "more", "runs/init/best.pt", labelled=(SYNTH,)))
    s = settings("selftrain", "student", "runs/more/best.pt", labelled=(SYNTH,), targets="soft.pt")
    own = Origin(("synth train/night", "camvid day_train"), ("ImageNet",))
    assert fit.origin(s, tmp_path) == own | Origin(weights=("networks that soft.pt does not name",))
    fit.taught_by.cache_clear()
    teacher = Origin(("camvid day_train", "msrs night"), ("Cityscapes",))
    checkpoint.save(tmp_path / "soft.pt", {"origin": dataclasses.asdict(teacher)})
    assert fit.origin(s, tmp_path) == own | teacher
    untaught = dataclasses.replace(s.selftrain, distil=0.0, self_train=0.0)
    assert fit.origin(dataclasses.replace(s, selftrain=untaught), tmp_path) == own


def test_snapshots_and_the_end_of_a_run_tell_it(tmp_path: Path) -> None:
    folder = made.run(tmp_path, made.settings("source", made.town(tmp_path)))
    labels = ["synth train/day", "synth train/dusk", "synth train/night"]
    state = checkpoint.load(folder / "best.pt")
    assert state is not None and state["origin"] == {"labels": tuple(labels), "weights": ()}
    done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    assert done["origin"] == {"labels": labels, "weights": []}
