"""Windows of pictures in memory: repeatable, shared by processes, lit, cut, pasted and taught as the settings say."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import made
import trees
from nightseg_train import parallel, windows
from nightseg_train.augment import Night
from nightseg_train.classes import NAMES
from nightseg_train.data import SIZE, Picture
from nightseg_train.method import Batch, Needs
from nightseg_train.scoring import MEAN, STD
from nightseg_train.streams import Part
from nightseg_train.windows import Reader, Windows

ALL = Needs(labelled=True, unlabelled=("day", "night"), soft=True)
LABELS = Needs(labelled=True)
CAR, ROAD, PERSON = NAMES.index("car"), NAMES.index("road"), NAMES.index("pedestrian")
TREE = NAMES.index("tree")
AS_IT_IS, DARK = Night(chance=0.0, noise=0.0), Night(chance=1.0, lamps=0, noise=0.0, class_light=0.0)


@pytest.fixture
def town(tmp_path: Path) -> Windows:
    """Return settings that read a town with soft targets."""
    s = made.town(tmp_path)
    made.teach(tmp_path, s)
    return s


def values(x: Tensor) -> Tensor:
    """Return pictures as they were before they were normalised, 0..1."""
    return x * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)


def same(a: Batch, b: Batch) -> bool:
    if a.labels is None or b.labels is None or a.x.keys() != b.x.keys():
        return False
    parts = [*((a.x[k], b.x[k]) for k in a.x), *((a.soft[k], b.soft[k]) for k in a.soft), (a.labels, b.labels)]
    return all(torch.equal(*p) for p in parts)


def test_a_batch_depends_on_seed_and_step_alone(town: Windows, tmp_path: Path) -> None:
    reader = Reader(town, ALL, tmp_path, 1)
    late, early = reader(5), reader(0)
    assert same(late, Reader(town, ALL, tmp_path, 1)(5))
    assert same(early, reader(0))
    other_seed = Reader(town, ALL, tmp_path, 2)(5)
    for kind in ("source", "day", "night"):
        assert not torch.equal(late.x[kind], early.x[kind])
        assert not torch.equal(late.x[kind], other_seed.x[kind])


def test_counts_and_sizes(town: Windows, tmp_path: Path) -> None:
    s = dataclasses.replace(town, labelled_count=3, rendered_count=1, day_count=2, night_count=5)
    b = Reader(s, ALL, tmp_path, 1)(7)
    assert b.step == 7
    assert {k: tuple(v.shape) for k, v in b.x.items()} == {
        "source": (4, 3, 64, 96), "day": (2, 3, 64, 96), "night": (5, 3, 64, 96),
    }  # fmt: skip
    assert b.labels is not None and b.labels.shape == (4, 32, 48) and b.labels.dtype == torch.uint8
    assert {k: tuple(v.shape) for k, v in b.soft.items()} == {"day": (2, 11, 16, 24), "night": (5, 11, 16, 24)}
    assert float((b.soft["night"].sum(1) - 1).abs().max()) < 12 / 255
    assert b.x["day"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("step", [0, 3])
def test_two_processes_share_one_batch(town: Windows, tmp_path: Path, step: int) -> None:
    s = dataclasses.replace(town, labelled_count=4, night_count=4, paste=1.0)
    whole = Reader(s, ALL, tmp_path, 1)(step)
    parts = []
    for rank in range(2):
        reader = Reader(s, ALL, tmp_path, 1)
        reader.rank, reader.world = rank, 2
        parts.append(reader(step))
    for kind in ("day", "night"):
        assert torch.equal(torch.cat([p.x[kind] for p in parts]), whole.x[kind])
        assert torch.equal(torch.cat([p.soft[kind] for p in parts]), whole.soft[kind])
    order = [0, 1, 3, 4, 2, 5]  # of each process two labelled pictures, then a rendered one
    assert torch.equal(torch.cat([p.x["source"] for p in parts])[order], whole.x["source"])
    assert whole.labels is not None
    assert torch.equal(torch.cat([p.labels for p in parts if p.labels is not None])[order], whole.labels)


def test_counts_that_processes_cannot_share(town: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "world", lambda: (0, 2))
    with pytest.raises(ValueError, match="3 pictures of a kind cannot be shared by 2"):
        Reader(dataclasses.replace(town, night_count=3), ALL, tmp_path, 1)


def test_labelled_and_day_pictures_are_darkened_and_true_nights_are_not(tmp_path: Path) -> None:
    bright, label = made.flat(230), made.blocks([[ROAD, CAR]])
    times = {t: made.labelled(tmp_path, f"train/{t}", [(bright, label)]) for t in ("day", "night")}
    s = Windows(
        labelled=(times["day"],),
        rendered=(times["day"], times["night"]),
        day=(made.wild(tmp_path, "day", {"d": bright}),),
        night=(made.wild(tmp_path, "night", {"n": bright}),),
        targets="t.pt", labelled_count=2, rendered_count=2, day_count=2, night_count=2,
        crop=made.CROP, light=DARK, paste=0.0,
    )  # fmt: skip
    made.teach(tmp_path, s)
    for step in range(4):
        b = Reader(s, ALL, tmp_path, 1)(step)
        source, day, night = ([float(v.mean()) for v in values(b.x[k])] for k in ("source", "day", "night"))
        assert max(*source[:3], *day) < 0.36  # two labelled pictures, and the rendered day
        assert min(source[3], *night) > 0.4  # the rendered night is dark by itself


def test_black_trees_teach_nothing_where_the_settings_say_so(tmp_path: Path) -> None:
    day = made.labelled(tmp_path, "train/day", [(made.flat(2), made.blocks([[TREE, ROAD]]))])
    s = Windows(labelled=(day,), labelled_count=8, crop=made.CROP, light=AS_IT_IS)
    for unseen, kept in ((0.0, True), (0.05, False)):
        labels = Reader(dataclasses.replace(s, unseen=unseen), LABELS, tmp_path, 1)(0).labels
        assert labels is not None
        assert bool((labels == TREE).any()) == kept
        assert bool((labels == 255).any()) != kept
        assert bool((labels == ROAD).any())


def test_labelled_pictures_can_take_the_light_of_a_night_picture(tmp_path: Path) -> None:
    s = made.town(tmp_path)
    pictures = [(made.flat(200 + i), made.ids(i)) for i in range(3)]
    labelled = made.labelled(tmp_path, "train/flat", pictures)
    night = made.wild(tmp_path, "blue", {"n": made.flat(20, 30, 60)})
    s = dataclasses.replace(s, labelled=(labelled,), rendered=(labelled,), night=(night,), light=AS_IT_IS)
    s = dataclasses.replace(s, fourier=1.0, fourier_beta=0.0)
    made.teach(tmp_path, s)
    b = Reader(s, ALL, tmp_path, 1)(0)
    means = values(b.x["source"]).mean((2, 3))
    blue = torch.tensor([20, 30, 60]) / 255
    assert torch.allclose(means[:2], blue.expand(2, 3), atol=1e-3)
    assert float(means[2:].min()) > 0.4  # rendered pictures keep theirs
    none = dataclasses.replace(s, fourier=0.0)
    assert float(values(Reader(none, ALL, tmp_path, 1)(0).x["source"]).mean((2, 3)).min()) > 0.4


def test_the_light_of_night_pictures_needs_night_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"windows\.fourier"):
        Reader(dataclasses.replace(made.town(tmp_path), fourier=0.5), LABELS, tmp_path, 1)


def test_day_pictures_and_their_targets_are_cut_at_the_same_place(tmp_path: Path) -> None:
    cells = [[(4 * row + column) % 11 for column in range(4)] for row in range(4)]
    at = made.blocks(cells, SIZE)
    picture = np.repeat((10 + 12 * at)[:, :, None], 3, 2).astype(np.uint8)  # a grey for each class

    def targets(_: Picture) -> Picture:
        return np.asarray(np.eye(11, dtype=np.uint8)[made.blocks(cells, made.QUARTER)] * 255, np.uint8)

    s = made.town(tmp_path)
    day, night = (made.wild(tmp_path, f"cells {t}", {t: picture}) for t in ("day", "night"))
    s = dataclasses.replace(s, day=(day,), night=(night,), light=AS_IT_IS, paste=0.0)
    made.teach(tmp_path, s, targets)
    reader = Reader(s, ALL, tmp_path, 1)
    held = 0
    for step in range(8):
        b = reader(step)
        for kind in ("day", "night"):
            ids = b.soft[kind].argmax(1, keepdim=True).float()
            inside = (F.max_pool2d(ids, 5, 1) == -F.max_pool2d(-ids, 5, 1))[:, 0]  # windows start at whole pixels
            grey, ids = F.avg_pool2d(values(b.x[kind])[:, :1], 4)[:, 0, 2:-2, 2:-2], ids[:, 0, 2:-2, 2:-2]
            for i in range(2):
                seen = [grey[i][inside[i] & (ids[i] == k)] for k in range(11)]
                seen = [v for v in seen if len(v) > 4]
                held += len(seen) > 1
                assert all(float(v.max() - v.min()) < 0.01 for v in seen)
                assert all(float(v.mean()) < float(w.mean()) for v, w in itertools.pairwise(seen))
    assert held > 8


def cars(tmp_path: Path, thing: int) -> Windows:
    """Return settings of black roads with white things, and of grey nights."""
    mask = made.blocks([[(r + c) % 2 for c in range(8)] for r in range(6)], SIZE)
    picture = np.repeat((255 * mask)[:, :, None], 3, 2).astype(np.uint8)
    label = np.where(mask == 1, thing, ROAD).astype(np.uint8)
    s = made.town(tmp_path)
    night = made.wild(tmp_path, "grey", {"n": made.flat(100)})
    part = made.labelled(tmp_path, "train/things", [(picture, label)])
    s = dataclasses.replace(s, labelled=(part,), rendered=(), night=(night,), light=AS_IT_IS)
    made.teach(tmp_path, s)
    return s


def test_pasted_are_the_pixels_of_things_and_their_targets(tmp_path: Path) -> None:
    s = cars(tmp_path, CAR)
    without, pasted = (Reader(dataclasses.replace(s, paste=p), ALL, tmp_path, 1) for p in (0.0, 1.0))
    touched = 0
    for step in range(8):
        a, b = without(step), pasted(step)
        assert torch.equal(a.x["source"], b.x["source"]) and torch.equal(a.x["day"], b.x["day"])
        for i in range(2):
            at = (a.x["night"][i] != b.x["night"][i]).any(0)
            taught = (a.soft["night"][i] != b.soft["night"][i]).any(0)
            assert torch.equal(at[::4, ::4], taught)
            if not bool(at.any()):
                continue  # the coin left the cars where they are
            touched += 1
            assert 0.1 < float(at.float().mean()) < 0.9
            new = b.soft["night"][i][:, taught]
            assert bool((new[CAR] == 1).all()) and bool((new.sum(0) == 1).all())
            white = values(b.x["night"])[i].mean(0)[at] > 0.5
            assert float(white.float().mean()) > 0.9  # the rest are borders
    assert 0 < touched < 16


def test_only_things_are_pasted(tmp_path: Path) -> None:
    s = cars(tmp_path, NAMES.index("building"))
    without, pasted = (Reader(dataclasses.replace(s, paste=p), ALL, tmp_path, 1) for p in (0.0, 1.0))
    for step in range(4):
        assert torch.equal(without(step).x["night"], pasted(step).x["night"])
        assert torch.equal(without(step).soft["night"], pasted(step).soft["night"])


def test_rare_windows_hold_a_rare_class_from_the_batch_on_that_is_set(tmp_path: Path) -> None:
    pairs = []
    for i in range(3):
        label = made.blocks([[ROAD, CAR]], (240, 320))
        label[40 * i : 40 * i + 14, 60 * i : 60 * i + 14] = PERSON
        pairs.append((made.street(i), label))
    s = Windows(
        labelled=(made.labelled(tmp_path, "train/day", pairs),), labelled_count=8, crop=made.CROP,
        rare_from=2, rare_share=0.03, rare_windows=1.0,
    )  # fmt: skip
    reader = Reader(s, LABELS, tmp_path, 1)

    def holding(step: int) -> int:
        labels = reader(step).labels
        assert labels is not None
        return int((labels == PERSON).flatten(1).any(1).sum())

    assert [holding(step) for step in (2, 3, 9)] == [8, 8, 8]
    assert holding(0) + holding(1) < 10


def test_over_the_bridge_night_pictures_come_in_from_bright_to_dark(tmp_path: Path) -> None:
    night = {f"n{i}": made.flat(20 * v) for i, v in enumerate((3, 1, 4, 2))}
    wild = made.wild(tmp_path, "levels", night)
    s = dataclasses.replace(made.town(tmp_path), night=(wild,), night_count=16, paste=0.0, bridge=12)

    def told(picture: Picture) -> Picture:
        return np.full(
            (120, 160, 11), 255 * np.eye(11, dtype=np.uint8)[round(float(picture.mean()) / 20) % 11], np.uint8
        )

    made.teach(tmp_path, s, told)
    reader = Reader(s, ALL, tmp_path, 1)

    def levels(step: int) -> set[int]:
        return set(reader(step).soft["night"].argmax(1).flatten().tolist())

    assert [levels(step) for step in (0, 3, 11)] == [{4}, {3, 4}, {1, 2, 3, 4}]
    assert levels(5) == {2, 3, 4} and levels(30) == {1, 2, 3, 4}


def test_pictures_that_are_held_out_never_appear(tmp_path: Path) -> None:
    red = made.flat(250, 10, 10)
    s = made.town(tmp_path)
    day = made.wild(tmp_path, "mixed day", {"a": made.flat(90), "b": red, "c": made.flat(60)})
    night = made.wild(tmp_path, "mixed night", {"p": red, "q": made.flat(40)})
    kept = made.wild(tmp_path, "kept", {"b": made.flat(0), "p": made.flat(0)})  # the names decide
    s = dataclasses.replace(s, day=(day,), night=(night,), paste=0.0)

    def reds(one: Windows) -> int:
        made.teach(tmp_path, one)
        reader = Reader(one, ALL, tmp_path, 1)
        x = values(torch.cat([v for i in range(5) for k, v in reader(i).x.items() if k != "source"])).mean((2, 3))
        return int((x[:, 0] > 3 * x[:, 1]).sum())

    assert reds(s) > 0
    assert reds(dataclasses.replace(s, held_out=(kept,))) == 0


def test_soft_targets_of_other_pictures_are_refused(town: Windows, tmp_path: Path) -> None:
    Reader(town, ALL, tmp_path, 1)
    more = made.wild(tmp_path, "more", {"x": made.street(1)})
    for other in (
        dataclasses.replace(town, night=(*town.night, more)),
        dataclasses.replace(town, day=town.night, night=town.day),
        dataclasses.replace(town, held_out=town.day[:1], day=(*town.day, more)),
    ):
        with pytest.raises(ValueError, match=r"windows\.targets: .*targets\.pt belongs to other pictures"):
            Reader(other, ALL, tmp_path, 1)
    trees.save(tmp_path / "wild/night/images/n1.png", made.street(2))
    with pytest.raises(ValueError, match=r"targets\.pt belongs to other pictures"):
        Reader(town, ALL, tmp_path, 1)


def test_missing_soft_targets_name_the_command(town: Windows, tmp_path: Path) -> None:
    for name in ("", "none.pt"):
        with pytest.raises(FileNotFoundError, match=rf"windows\.targets: .*{name}; the command `targets` makes them"):
            Reader(dataclasses.replace(town, targets=name), ALL, tmp_path, 1)


def test_what_the_method_needs_must_be_given(town: Windows, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"windows\.labelled: the method needs it"):
        Reader(dataclasses.replace(town, labelled=(), rendered=()), ALL, tmp_path, 1)
    for kind, less in (("day", dataclasses.replace(town, day=())), ("night", dataclasses.replace(town, night=()))):
        with pytest.raises(ValueError, match=rf"windows\.{kind}: the method needs it"):
            Reader(less, ALL, tmp_path, 1)
    with pytest.raises(FileNotFoundError, match=r"no synthetic drives in .*drives"):
        Reader(dataclasses.replace(town, rendered=(Part("synth", "drives", "train/day"),)), ALL, tmp_path, 1)


def test_what_the_method_does_not_need_is_not_read(town: Windows, tmp_path: Path) -> None:
    absent = (Part("camvid", "nowhere", "all"),)
    s = dataclasses.replace(town, day=absent, night=absent, held_out=absent, targets="none.pt")
    b = Reader(s, LABELS, tmp_path, 1)(0)
    assert set(b.x) == {"source"} and not b.soft
    nights = Needs(labelled=True, unlabelled=("night",), soft=True)
    assert set(Reader(town, nights, tmp_path, 1)(0).x) == {"source", "night"}


def test_every_strideth_frame_of_a_clip_is_a_night_picture(tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "drive.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 96))
    for grey in (0, 50, 100, 150, 200):
        video.write(made.flat(grey))
    video.release()
    s = made.town(tmp_path)
    found = windows.unlabelled(dataclasses.replace(s, clips=(windows.Clip("drive.avi", 2),)), tmp_path)
    assert [p.shape for p in found.night] == [(*SIZE, 3)] * 6
    assert [round(float(p.mean()), -1) for p in found.night[3:]] == [0, 100, 200]
    with pytest.raises(FileNotFoundError, match=r"none\.avi"):
        windows.unlabelled(dataclasses.replace(s, clips=(windows.Clip("none.avi"),)), tmp_path)
