"""Turn the ONNX networks of a bundle into TensorFlow SavedModels, once.

    convert.py BUNDLE OUT

writes OUT/<sha256 of the bundle>/{segment,relight}/ with a SavedModel each, and
OUT/<sha256>/savedmodel.json, which names the operations to feed and to fetch: the
Go binding knows no signatures. Networks are taken in fp32. A folder that is
complete is left alone.

It needs a Python with onnx2tf and tensorflow; scripts/savedmodel.sh calls it so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

# Before TensorFlow is imported: it reads them once, and would talk about GPUs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

log = logging.getLogger("convert")

# onnx2tf looks for this file in its working folder and would fetch it if it were not there.
CALIBRATION = "calibration_image_sample_data_20x128x128x3_float32.npy"


def identity(document: str) -> str:
    """Return the bundle's identity: sha256 of its canonical bundle.json."""
    canonical = json.dumps(json.loads(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def convert(onnx_file: Path, out: Path, graph: dict[str, Any]) -> dict[str, Any]:
    """Convert one network; return what to feed and fetch, with shapes.

    Raises ValueError where the converted network has other inputs or outputs.
    """
    import numpy as np
    import onnx2tf
    import tensorflow as tf

    np.save(CALIBRATION, np.zeros((20, 128, 128, 3), np.float32))
    copy = Path(f"{out.name}.onnx")  # onnx2tf gives names to nodes, in its input file
    widen(onnx_file, copy)
    name = graph["input"]["name"]
    keep = {"keep_shape_absolutely_input_names": [name]} if graph["input"]["layout"] == "NHWC" else {}
    onnx2tf.convert(
        input_onnx_file_path=str(copy),
        output_folder_path=str(out),
        output_signaturedefs=True,
        not_use_onnxsim=True,
        copy_onnx_input_output_names_to_tflite=False,
        verbosity="error",
        **keep,
    )
    for leftover in out.glob("*.tflite"):
        leftover.unlink()
    loaded = tf.saved_model.load(str(out))
    signature = loaded.signatures["serving_default"]
    specs = list(signature.structured_input_signature[1].values())
    outputs = list(signature.structured_outputs.values())
    if len(specs) != 1 or len(outputs) != 1:
        raise ValueError(f"{onnx_file}: {len(specs)} inputs and {len(outputs)} outputs after conversion")
    feed, fetch = tensor_names(out)
    channels_last = int(outputs[0].shape[-1]) in (3, graph["channels"]) and outputs[0].shape[1] != graph["channels"]
    return {
        "dir": out.name,
        "input": {"name": feed, "shape": [int(d) for d in specs[0].shape], "type": specs[0].dtype.name},
        "output": {
            "name": fetch,
            "shape": [int(d) for d in outputs[0].shape],
            "type": outputs[0].dtype.name,
            "layout": "NHWC" if channels_last else "NCHW",
        },
    }


def widen(source: Path, target: Path) -> None:
    """Write a network with weights of 32 bits where it stores them in 16 bits and casts them.

    onnx2tf would not turn such weights to the order of dimensions that TensorFlow has.
    """
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(source))
    weights = {w.name: w for w in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type == "Cast" and node.input[0] in weights and node.attribute[0].i == onnx.TensorProto.FLOAT:
            wide = numpy_helper.to_array(weights[node.input[0]]).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(wide, node.output[0]))
            model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for name in weights.keys() - used:
        model.graph.initializer.remove(weights[name])
    onnx.save(model, str(target))


def tensor_names(saved_model: Path) -> tuple[str, str]:
    """Return the names of the tensors to feed and to fetch, such as serving_default_x:0."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    signature = proto.meta_graphs[0].signature_def["serving_default"]
    return next(iter(signature.inputs.values())).name, next(iter(signature.outputs.values())).name


def run(bundle: Path, out: Path) -> Path:
    """Convert the networks of a bundle directory; return the folder with the result."""
    document = (bundle / "bundle.json").read_text(encoding="utf-8")
    manifest = json.loads(document)
    final = out / identity(document)
    if (final / "savedmodel.json").exists():
        return final
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"schema": 1, "bundle": final.name}
    with tempfile.TemporaryDirectory(dir=out, prefix=".part-") as part, contextlib.chdir(part):
        for name, channels in (("segment", len(manifest["classes"])), ("relight", 3)):
            graph = manifest["graphs"].get(name)
            if graph is None:
                continue
            log.info("convert: %s of %s %s", name, manifest["name"], manifest["version"])
            file = graph["files"]["fp32"]["file"]
            result[name] = convert(bundle / file, Path(part) / "out" / name, {**graph, "channels": channels})
        (Path(part) / "out" / "savedmodel.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        (Path(part) / "out").rename(final)
    return final


def main() -> int:
    """Convert the bundle that the command line names."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    log.setLevel(logging.INFO)
    if len(sys.argv) != 3:
        log.error("usage: convert.py BUNDLE OUT")
        return 2
    out = Path(sys.argv[2]).resolve()
    log.info("%s", run(Path(sys.argv[1]).resolve(), out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
