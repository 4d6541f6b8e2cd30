"""Write the small networks and the bundle that the tests of model/ read.

Run it from any folder with a Python that has numpy, onnx, onnxruntime and Pillow:

    python model/testdata/make.py

The same versions write the same bytes. Sizes are tiny on purpose: the networks
have the form of real ones (picture in, relit picture, logits at stride 8) and
nothing of their weight.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from PIL import Image

HERE = Path(__file__).resolve().parent
HEIGHT, WIDTH, STRIDE, CLASSES = 32, 48, 8, 3
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
Array = NDArray[np.float32]


def model(name: str, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto],
          outputs: list[onnx.ValueInfoProto], weights: dict[str, NDArray[np.generic]]) -> onnx.ModelProto:
    """Return a checked model of operator set 17."""
    graph = helper.make_graph(nodes, name, inputs, outputs,
                              [numpy_helper.from_array(v, k) for k, v in weights.items()])
    net = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
                            producer_name="nightseg-testdata")
    onnx.checker.check_model(net, full_check=True)
    return net


def tensor(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
    """Return the description of an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def weights_of(rng: np.random.Generator, *shape: int) -> Array:
    """Return convolution weights whose outputs have about the variance of the inputs."""
    fan = int(np.prod(shape[1:]))
    return (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def relight(rng: np.random.Generator) -> onnx.ModelProto:
    """Return a relight network: R = x + tanh(G(x)), picture in, normalised planes out."""
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
        node("Mul", ["t", "scale"], ["m"]),
        node("Add", ["m", "shift"], ["x"]),
        node("Conv", ["x", "w1"], ["g1"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Relu", ["g1"], ["g2"]),
        node("Conv", ["g2", "w2", "b2"], ["g3"], kernel_shape=[1, 1]),
        node("Resize", ["g3", "", "up"], ["g4"], mode="linear", coordinate_transformation_mode="half_pixel"),
        node("Tanh", ["g4"], ["g"]),
        node("Add", ["x", "g"], ["relit"]),
    ]
    weights: dict[str, NDArray[np.generic]] = {
        "scale": (1 / (255 * STD)).reshape(1, 3, 1, 1), "shift": (-MEAN / STD).reshape(1, 3, 1, 1),
        "w1": weights_of(rng, 8, 3, 4, 4), "w2": weights_of(rng, 3, 8, 1, 1),
        "b2": np.full(3, 0.5, np.float32), "up": np.array([1, 1, 4, 4], np.float32),
    }
    return model("relight", nodes, [tensor("image", TensorProto.UINT8, 1, HEIGHT, WIDTH, 3)],
                 [tensor("relit", TensorProto.FLOAT, 1, 3, HEIGHT, WIDTH)], weights)


def segment(rng: np.random.Generator, tail: list[onnx.NodeProto], *, free: bool = False, grid: int = 1,
            extra: dict[str, NDArray[np.generic]] | None = None) -> onnx.ModelProto:
    """Return a segmentation network that ends in tail, which makes "logits" of "c3".

    free leaves height and width open; grid divides the size of the output.
    """
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Relu", ["c1"], ["c2"]),
        node("Conv", ["c2", "w2"], ["c3"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        *tail,
    ]
    weights: dict[str, NDArray[np.generic]] = {
        "w1": weights_of(rng, 16, 3, 8, 8), "w2": weights_of(rng, CLASSES, 16, 3, 3), **(extra or {})}
    h, w = ("H", "W") if free else (HEIGHT, WIDTH)
    lh, lw = ("h", "w") if free else (HEIGHT // STRIDE // grid, WIDTH // STRIDE // grid)
    return model("segment", nodes, [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, h, w])],
                 [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES, lh, lw])], weights)


def lp_pool(rng: np.random.Generator) -> onnx.ModelProto:
    """Return a segmentation network with an operator that OpenVINO does not know, at its end.

    OpenVINO does not care for parts of less than a handful of nodes: there are more here.
    """
    node = helper.make_node
    tail = []
    weights: dict[str, NDArray[np.generic]] = {}
    for i in range(4):
        weights[f"v{i}"] = weights_of(rng, CLASSES, CLASSES, 1, 1)
        tail += [node("Conv", [f"c{3 + i}", f"v{i}"], [f"d{i}"], kernel_shape=[1, 1]),
                 node("Sigmoid", [f"d{i}"], [f"c{4 + i}"])]
    tail.append(node("LpPool", ["c7"], ["logits"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], p=2))
    return segment(rng, tail, extra=weights)


def from_bytes(rng: np.random.Generator) -> onnx.ModelProto:
    """Return a segmentation network that takes the picture as bytes, NHWC."""
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
        node("Mul", ["t", "scale"], ["x"]),
        node("Conv", ["x", "w1"], ["out"], kernel_shape=[8, 8], strides=[8, 8]),
    ]
    weights: dict[str, NDArray[np.generic]] = {
        "scale": np.array(1 / 255, np.float32), "w1": weights_of(rng, CLASSES, 3, 8, 8)}
    return model("bytes", nodes, [tensor("image", TensorProto.UINT8, 1, HEIGHT, WIDTH, 3)],
                 [tensor("out", TensorProto.FLOAT, 1, CLASSES, HEIGHT // STRIDE, WIDTH // STRIDE)], weights)


def on_grid(rng: np.random.Generator, down: int, across: int, edge: int = 0) -> onnx.ModelProto:
    """Return a segmentation network whose logits have these strides, with an edge also a point more on each side.

    Networks of stride 8 that pad and round up while pooling, as PSPNet does, have such a point.
    """
    node = helper.make_node("Conv", ["x", "w1"], ["logits"], kernel_shape=[down, across], strides=[down, across],
                            pads=[edge] * 4)
    h, w = (HEIGHT + 2 * edge) // down, (WIDTH + 2 * edge) // across
    return model("grid", [node], [tensor("x", TensorProto.FLOAT, 1, 3, HEIGHT, WIDTH)],
                 [tensor("logits", TensorProto.FLOAT, 1, CLASSES, h, w)],
                 {"w1": weights_of(rng, CLASSES, 3, down, across)})


def classes_out(rng: np.random.Generator) -> onnx.ModelProto:
    """Return a network that gives class numbers where logits are needed."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["c"], kernel_shape=[8, 8], strides=[8, 8]),
        node("ArgMax", ["c"], ["mask"], axis=1, keepdims=0),
    ]
    return model("argmax", nodes, [tensor("x", TensorProto.FLOAT, 1, 3, HEIGHT, WIDTH)],
                 [tensor("mask", TensorProto.INT64, 1, HEIGHT // STRIDE, WIDTH // STRIDE)],
                 {"w1": weights_of(rng, CLASSES, 3, 8, 8)})


class Pictures(CalibrationDataReader):
    """Calibration pictures for the integer forms of the networks."""

    def __init__(self, name: str, values: list[NDArray[np.generic]]) -> None:
        """Feed values, one at a time, to the input of that name."""
        self.feeds = iter([{name: v} for v in values])

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """Return the next feed, or None at the end."""
        return next(self.feeds, None)


def run(path: Path, name: str, value: NDArray[np.generic]) -> Array:
    """Return the first output of a network for one input."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    out: Array = session.run(None, {name: value})[0]
    return out


def full_size_mask(logits: Array) -> NDArray[np.uint8]:
    """Return the arg-max at input size of [1, C, h, w] logits, resized with half-pixel corners."""
    def taps(size: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        pos = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
        low = pos.astype(np.int64)
        return low, np.minimum(low + 1, size - 1), (pos - low).astype(np.float32)
    y0, y1, fy = taps(logits.shape[2], HEIGHT)
    x0, x1, fx = taps(logits.shape[3], WIDTH)
    rows = logits[0][:, y0] * (1 - fy)[None, :, None] + logits[0][:, y1] * fy[None, :, None]
    full = rows[:, :, x0] * (1 - fx) + rows[:, :, x1] * fx
    return full.argmax(0).astype(np.uint8)


def entry(path: Path, root: Path) -> dict[str, str]:
    """Return the manifest entry of a file."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.relative_to(root).as_posix(), "sha256": digest}


def bundle(root: Path, picture: NDArray[np.uint8]) -> None:
    """Write the bundle of the relight and segmentation networks, with golden vectors."""
    (root / "golden").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    onnx.save(relight(rng), root / "relight.onnx")
    onnx.save(segment(rng, [helper.make_node("Identity", ["c3"], ["logits"])]), root / "segment.onnx")
    image = picture[None]
    relit = run(root / "relight.onnx", "image", image)
    for name, port, value in (("relight", "image", image), ("segment", "x", relit)):
        quantize_static(str(root / f"{name}.onnx"), str(root / f"{name}.int8.onnx"), Pictures(port, [value]),
                        quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8, op_types_to_quantize=["Conv"])
    Image.fromarray(picture).save(root / "golden/image.png")
    outputs = {}
    for precision, suffix in (("fp32", ""), ("int8", ".int8")):
        relit = run(root / f"relight{suffix}.onnx", "image", image)
        logits = run(root / f"segment{suffix}.onnx", "x", relit)
        data, mask = root / f"golden/logits.{precision}.bin", root / f"golden/mask.{precision}.png"
        data.write_bytes(logits.astype("<f4").tobytes())
        Image.fromarray(full_size_mask(logits)).save(mask)
        outputs[precision] = {"logits": entry(data, root), "mask": entry(mask, root)}

    def graph(name: str, source: tuple[str, str, str], out: str) -> dict[str, object]:
        return {"input": dict(zip(("name", "type", "layout"), source, strict=True)),
                "output": {"name": out, "type": "float32", "layout": "NCHW"},
                "files": {"fp32": entry(root / f"{name}.onnx", root),
                          "int8": entry(root / f"{name}.int8.onnx", root)}}
    manifest = {
        "schema": 1, "name": "tiny-3", "version": "0.1.0", "created": "2026-01-01T00:00:00Z",
        "licence": "Apache-2.0",
        "classes": [{"id": 0, "name": "sky", "colour": [128, 128, 128], "static": True},
                    {"id": 1, "name": "road", "colour": [128, 64, 128], "static": True},
                    {"id": 2, "name": "car", "colour": [64, 0, 128], "static": False}],
        "unknown": {"index": 255, "colour": [0, 0, 0]}, "shapes": [[HEIGHT, WIDTH]],
        "resize": {"filter": "bilinear", "antialias": True, "fit": "stretch"},
        "normalise": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "align_corners": False, "stride": STRIDE,
        "graphs": {"relight": graph("relight", ("image", "uint8", "NHWC"), "relit"),
                   "segment": graph("segment", ("x", "float32", "NCHW"), "logits")},
        "class_shares": [0.5, 0.3, 0.2], "reweight": {"mode": "probability", "std": 0.05}, "temperature": 1.0,
        "tolerance": {"fp32": {"logits_relative": 1e-3, "mask_agreement": 0.999},
                      "int8": {"logits_relative": 0.1, "mask_agreement": 0.9}},
        "golden": {"image": entry(root / "golden/image.png", root), "outputs": outputs},
        "card": {"intended_use": "tests", "data": "random weights", "limits": "knows nothing"},
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (root / "bundle.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Write everything beside this file."""
    ort.set_default_logger_severity(3)
    rng = np.random.default_rng(3)
    node = helper.make_node
    nets = HERE / "nets"
    nets.mkdir(exist_ok=True)
    for name, net in {
        "nan": segment(rng, [node("Log", ["c3"], ["logits"])]),  # NaN where the value before is negative
        "lppool": lp_pool(rng),
        "wrong-shape": segment(
            rng, [node("MaxPool", ["c3"], ["logits"], kernel_shape=[2, 2], strides=[2, 2])],
            grid=2),
        "free-size": segment(rng, [node("Identity", ["c3"], ["logits"])], free=True),
        "bytes": from_bytes(rng), "argmax": classes_out(rng),
    }.items():
        onnx.save(net, nets / f"{name}.onnx")
    grids = np.random.default_rng(4)
    for name, net in {
        "stride-4": on_grid(grids, 4, 4), "edge-points": on_grid(grids, 8, 8, edge=4), "wide": on_grid(grids, 8, 4),
    }.items():
        onnx.save(net, nets / f"{name}.onnx")
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    noise = rng.integers(0, 60, (HEIGHT, WIDTH, 3))
    ramp = np.stack([x * 4, y * 6, (x + y) * 2], -1)
    bundle(HERE / "tiny", np.clip(ramp * 0.6 + noise, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
