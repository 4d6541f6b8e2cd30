"""Pictures of a user's own: the folders, the file of the classes, and five classes from labels to a bundle."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import made
import trees
from conftest import ROOT, verify
from nightseg_train import __main__ as program
from nightseg_train import (
    bundle,
    checkpoint,
    config,
    export,
    fit,
    looks,
    queue,
    report,
    runs,
    subjects,
    targets,
    windows,
)
from nightseg_train.bundle import About, Card
from nightseg_train.classes import CAMVID, CITYSCAPES, Class
from nightseg_train.compare import Table
from nightseg_train.data import SIZE, own, sets
from nightseg_train.export import Export, Golden
from nightseg_train.methods import dannet
from nightseg_train.streams import Part, Streams
from nightseg_train.targets import Ensemble, Member, Targets
from nightseg_train.windows import Windows

FIVE = (
    Class("road", (128, 64, 128), True),
    Class("sidewalk", (244, 35, 232), True),
    Class("vehicle", (0, 0, 142), False),
    Class("person", (220, 20, 60), False),
    Class("other", (70, 70, 70), True),
)
Tree = dict[str, object]


def entry(c: Class) -> Tree:
    return {"name": c.name, "colour": list(c.colour), "static": c.static}


def tree() -> Tree:
    return {str(i): entry(c) for i, c in enumerate(FIVE)} | {"255": "ignore"}


def write(root: Path, content: object = None) -> Path:
    """Write the file of the classes."""
    root.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(tree() if content is None else content)
    (root / own.FILE).write_text(text, encoding="utf-8")
    return root


def label(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return a label of blocks of the five classes, with a corner that is not labelled."""
    out = made.blocks(np.random.default_rng(seed).integers(0, 5, (6, 8)).tolist())
    out[:8, :8] = 255
    return out


def pictures(root: Path) -> Path:
    """Write labelled pictures by day and of a val part, and a drive by night."""
    write(root)
    for part, count in (("day", 3), ("val", 2)):
        for i in range(count):
            trees.save(root / f"{part}/images/drive/f{i}.png", made.street(i))
            trees.save(root / f"{part}/labels/drive/f{i}.png", label(i))
    for i in range(3):
        trees.save(root / f"night/f{i}.jpg", made.street(20 + i))
    return root


def test_parts_of_all_layouts(tmp_path: Path) -> None:
    pictures(tmp_path)
    trees.colour(tmp_path / "zurich/rgb_anon/val/night/s/s_frame_000001_rgb_anon.png")
    trees.ids(tmp_path / "zurich/gt/val/night/s/s_frame_000001_gt_labelTrainIds.png")
    for n in ("frame", "mask", "overlay", "relit"):
        trees.colour(tmp_path / f"replayed/000000_{n}.png")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes(b"")
    found = {p.name: sets.read("folder", tmp_path, p.name) for p in sets.parts("folder", tmp_path)}
    assert list(found) == ["day", "night", "replayed", "val", "zurich"]  # a folder of videos is no part
    assert all(f.classes == FIVE for f in found.values())
    names = {k: [i.image.relative_to(tmp_path / k).as_posix() for i in f.items] for k, f in found.items()}
    assert names["day"] == [f"images/drive/f{i}.png" for i in range(3)]
    assert names["night"] == [f"f{i}.jpg" for i in range(3)]
    assert names["zurich"] == ["rgb_anon/val/night/s/s_frame_000001_rgb_anon.png"]
    assert names["replayed"] == ["000000_frame.png"]
    assert [i.label for i in found["val"].items] == [tmp_path / f"val/labels/drive/f{i}.png" for i in range(2)]
    assert all(i.label is None for k in ("night", "zurich", "replayed") for i in found[k].items)


def test_a_root_may_be_one_part_and_needs_no_classes_without_labels(tmp_path: Path) -> None:
    trees.colour(tmp_path / "images/a.png")
    assert [(p.name, p.classes) for p in sets.parts("folder", tmp_path)] == [("all", ())]
    trees.ids(tmp_path / "labels/a.png")
    with pytest.raises(FileNotFoundError, match=r"no .*classes\.json, which names the classes: an entry is \{\"name\""):
        sets.parts("folder", tmp_path)
    assert sets.parts("folder", tmp_path / "none") == ()


def test_check_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "--set", "folder", "--root", str(pictures(tmp_path))]
    assert program.main(command) == 0
    assert capsys.readouterr().out.splitlines()[0] == "day: 3 pictures, 3 labels: ok"
    trees.ids(tmp_path / "day/labels/drive/f0.png", 5, made.SMALL)
    (tmp_path / "day/labels/drive/f1.png").unlink()
    trees.save(tmp_path / "val/labels/drive/f0.png", made.street(1))
    assert program.main(command) == 1
    out = capsys.readouterr().out
    assert "f0.png: holds 5, not among the 5 classes" in out
    assert "f1.png: no label in day/labels" in out
    assert "has the mode RGB, not 8-bit grey" in out


def changed(k: str, **values: object) -> Tree:
    """Return the five classes with other values of one; a value of None is left out."""
    out, kept = tree(), {"0": FIVE[0], "3": FIVE[3]}
    out[k] = {n: v for n, v in (entry(kept[k]) | values).items() if v is not None}
    return out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting"),
        ([], "ids and their classes are needed"),
        ('{"0": "a", "0": "b"}', "'0' is there twice"),
        ({"0": "road", "1": "car"}, "the class 0 is 'road', which has no colour: write"),
        (tree() | {"7": entry(FIVE[0])}, "the id '7' is none of 0 to 5: 6 classes have these ids, no gap"),
        ({k: v for k, v in tree().items() if k != "2"}, "the id '4' is none of 0 to 3"),
        (tree() | {"x": entry(FIVE[0])}, "the id 'x' is none of"),
        ({"0": entry(FIVE[0])}, "1 classes; 2 to 255 are possible"),
        (changed("3", name="road"), "two classes have the name road"),
        (changed("0", name=" road"), "the name ' road' is not a text"),
        (changed("0", colour=None), "the class 0 has no colour: write"),
        (changed("0", static=None), "the class 0 has no static"),
        (changed("0", color=[1, 2, 3]), "the class 0 has an unknown 'color'"),
        (changed("0", colour=[1, 2]), r"the class 0, road: the colour \[1, 2\] is not"),
        (changed("0", colour=[1, 2, 256]), "the colour"),
        (changed("0", colour=[1, 2, True]), "the colour"),
        (changed("3", static="no"), "the class 3, person: static is 'no', not true or false"),
    ],
)
def test_a_wrong_file_of_classes_names_the_place(content: object, message: str, tmp_path: Path) -> None:
    write(tmp_path, content)
    with pytest.raises(ValueError, match=rf"classes\.json: .*{message}"):
        own.read_classes(tmp_path / own.FILE)


def test_weights_by_the_file_of_the_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["weights", "--labels", str(pictures(tmp_path) / "day/labels"), "--classes"]
    assert program.main([*command, str(tmp_path / own.FILE), "--json"]) == 0
    assert [c["name"] for c in json.loads(capsys.readouterr().out)["classes"]] == [c.name for c in FIVE]
    assert program.main([*command, "5", "--json"]) == 0
    assert [c["name"] for c in json.loads(capsys.readouterr().out)["classes"]] == list("01234")


def test_what_is_pasted_into_the_night() -> None:
    assert windows.things(FIVE) == (2, 3)
    assert [CAMVID[i].name for i in windows.things(CAMVID)] == [
        "pole", "signsymbol", "fence", "car", "pedestrian", "bicyclist",
    ]  # fmt: skip


def folder(base: Path) -> Windows:
    """Return settings that read the pictures below mine."""
    pictures(base / "mine")
    return Windows(
        labelled=(Part("folder", "mine", "day"),), night=(Part("folder", "mine", "night"),),
        targets="targets.pt", labelled_count=2, night_count=2, crop=made.CROP,
    )  # fmt: skip


def settings(method: str, s: Windows) -> fit.Fit:
    base = made.settings(method, s, method)
    return dataclasses.replace(
        base,
        validate=(fit.Validation("folder", "mine", "val"),),
        selftrain=dataclasses.replace(base.selftrain, distil=0.0),
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a teacher, its soft targets and a student of five classes."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("own")
    s = folder(base)
    made.run(base, settings("source", s))
    targets.make(Targets("targets.pt", s, (Member(run="runs/source"),)), base)
    made.run(base, settings("selftrain", s))
    return base


def test_five_classes_become_a_bundle(base: Path) -> None:
    run = runs.read(base / "runs/selftrain", base)
    assert run.classes == FIVE and run.predict(made.street(1)).shape[1] == 5
    mine = looks.Set("val", "folder", "mine", "val")
    table = looks.matrices(subjects.of_run(run, runs.AS_IS), mine, base / "kept", base, base / "log.csv")
    assert table is not None and table[0].shape == (5, 6)
    page = report.write(run.folder, base / "page.html", 1, base).read_text(encoding="utf-8")
    assert all(f"rgb({','.join(map(str, c.colour))})" in page and c.name in page for c in FIVE)
    about = About("mine", "1.0.0", "none", Card("tests", "noise", "knows nothing"))
    golden = Golden("folder", "mine", "night")
    made_of = Export("bundle", about, golden, run="runs/selftrain", integer=False, stds=())
    folder = export.export(made_of, base)
    assert bundle.read(folder).classes == FIVE
    told = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["classes"]
    assert told == [{"id": i} | entry(c) for i, c in enumerate(FIVE)]
    verify(folder, base / "cache")


def test_soft_targets_have_the_classes_of_the_teacher(base: Path) -> None:
    state = checkpoint.load(base / "targets.pt")
    assert state is not None and state["names"] == tuple(c.name for c in FIVE)
    soft = state["soft"]["night"][0]  # type: ignore[index]
    assert soft.shape == (SIZE[0] // 4, SIZE[1] // 4, 5)


def test_soft_targets_of_other_classes_are_refused(base: Path) -> None:
    s, state = settings("selftrain", folder(base)), checkpoint.load(base / "targets.pt")
    assert state is not None
    checkpoint.save(base / "other.pt", state | {"names": ("road", "car")})
    method, _ = fit.make(s, base)
    with pytest.raises(ValueError, match="has other classes than the labels"):
        windows.Reader(dataclasses.replace(s.windows, targets="other.pt"), method.needs, base, 1)


def test_members_must_give_the_same_classes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "load_cityscapes", lambda _: None)
    with pytest.raises(ValueError, match=r"gives sky, .* those before it give road, .*: leave one out"):
        Ensemble((Member(run="runs/source"), Member(cityscapes="city.safetensors")), base)
    town = made.town(base)
    choose = Targets("x.pt", town, (Member(run="runs/source"),), choose_day=town.labelled)
    with pytest.raises(ValueError, match=r"targets\.choose: labels of sky, .* networks of road"):
        targets.make(choose, base)


def test_a_network_for_the_classes_of_camvid_is_refused(base: Path) -> None:
    s = settings("source", folder(base))
    with pytest.raises(ValueError, match=r"espnetv2 .*; take lite0"):
        fit.make(dataclasses.replace(s, source=dataclasses.replace(s.source, segment="espnetv2")), base)


def test_dannet_takes_what_cannot_move_from_the_file(base: Path) -> None:
    folder(base)
    parts = {k: (Part("folder", "mine", k),) for k in ("day", "night")}
    s = fit.Fit(
        name="dannet", work="runs", size=(64, 96), loop=made.settings("source", Windows()).loop,
        streams=Streams(parts["day"], parts["day"], parts["night"], (), "none", 2, 32, (1.0, 1.0), 32, 32, (1.0, 1.0)),
        validate=(fit.Validation("folder", "mine", "val"),),
        dannet=dataclasses.replace(dannet.official(), segment="ddrnet-tiny", relight="edge"),
    )  # fmt: skip
    method, seen = fit.make(s, base)
    assert isinstance(method, dannet.Dannet) and method.static == (0, 1, 4)
    assert seen.classes == FIVE
    made.run(base, s)


def test_static_classes() -> None:
    assert fit.static_ids(CITYSCAPES) == tuple(range(11))
    assert fit.static_ids(CAMVID) == (0, 1, 2, 3, 4, 5, 6, 7)
    with pytest.raises(ValueError, match="no class is static"):
        fit.static_ids(FIVE[2:4])


def test_the_templates_fit_each_other() -> None:
    configs = ROOT / "train/configs/own"
    teacher, student = (config.read(fit.Fit, configs / f"{name}.yaml") for name in ("teacher", "student"))
    taught = config.read(Targets, configs / "targets.yaml")
    assert taught.members == (Member(run=f"{teacher.work}/{teacher.name}"),)
    assert student.windows.targets == taught.out
    assert (student.windows.day, student.windows.night) == (taught.windows.day, taught.windows.night)
    assert config.read(Export, configs / "export.yaml").run == f"{student.work}/{student.name}"
    table = config.read(Table, configs / "table.yaml")
    assert {r.run for r in table.rows} == {teacher.name, student.name} and table.work == student.work
    assert [j.command[0] for j in queue.jobs(configs / "queue.yaml", ROOT)] == ["fit", "targets", "fit"]
