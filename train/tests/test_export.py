"""Export: parity with PyTorch, integer versions, golden vectors, and the manifest's hashes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from conftest import ROOT, picture
from nightseg_train import config, data, export, graphs, runtime, student
from nightseg_train.classes import NAMES
from nightseg_train.graphs import Calibration

TINY = config.Student(segment="ddrnet-tiny", relight_width=8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both nets of random weights, float and integer."""
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(3)
    nets = student.Nets(TINY, len(NAMES)).eval()
    torch.nn.init.normal_(nets.relight.gain.weight, 0, 0.05)
    parity = export.write_float(export.Snapshot(nets, [1.0] * 11, 1, {}), folder)
    assert max(parity.values()) < 1e-4
    frames = [picture(i) for i in range(2)]
    relight = Calibration(keep_float=graphs.RELIGHT_FLOAT)
    graphs.quantise(
        folder / "relight.onnx",
        folder / "relight.int8.onnx",
        graphs.RELIGHT,
        lambda: [f[None] for f in frames],
        relight,
    )
    relit = [runtime.Networks(folder, "fp32").relit(f) for f in frames]
    graphs.quantise(folder / "segment.onnx", folder / "segment.int8.onnx", graphs.SEGMENT, lambda: relit, Calibration())
    return folder


def test_graphs_are_fixed_and_standard(exported: Path) -> None:
    shapes = {"relight": ([1, 480, 640, 3], [1, 3, 480, 640]), "segment": ([1, 3, 480, 640], [1, 11, 60, 80])}
    for name, (source, result) in shapes.items():
        for suffix in ("", ".int8"):
            model = onnx.load(str(exported / f"{name}{suffix}.onnx"))
            onnx.checker.check_model(model)
            assert {n.domain for n in model.graph.node} <= {"", "ai.onnx"}
            assert next(o.version for o in model.opset_import if o.domain == "") == 17
            dims = [
                [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*model.graph.input, *model.graph.output)
            ]
            assert dims == [source, result]


def test_integer_nets_stay_near_the_float_ones(exported: Path) -> None:
    agreement, relative = export.compare(
        runtime.Networks(exported, "fp32"), runtime.Networks(exported, "int8"), [picture(5)]
    )
    assert relative < 0.25
    assert agreement > 0.6  # random weights: the classes lie close together


def test_quantised_file_holds_int8_weights(exported: Path) -> None:
    model = onnx.load(str(exported / "segment.int8.onnx"))
    kinds = {i.data_type for i in model.graph.initializer if len(i.dims) == 4}
    assert onnx.TensorProto.INT8 in kinds
    assert (exported / "segment.int8.onnx").stat().st_size < 0.5 * (exported / "segment.onnx").stat().st_size


def test_export_refuses_a_net_that_is_not_itself(tmp_path: Path) -> None:
    class Moody(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + (1.0 if torch.onnx.is_in_onnx_export() else 0.0)

    with pytest.raises(ValueError, match="differs from PyTorch"):
        graphs.write(Moody(), torch.rand(1, 3, 8, 8), graphs.SEGMENT, tmp_path / "moody.onnx")


def test_manifest_fits_its_files(exported: Path) -> None:
    settings = dataclasses.replace(config.Config(), student=TINY)
    snapshot = export.Snapshot(student.Nets(TINY, 11), [2.0] * 11, 7, {})
    golden, off = export.write_golden(exported, picture(9))
    parts: dict[str, object] = {
        "reweight": {"mode": "probability", "std": 0.05}, "golden": golden, "tolerance": export.tolerances(off),
    }  # fmt: skip
    tree = json.loads(json.dumps(export.manifest(settings, snapshot, exported, parts)))
    schema = json.loads((ROOT / "model/schema.json").read_text(encoding="utf-8"))
    assert set(schema["required"]) <= set(tree) <= set(schema["properties"])
    assert sum(tree["class_shares"]) == pytest.approx(1)
    files = [f for g in tree["graphs"].values() for f in g["files"].values()] + [tree["golden"]["image"]]
    files += [f for o in tree["golden"]["outputs"].values() for f in o.values()]
    assert len(files) == 9
    for f in files:
        assert export.sha256(exported / f["file"]) == f["sha256"]
    logits = np.fromfile(exported / "golden/logits.fp32.bin", "<f4")
    assert logits.shape == (11 * 60 * 80,)
    assert np.array_equal(data.read_image(exported / "golden/image.png"), picture(9))
    mask = data.read_label(exported / "golden/mask.fp32.png", 11)
    assert np.array_equal(mask, export.mask(logits.reshape(1, 11, 60, 80)))


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        export.read_snapshot(tmp_path / "none.pt", TINY)
    torch.save({"net": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no snapshot"):
        export.read_snapshot(tmp_path / "other.pt", TINY)
