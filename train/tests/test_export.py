"""Export: parity with PyTorch, integer versions, golden vectors, manifest; a bundle of a run that the program takes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import trees
from conftest import ROOT, verify
from nightseg_train import bundle, checkpoint, classes, data, export, fit, graphs, integer, loop, runtime
from nightseg_train.bundle import About, Card, Decision, Nets
from nightseg_train.classes import CAMVID, NAMES
from nightseg_train.export import Export, Golden, Pictures, Released
from nightseg_train.graphs import Calibration
from nightseg_train.methods import dannet, selftrain, source
from nightseg_train.nets import registry
from nightseg_train.nets.relight import Relight
from nightseg_train.streams import Part, Streams

SIZE = (64, 96)
ABOUT = About("small", "0.1.0", "none", Card("tests", "noise", "knows nothing"))
NIGHT = Part("synth", "town", "train/night")


def settings(**changes: object) -> Export:
    s = Export(
        "bundle", ABOUT, Golden(NIGHT.set, NIGHT.root, NIGHT.part, index=1), run="runs/small",
        pictures=Pictures((NIGHT,), (), count=3, compare=1), percentiles=(), stds=(0.0, 0.1),
    )  # fmt: skip
    return dataclasses.replace(s, **changes)  # type: ignore[arg-type]


def train(base: Path, **changes: object) -> None:
    """Train for two steps on a made-up street."""
    times = {t: (Part("synth", "town", f"train/{t}"),) for t in ("day", "night")}
    s = fit.Fit(
        name="small",
        method="source",
        work="runs",
        size=SIZE,
        loop=loop.Loop(steps=2, precision="fp32", threads=1, score_every=2, log_every=1),
        streams=Streams(times["day"], times["day"], times["night"], (), "order", 2, 64, (1.0, 1.0), 64, 64, (1.0, 1.0)),
        validate=(fit.Validation("synth", "town", "train/night", stride=2),),
        source=source.Settings(segment="lite0", relight="edge"),
        selftrain=selftrain.Settings(segment="lite0"),
        dannet=dataclasses.replace(dannet.official(), segment="ddrnet-tiny", relight="edge"),
    )
    fit.fit(dataclasses.replace(s, **changes), base)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with four labelled day and night pictures of a made-up street."""
    base = tmp_path_factory.mktemp("export")
    for time in ("day", "night"):
        for i in range(4):
            stem = f"street_frame_{i:06d}"
            trees.colour(base / f"town/rgb_anon/train/{time}/street/{stem}_rgb_anon.png", SIZE, seed=i)
            trees.ids(base / f"town/gt/train/{time}/street/{stem}_gt_labelTrainIds.png", i, SIZE)
    return base


@pytest.fixture(scope="module")
def exported(town: Path) -> Path:
    """Return the bundle of a run with the networks that ship."""
    train(town)
    return export.export(settings(), town)


def manifest(folder: Path) -> dict[str, object]:
    tree: dict[str, object] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    schema = json.loads((ROOT / "model/schema.json").read_text(encoding="utf-8"))
    assert set(schema["required"]) <= set(tree) <= set(schema["properties"])
    return tree


def test_logits_can_be_raised_by_what_scores_best(exported: Path, town: Path) -> None:
    s = settings(out="raised", integer=False, raised=("road", "pole"), offsets=(30.0,), stds=())
    raised = export.export(s, town)
    record = manifest(raised)["training"]["raised"]  # type: ignore[index]
    assert set(record["offsets"]) == {"road", "pole"} and len(record["tried"]) == 4
    scores = {(r["class"], r["offset"]): r["choose"] for r in record["tried"]}
    for name, offset in record["offsets"].items():
        assert scores[name, offset] == max(scores[name, v] for v in (0.0, 30.0))
    x = torch.rand(1, 3, *SIZE).numpy()
    plain, more = (runtime.Networks(f, "fp32").segment(x) for f in (exported, raised))
    expected = np.array([record["offsets"].get(n, 0.0) for n in NAMES]).reshape(1, -1, 1, 1)
    assert expected.any()
    np.testing.assert_allclose(more - plain, np.broadcast_to(expected, plain.shape), atol=0.05)


def test_released_networks_cannot_be_raised(town: Path) -> None:
    with pytest.raises(ValueError, match="raised: it is for the networks of a run"):
        export.export(settings(run="", released=Released("x.pth"), raised=("road",)), town)


def test_a_run_becomes_a_bundle_that_the_program_takes(exported: Path, town: Path, tmp_path: Path) -> None:
    tree = manifest(exported)
    assert (tree["stride"], tree["shapes"], tree["align_corners"]) == (4, [list(SIZE)], False)
    assert "logits" not in tree
    rests = "noise Rests on labels of synth train/day."
    assert tree["card"] == dataclasses.asdict(dataclasses.replace(ABOUT.card, data=rests))
    assert sum(tree["class_shares"]) == pytest.approx(1)  # type: ignore[call-overload]
    training = json.loads(json.dumps(tree["training"]))
    assert training["run"] == "small" and training["step"] == 2
    assert training["origin"] == {"labels": ["synth train/day"], "weights": []}
    assert set(training["fp32"]) == set(training["fp32_without_relight"]) == {"synth/train/night", "choose"}
    assert max(training["parity_with_pytorch"].values()) < 1e-4
    assert set(training["half_weights"]) == {"relight", "segment"} and 0 < training["half_weights"]["segment"] < 2e-3
    assert [r["std"] for r in training["reweight"]] == [0.0, 0.1]
    assert (exported / "training.csv").read_text() == (town / "runs/small/log.csv").read_text()
    assert str(town) not in (exported / "bundle.json").read_text()
    verify(exported, tmp_path)


def test_hashes_and_golden_vectors_are_those_of_the_files(exported: Path, town: Path) -> None:
    tree = json.loads((exported / "bundle.json").read_text(encoding="utf-8"))
    files = [f for g in tree["graphs"].values() for f in g["files"].values()] + [tree["golden"]["image"]]
    files += [f for o in tree["golden"]["outputs"].values() for f in o.values()]
    assert len(files) == 9
    for f in files:
        assert checkpoint.sha256(exported / f["file"]) == f["sha256"]
    decision = bundle.read(exported)
    assert decision.classes == CAMVID and decision.size == SIZE
    logits = np.fromfile(exported / "golden/logits.fp32.bin", "<f4").reshape(1, 11, 16, 24)
    golden = data.read_image(exported / "golden/image.png", None)
    assert np.array_equal(golden, export.read_golden(settings().golden, SIZE, town))
    assert np.array_equal(logits, runtime.Networks(exported, "fp32").logits(golden))
    assert np.array_equal(data.read_label(exported / "golden/mask.fp32.png", 11), decision.mask(logits))


def test_graphs_are_fixed_and_standard(exported: Path) -> None:
    shapes = {"relight": ([1, *SIZE, 3], [1, 3, *SIZE]), "segment": ([1, 3, *SIZE], [1, 11, 16, 24])}
    for name, (taken, given) in shapes.items():
        for suffix in ("", ".int8"):
            model = onnx.load(str(exported / f"{name}{suffix}.onnx"))
            onnx.checker.check_model(model)
            assert {n.domain for n in model.graph.node} <= {"", "ai.onnx"}
            assert next(o.version for o in model.opset_import if o.domain == "") == 17
            ports = (*model.graph.input, *model.graph.output)
            assert [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in ports] == [taken, given]


def test_large_weights_are_stored_in_16_bits(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 8, 3)).eval()
    file = tmp_path / "n.onnx"
    example = torch.rand(1, 3, 12, 12)
    graphs.write(net, example, graphs.SEGMENT, file)
    size, exact = file.stat().st_size, net(example).detach().numpy()
    difference = graphs.halve(file, example.numpy())
    assert file.stat().st_size < 0.62 * size
    kinds = {w.name: w.data_type for w in onnx.load(str(file)).graph.initializer}
    assert sorted(kinds.values()) == sorted([onnx.TensorProto.FLOAT16] * 2 + [onnx.TensorProto.FLOAT] * 2)
    got = runtime.session(file).run(None, {"x": example.numpy()})[0]
    assert 0 < graphs.relative(got, exact) < 1e-3
    assert difference == pytest.approx(graphs.relative(got, exact), rel=0.1)
    for weight in net.parameters():
        weight.data = weight.data.half().float() if weight.numel() >= graphs.LARGE else weight.data
    assert graphs.relative(got, net(example).detach().numpy()) < 1e-6  # it computes in 32 bits


def test_weights_that_16_bits_do_not_hold_are_left(tmp_path: Path) -> None:
    net, file = nn.Conv2d(16, 64, 3, bias=False).eval(), tmp_path / "n.onnx"
    net.weight.data *= 1e-9
    example = torch.rand(1, 16, 8, 8)
    graphs.write(net, example, graphs.SEGMENT, file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"n\.onnx differs by [01][.0-9]* of the range with weights of 16 bits"):
        graphs.halve(file, example.numpy())
    assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["n.onnx"]


def test_a_head_that_stays_float_has_no_integer_node(exported: Path, tmp_path: Path) -> None:
    nets = Nets(registry.segment("lite0", 11), None, bundle.read(exported))
    whole, head = integer.ways(nets, (), (False, True))
    assert (whole.keep_float, head.keep_float) == ((), ("/head/",))
    x = torch.randn(1, 3, *SIZE).numpy()
    kinds = {}
    for name, way in (("whole", whole), ("head", head)):
        graphs.quantise(exported / "segment.onnx", tmp_path / f"{name}.onnx", graphs.SEGMENT, lambda: [x], way)
        nodes = onnx.load(str(tmp_path / f"{name}.onnx")).graph.node
        made = {o for n in nodes if n.op_type == "DequantizeLinear" for o in n.output}
        last = next(n for n in nodes if n.op_type == "DepthToSpace")
        conv = next((n for n in nodes if n.output[0] == last.input[0]), None)
        kinds[name] = (last.input[0] in made, conv is not None and conv.op_type)
    assert kinds == {"whole": (True, "DequantizeLinear"), "head": (False, "Conv")}
    with pytest.raises(ValueError, match="no node '/haed/'"):
        graphs.quantise(
            exported / "segment.onnx",
            tmp_path / "x.onnx",
            graphs.SEGMENT,
            lambda: [x],
            Calibration(keep_float=("/haed/",)),
        )


def test_integer_nets_stay_near_the_float_ones(exported: Path, town: Path) -> None:
    pair = [runtime.Networks(exported, p) for p in ("fp32", "int8")]
    golden = export.read_golden(settings().golden, SIZE, town)
    agreement, relative = bundle.compare(pair[0], pair[1], [golden], bundle.read(exported))
    assert relative < 0.25
    assert agreement > 0.5  # the classes lie close together after two steps
    kinds = {i.data_type for i in onnx.load(str(exported / "segment.int8.onnx")).graph.initializer if len(i.dims) == 4}
    assert onnx.TensorProto.INT8 in kinds
    size = [(exported / f"segment{suffix}.onnx").stat().st_size for suffix in ("", ".int8")]
    assert size[1] < 0.6 * size[0]


def test_without_relight_net_and_without_integers(town: Path, tmp_path: Path) -> None:
    train(town, name="plain", source=source.Settings(segment="ddrnet-tiny"))
    folder = export.export(settings(run="runs/plain", out="plain", integer=False, stds=()), town)
    tree = manifest(folder)
    graphs_, golden = tree["graphs"], tree["golden"]
    assert isinstance(graphs_, dict) and isinstance(golden, dict)
    assert set(graphs_) == {"segment"} and set(graphs_["segment"]["files"]) == {"fp32"}
    assert set(golden["outputs"]) == set(tree["tolerance"]) == {"fp32"}  # type: ignore[call-overload]
    assert tree["stride"] == 8 and "calibration" not in tree
    assert tree["reweight"] == {"mode": "probability", "std": 0.0}
    verify(folder, tmp_path)


def test_a_run_of_dannet_keeps_its_corners_and_weights(town: Path, tmp_path: Path) -> None:
    train(town, name="dannet", method="dannet")
    folder = export.export(settings(run="runs/dannet", out="dannet", stds=()), town, quick=True)
    tree = manifest(folder)
    assert tree["align_corners"] is True
    assert tree["reweight"] == {"mode": "logit", "std": 0.16}
    verify(folder, tmp_path)


def test_a_fault_leaves_the_old_bundle(exported: Path, town: Path) -> None:
    before = (exported / "bundle.json").read_bytes()
    for s, message in (
        (settings(run=""), "from one of the two"),
        (settings(released=Released("net.pth")), "from one of the two"),
        (settings(golden=Golden("synth", "town", "train/night", index=9)), "none with the number 9"),
        (settings(pictures=Pictures((NIGHT,))), "too few"),
        (settings(pictures=Pictures((NIGHT,), (NIGHT,), 1, 1)), "0 are too few"),
        (settings(stds=(9.0,)), "weight"),
    ):
        with pytest.raises(ValueError, match=message):
            export.export(s, town, quick=True)
    with pytest.raises(FileNotFoundError, match="`fit` leaves"):
        export.export(settings(run="runs/none"), town)
    assert (exported / "bundle.json").read_bytes() == before
    assert {p.name for p in exported.parent.iterdir() if p.name.startswith(".")} == set()


def test_export_refuses_a_net_that_is_not_itself(tmp_path: Path) -> None:
    class Moody(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + (1.0 if torch.onnx.is_in_onnx_export() else 0.0)

    with pytest.raises(ValueError, match="differs from PyTorch"):
        graphs.write(Moody(), torch.rand(1, 3, 8, 8), graphs.SEGMENT, tmp_path / "moody.onnx")


@pytest.mark.parametrize(
    ("size", "logits", "align", "stride", "states"),
    [
        ((480, 640), (60, 80), False, 8, False),
        ((480, 640), (120, 160), False, 4, False),
        ((480, 640), (240, 320), False, 2, False),
        ((540, 960), (68, 121), True, 8, True),
        ((540, 960), (135, 240), True, 4, False),
        ((64, 96), (8, 12), True, 8, False),
        ((32, 48), (5, 7), True, 8, True),
        ((540, 960), (68, 120), True, 8, False),
        ((512, 512), (65, 65), True, 8, True),
        ((96, 160), (13, 21), True, 8, True),
    ],
)
def test_stride_follows_the_logits(
    size: tuple[int, int], logits: tuple[int, int], align: bool, stride: int, states: bool
) -> None:
    found = bundle.grid(Decision(CAMVID, (1 / 11,) * 11, size, align, "logit", 0.0), logits)
    assert found == {"stride": stride} | ({"logits": [list(logits)]} if states else {})


def test_nodes_that_stay_float_are_in_the_exports(tmp_path: Path) -> None:
    awake = Relight()
    torch.nn.init.normal_(awake.gain.weight, 0, 0.05)
    torch.nn.init.normal_(awake.offset.weight, 0, 0.05)
    image = torch.zeros(1, *SIZE, 3, dtype=torch.uint8)
    nets: list[tuple[torch.nn.Module, torch.nn.Module, torch.Tensor, graphs.Port]] = [
        (net, graphs.RelightGraph(net), image, graphs.RELIGHT) for net in (awake, registry.relight("lightnet"))
    ]
    for name in ("lite0", "ddrnet-tiny", "espnetv2"):
        net = registry.segment(name, len(NAMES))
        nets.append((net, graphs.SegmentGraph(net), torch.zeros(1, 3, *SIZE), graphs.SEGMENT))
    for net, graph, example, port in nets:
        graphs.write(graph, example, port, tmp_path / "net.onnx")
        names = [n.name for n in onnx.load(str(tmp_path / "net.onnx")).graph.node]
        head = type(net) in registry.HEAD
        for part in registry.float_nodes(net, head):
            assert any(part in n for n in names), f"{type(net).__name__}: {part}"
    with pytest.raises(ValueError, match="head of Linear"):
        registry.float_nodes(torch.nn.Linear(1, 1), head=True)


def test_classes_of_cityscapes() -> None:
    moving = [c.name for c in classes.CITYSCAPES if not c.static]
    assert moving == ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
    assert len({c.colour for c in classes.CITYSCAPES}) == 19
