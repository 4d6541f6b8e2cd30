"""Soft targets of an ensemble: how members and views are weighed, how that is chosen, and the file that is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import made
import trees
from nightseg_train import checkpoint, data, runs, targets, windows
from nightseg_train.classes import NAMES
from nightseg_train.data import Picture
from nightseg_train.method import Needs
from nightseg_train.nets.espnetv2 import ESPNetv2
from nightseg_train.origins import Origin
from nightseg_train.streams import Part
from nightseg_train.targets import QUARTER, Ensemble, Member, Probabilities, Recipe, Targets
from nightseg_train.windows import Windows

CAR, PERSON = NAMES.index("car"), NAMES.index("pedestrian")
TWO = (Member(run="a"), Member(run="b"))
View = Callable[[Picture], Probabilities]


class Told(Ensemble):
    """An ensemble that sees what it is told to; it notes which member was asked."""

    def __init__(self, *views: View) -> None:
        """Take what each member sees."""
        super().__init__((), Path())
        self.views, self.asked = views, [0] * len(views)
        self.nets = [None] * len(views)  # type: ignore[list-item]

    def view(self, at: int, picture: Picture) -> Probabilities:
        """Return what it was told."""
        self.asked[at] += 1
        return self.views[at](picture)


def constant(value: float) -> View:
    return lambda _: np.full((*QUARTER, len(NAMES)), value, np.float32)


def classes(left: int, right: int) -> View:
    """See one class on the left and one on the right."""
    return lambda _: np.eye(11, dtype=np.float32)[made.blocks([[left, right]], QUARTER)]


def test_members_are_mixed_by_weight() -> None:
    told = Told(constant(10), constant(50), constant(1e9))
    assert told.mixed(made.flat(64), (0.75, 0.25, 0.0)) == pytest.approx(20)
    assert told.mixed(made.flat(64), (1.0, 3.0, 0.0)) == pytest.approx(40)  # weights need not sum to 1
    assert told.asked == [2, 2, 0]


def test_the_place_says_where_a_class_is_seen_more_often_than_anywhere() -> None:
    road = np.zeros((*QUARTER, len(NAMES)), np.uint8)
    road[60:, :, CAR], road[:60, :, PERSON] = 255, 255  # a half each
    where = targets.place([road, road])
    assert where[100, 80, CAR] == pytest.approx(2, abs=0.01) and where[20, 80, PERSON] == pytest.approx(2, abs=0.01)
    assert where[100, 80, PERSON] < 0.01 and where[60, 80, CAR] == pytest.approx(1, abs=0.1)
    assert where[100, 80, NAMES.index("sky")] == pytest.approx(1)  # never seen by day: nothing is known of it
    even = np.full((*QUARTER, len(NAMES)), 1 / len(NAMES), np.float32)
    by_place = Recipe((1.0,), 0.5).weighed(even, where)
    assert by_place.sum(2) == pytest.approx(1)
    assert by_place[100, 80, CAR] / by_place[100, 80, 0] == pytest.approx(np.sqrt(2), rel=0.01)
    assert Recipe((1.0,), 0.0).weighed(even, where) is even and Recipe((1.0,), 0.5).weighed(even, None) is even


def test_night_norms_take_the_statistics_of_the_pictures() -> None:
    ensemble = Ensemble((), Path())
    ensemble.members = (Member(cityscapes="a"), Member(cityscapes="a", night_norms=True))
    plain, adapted = ESPNetv2(1.0).eval(), ESPNetv2(1.0).eval()
    adapted.load_state_dict(plain.state_dict())
    ensemble.nets = [plain, adapted]
    picture = data.resize(made.street(5), data.SIZE)
    before = ensemble.view(0, picture)
    first = next(m for m in adapted.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen: list[Tensor] = []
    handle = first.register_forward_pre_hook(lambda _, x: seen.append(x[0].float()))
    ensemble.adapt([picture] * 3)
    handle.remove()
    assert len(seen) == 3 and not any(m.training for m in adapted.modules())
    assert torch.allclose(first.running_mean, seen[0].mean((0, 2, 3)), atol=1e-3)  # type: ignore[arg-type]
    assert np.array_equal(ensemble.view(0, picture), before)
    assert np.abs(ensemble.view(1, picture) - before).max() > 1e-3


class Lopsided(ESPNetv2):
    """Logits of Cityscapes that grow to the right for a road and are even for the rest."""

    def half_size(self, x: Tensor) -> Tensor:
        """Return the logits."""
        n, _, h, w = x.shape
        logits = torch.zeros(n, 20, h // 2, w // 2)
        logits[:, 0] = torch.linspace(-3, 3, w // 2) + x[:, 0, ::2, ::2]
        logits[:, 19] = 50  # the background has no say
        return logits


def test_the_network_from_cityscapes_sees_both_views_and_adds_up_classes() -> None:
    ensemble = Ensemble((), Path())
    ensemble.nets, ensemble.members = [Lopsided(1.0)], (Member(),)
    p = ensemble.view(0, data.resize(made.street(5), data.SIZE))
    assert p.shape == (*QUARTER, 11)
    assert p.sum(2) == pytest.approx(1, abs=1e-5)
    mirrored = np.ascontiguousarray(data.resize(made.street(5), data.SIZE)[:, ::-1])
    assert ensemble.view(0, mirrored)[:, ::-1] == pytest.approx(p, abs=1e-6)
    rest = p[:, :, CAR] / p[:, :, PERSON]
    assert rest == pytest.approx(4, rel=1e-4)  # car, truck, bus and train against person


def test_a_member_may_see_a_smaller_picture(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = Ensemble((Member(run="runs/small-s1"), Member(run="runs/small-s1", scale=0.5)), base)
    seen = lambda _net, picture, _size: torch.tensor(picture.shape)  # noqa: E731 - what the network is shown
    monkeypatch.setattr(runs, "probabilities", seen)
    picture = data.resize(made.street(5), data.SIZE)
    assert tuple(ensemble.view(0, picture)) == (480, 640, 3)
    assert tuple(ensemble.view(1, picture)) == (240, 320, 3)


def test_night_norms_of_a_run_leave_what_has_one_value_a_channel(base: Path) -> None:
    ensemble = Ensemble((Member(run="runs/small-s1", night_norms=True),), base)
    (net,) = ensemble.nets
    assert isinstance(net, runs.Finished)
    norms = {k: m for k, m in net.method.modules()["segment"].named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    before = {k: m.running_mean.clone() for k, m in norms.items() if m.running_mean is not None}
    ensemble.adapt([made.street(1), made.street(2)])
    kept = {k for k, m in norms.items() if m.running_mean is not None and torch.equal(m.running_mean, before[k])}
    assert "context.scales.4.1" in kept  # of the mean over the picture; of so small a one, other scales, too
    assert all(k.startswith("context.scales.") for k in kept)
    assert not any(m.training for m in norms.values())


def labelled(base: Path) -> tuple[Part, ...]:
    label = made.blocks([[CAR, PERSON]])
    return (made.labelled(base, "train/dev", [(made.flat(64), label), (made.flat(16), label)]),)


def items_of(base: Path) -> list[data.Item]:
    return data.list_dark_zurich(base / "town", "train", "dev")


def recipes(mixes: Sequence[tuple[float, ...]], places: Sequence[float] = (0.0,)) -> list[Recipe]:
    return [Recipe(m, e) for m in mixes for e in places]


def test_the_mix_that_scores_best_is_chosen(tmp_path: Path) -> None:
    labelled(tmp_path)
    told = Told(classes(PERSON, CAR), classes(CAR, PERSON))
    tried = recipes(((1.0, 0.0), (0.4, 0.6), (0.6, 0.4)))
    best, scores = targets.choose(told, tried, items_of(tmp_path))
    assert best == Recipe((0.4, 0.6))
    assert scores == {
        "mix [1.0, 0.0] place 0.0": 0.0, "mix [0.4, 0.6] place 0.0": 100.0, "mix [0.6, 0.4] place 0.0": 0.0,
    }  # fmt: skip


def test_the_exponent_of_the_place_is_chosen_with_the_mix(tmp_path: Path) -> None:
    labelled(tmp_path)

    def unsure(_: Picture) -> Probabilities:
        p = np.zeros((*QUARTER, len(NAMES)), np.float32)
        p[:, :, CAR], p[:, :, PERSON] = 0.4, 0.6
        return p

    where = np.ones((*QUARTER, len(NAMES)), np.float32)
    where[:, :80, CAR] = 4  # by day cars are on the left
    tried = recipes(((1.0,),), (0.0, 0.25, 0.5))
    best, scores = targets.choose(Told(unsure), tried, items_of(tmp_path), where)
    assert best.place == 0.5 and scores["mix [1.0] place 0.5"] > 99
    # All persons: a person's IoU is 1/2, a car's 0; 0.4 x 4^0.25 is 0.57, too little.
    assert scores["mix [1.0] place 0.0"] == scores["mix [1.0] place 0.25"] == 25.0


def test_without_labelled_pictures_the_first_recipe_is_taken() -> None:
    tried = recipes(((1.0, 0.0), (0.4, 0.6)))
    assert targets.choose(Told(constant(1), constant(1)), tried, []) == (tried[0], {})


def test_choosing_needs_labels(tmp_path: Path) -> None:
    part = made.wild(tmp_path, "night", {"n": made.street(1)})
    items = data.list_camvid(tmp_path / part.root / part.part)
    with pytest.raises(ValueError, match=r"n\.png has no label"):
        targets.choose(Told(constant(1)), recipes(((1.0,),)), items)


@pytest.mark.parametrize("member", [Member(), Member(run="a", cityscapes="b")])
def test_a_member_is_a_run_or_a_file(member: Member, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"either a run, a bundle .* or a file of cityscapes weights"):
        Ensemble((member,), tmp_path)


def test_members_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run in"):
        Ensemble((Member(run="runs/none"),), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no weights at .*none\.safetensors"):
        Ensemble((Member(cityscapes="none.safetensors"),), tmp_path)


@pytest.mark.parametrize("mixes", [((1.0,),), ((1.0, 0.0), (1.0,)), ((0.0, 0.0),), ((1.0, -1.0),)])
def test_mixes_must_fit_the_members(mixes: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"targets\.mixes"):
        Targets("x", members=TWO, mixes=mixes)


def test_there_must_be_members() -> None:
    with pytest.raises(ValueError, match="one weight per member"):
        Targets("x")


def test_the_digest_follows_pictures_kinds_and_order() -> None:
    a, b, c = (made.street(i) for i in range(3))
    none: list[Picture] = []
    kinds = (([a, b], [c]), ([a, b, c], none), ([b, a], [c]), ([a, b], [a]), ([a, b], none))
    digests = [windows.Unlabelled(day, night).digest() for day, night in kinds]
    assert len(set(digests)) == len(kinds)
    assert windows.Unlabelled([a.copy(), b], [c]).digest() == digests[0]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a town and two finished runs."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("base")
    for seed in (1, 2):
        s = made.settings("source", made.town(base), f"small-s{seed}")
        made.run(base, dataclasses.replace(s, seed=seed))
    return base


def few(base: Path) -> Windows:
    """Return settings of a day picture and, but for one that is held out, a night picture."""
    held = made.wild(base, "dev", {"n1": made.street(8)})
    trees.save(base / "wild/dev/labels/n1.png", made.ids(8))
    return dataclasses.replace(
        made.town(base),
        day=(made.wild(base, "few day", {"d0": made.street(6)}),),
        night=(made.wild(base, "few night", {"n0": made.street(7), "n1": made.street(8)}),),
        held_out=(held,),
        targets="runs/soft.pt",
    )


def test_two_runs_make_targets_that_a_training_reads(base: Path) -> None:
    s = few(base)
    members = (Member(run="runs/small-s1"), Member(run="runs/small-s2"))
    mixes = ((0.3, 0.7), (1.0, 0.0))
    t = Targets("runs/soft.pt", s, members, mixes, ((0.5, 0.5),), (0.0, 0.5), choose=s.held_out)
    chosen = targets.make(t, base)
    state = checkpoint.load(base / "runs/soft.pt")
    assert state is not None and chosen == {"out": "runs/soft.pt", **state["chosen"]}  # type: ignore[dict-item]
    day, night = chosen["day"], chosen["night"]
    assert day == {"recipe": {"mix": (0.5, 0.5), "place": 0.0}, "tried": {}}  # nothing to choose on
    assert isinstance(night, dict)
    assert set(night["tried"]) == {f"mix [{a}] place {e}" for a in ("0.3, 0.7", "1.0, 0.0") for e in (0.0, 0.5)}
    assert state["origin"] == {"labels": ("synth train/day", "synth train/dusk", "synth train/night"), "weights": ()}
    reader = windows.Reader(s, Needs(unlabelled=("day", "night"), soft=True), base, 1)
    assert (len(reader.day), len(reader.night)) == (1, 1)
    assert set(reader(0).soft) == {"day", "night"}
    both = [runs.read(base / m.run, base) for m in members]
    where = targets.place(reader.day.soft)
    recipe = Recipe(night["recipe"]["mix"], night["recipe"]["place"])
    for pool, how, at in ((reader.day, Recipe((0.5, 0.5)), None), (reader.night, recipe, where)):
        views = [runs.probabilities(r, pool.images[0], QUARTER).numpy() for r in both]
        mean = np.sum([w * v for w, v in zip(how.mix, views, strict=True)], 0) / sum(how.mix)
        assert pool.soft[0].dtype == np.uint8
        assert np.abs(pool.soft[0] - 255 * how.weighed(mean, at)).max() < 0.51


def test_a_camera_chosen_for_by_day_alone_is_mixed_as_by_day(base: Path) -> None:
    s = few(base)
    members = (Member(run="runs/small-s1"), Member(run="runs/small-s2"))
    t = Targets("runs/dusk.pt", s, members, ((1.0, 0.0),), ((0.0, 1.0),), (0.5,), choose_day=s.held_out)
    targets.make(t, base)
    state = checkpoint.load(base / "runs/dusk.pt")
    assert state is not None and isinstance(state["soft"], dict)
    picture = windows.unlabelled(s, base).night[0]
    view = runs.probabilities(runs.read(base / "runs/small-s2", base), picture, QUARTER).numpy()
    assert np.abs(state["soft"]["night"][0] - 255 * view).max() < 0.51


def test_the_night_is_chosen_on_a_camera_that_has_night_pictures(base: Path) -> None:
    s = few(base)
    t = Targets("runs/x.pt", s, (Member(run="runs/small-s1"),), choose=(dataclasses.replace(s.held_out[0], root="o"),))
    with pytest.raises(ValueError, match=r"targets\.choose: o: one root is needed, of night pictures"):
        targets.make(t, base)


def test_a_network_from_cityscapes_is_read_from_its_file(tmp_path: Path) -> None:
    net = ESPNetv2()
    save_file(net.state_dict(), tmp_path / "city.safetensors")
    ensemble = Ensemble((Member(cityscapes="city.safetensors"),), tmp_path)
    (read,) = ensemble.nets
    assert ensemble.origins == [Origin(weights=("Cityscapes",))]
    assert isinstance(read, ESPNetv2) and not read.training
    assert all(torch.equal(v, read.state_dict()[k]) for k, v in net.state_dict().items())
