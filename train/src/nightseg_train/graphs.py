"""Networks as ONNX files: export with a parity check, and integer versions calibrated on night frames."""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from nightseg_train import runtime
from nightseg_train.nets.espnetv2 import ESPNetv2
from nightseg_train.nets.lightnet import LightNet
from nightseg_train.nets.relight import Relight
from nightseg_train.scoring import MEAN, STD

log = logging.getLogger(__name__)
OPSET = 17
PARITY = 1e-3  # largest difference between PyTorch and ONNX Runtime, as a share of the range of the output
HALVED = 1e-2  # the same between weights of 32 and of 16 bits
LARGE = 1024  # values; smaller tensors are not worth a node
# What PyTorch warns of in an export; here sizes are fixed, and the result is checked.
NOTES = ("Converting a tensor to a Python", "torch.tensor results are registered", "Constant folding")
Values = NDArray[np.float32] | NDArray[np.uint8]


class RelightGraph(nn.Module):
    """A relight net with its input as the camera gives it: 1 x H x W x 3 bytes in, 1 x 3 x H x W out."""

    def __init__(self, net: LightNet | Relight) -> None:
        """Wrap a net."""
        super().__init__()
        self.net = net
        std, mean = torch.tensor(STD).view(1, 3, 1, 1), torch.tensor(MEAN).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, image: Tensor) -> Tensor:
        """Return the relit picture in normalised units."""
        x = image.permute(0, 3, 1, 2).float() * self.get_buffer("scale") + self.get_buffer("shift")
        y: Tensor = self.net(x)
        return y


class SegmentGraph(nn.Module):
    """A segmentation net as methods call it: 1 x 3 x H x W in normalised units in, logits at its own stride out."""

    def __init__(self, net: nn.Module) -> None:
        """Wrap a net."""
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, 1 x classes x h x w."""
        y: Tensor = self.net.half_size(x) if isinstance(self.net, ESPNetv2) else self.net(x)
        return y


@dataclass(frozen=True)
class Port:
    """Names of a graph's input and output."""

    source: str
    result: str


RELIGHT = Port("image", "relit")
SEGMENT = Port("x", "logits")


def write(net: nn.Module, example: Tensor, port: Port, path: Path) -> float:
    """Write a net as ONNX of fixed shape and check it against PyTorch; returns the relative difference.

    Raises:
        ValueError: ONNX Runtime gives other values than PyTorch.
    """
    net = net.to(memory_format=torch.contiguous_format).float().eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", DeprecationWarning)
        for told in NOTES:
            warnings.filterwarnings("ignore", told)
        raw = Path(folder) / "raw.onnx"
        torch.onnx.export(
            net, (example,), str(raw), opset_version=OPSET, dynamo=False,
            input_names=[port.source], output_names=[port.result],
        )  # fmt: skip
        _simplify(raw, path)
    with torch.inference_mode():
        expected = net(example).numpy()
    got = runtime.session(path).run(None, {port.source: example.numpy()})[0]
    difference = relative(got, expected)
    if not difference <= PARITY:
        raise ValueError(f"graphs: {path.name} differs from PyTorch by {difference:.2g} of the range")
    return difference


def _simplify(source: Path, target: Path) -> None:
    """Fold constants and batch norms with ONNX Runtime's basic rules, which keep to standard operators."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(target))
    foreign = sorted({n.domain for n in model.graph.node} - {"", "ai.onnx"})
    if foreign:
        raise ValueError(f"graphs: {target.name} uses operators of {foreign}")
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    model.producer_name, model.producer_version, model.doc_string = "nightseg_train", "", ""
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def halve(path: Path, example: Values) -> float:
    """Store the large weights of a float graph in 16 bits, half the file; it computes in 32 bits as before.

    ONNX Runtime and OpenVINO widen them once, when the file is opened.

    Args:
        path: the file; it is replaced.
        example: an input.

    Returns:
        The largest difference of the output, as a share of its range.

    Raises:
        ValueError: it is more than HALVED; the file is then left as it was.
    """
    model = onnx.load(str(path))
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if weight.data_type != onnx.TensorProto.FLOAT or values.size < LARGE:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [weight.name], [name], f"{name}.float", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    smaller = path.with_suffix(".half")
    onnx.save(model, str(smaller))
    before, after = (runtime.session(p).run(None, {model.graph.input[0].name: example})[0] for p in (path, smaller))
    difference = relative(after, before)
    if not difference <= HALVED:
        smaller.unlink()
        raise ValueError(f"graphs: {path.name} differs by {difference:.2g} of the range with weights of 16 bits")
    smaller.replace(path)
    return difference


def output_size(path: Path) -> tuple[int, int]:
    """Return height and width of what an ONNX file of fixed shape gives."""
    dims = onnx.load(str(path), load_external_data=False).graph.output[0].type.tensor_type.shape.dim
    return int(dims[2].dim_value), int(dims[3].dim_value)


def relative(got: Values, expected: Values) -> float:
    """Return the largest difference as a share of the range of what is expected."""
    spread = float(expected.max()) - float(expected.min())
    return float(np.abs(got.astype(np.float64) - expected).max()) / max(spread, 1e-12)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives calibration inputs one after the other."""

    def __init__(self, name: str, values: Iterator[Values]) -> None:
        self.name, self.values = name, values

    def get_next(self) -> dict[str, Values] | None:
        """Return the next input, or None after the last."""
        value = next(self.values, None)
        return None if value is None else {self.name: value}


@dataclass(frozen=True)
class Calibration:
    """How activations get their ranges, and which nodes stay float (parts of node names)."""

    method: str = "minmax"
    percentile: float = 99.99
    keep_float: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return one line for logs and the bundle."""
        how = f"percentile {self.percentile:g}" if self.method == "percentile" else self.method
        return how + (f", float: {', '.join(self.keep_float)}" if self.keep_float else "")


def quantise(source: Path, target: Path, port: Port, inputs: Callable[[], Sequence[Values]], c: Calibration) -> None:
    """Write the integer version of an ONNX file: QDQ, weights int8 per channel, activations uint8.

    Raises:
        ValueError: the calibration method is not known, or no node has the name of one that is to stay float.
    """
    methods = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
    if c.method not in methods:
        raise ValueError(f"graphs: calibration {c.method!r} is not one of {', '.join(methods)}")
    names = [n.name for n in onnx.load(str(source)).graph.node]
    idle = [part for part in c.keep_float if not any(part in n for n in names)]
    if idle:
        raise ValueError(f"graphs: {source.name} has no node {idle[0]!r} to keep in float")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        ready = Path(folder) / "ready.onnx"
        quant_pre_process(str(source), str(ready), skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            str(ready), str(target), _Reader(port.source, iter(inputs())), quant_format=QuantFormat.QDQ,
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=[n for n in names if any(part in n for part in c.keep_float)],
            calibrate_method=methods[c.method],
            extra_options={"CalibPercentile": c.percentile, "CalibTensorRangeSymmetric": False},
        )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's tools from logging each weight, and standard output for what commands write there."""
    with redirect_stdout(sys.stderr):
        logging.disable(logging.INFO)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
