"""Further picture sizes of a bundle's networks: the check that one file serves them all.

The program makes a network of fixed size fit another one by what it knows of the file alone: sizes that `Resize` nodes
give are the same part of the new picture as of the old one, rounded up (`SetSize` in model/onnx/resize.go). Here the
network is exported at the other size, and what comes out must be what that rule makes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from nightseg_train import bundle, graphs
from nightseg_train.bundle import Nets
from nightseg_train.scoring import to_tensor

Size = tuple[int, int]  # height, width


def check(nets: Nets, folder: Path, sizes: Sequence[Size]) -> None:
    """Hold the float graphs of a folder against exports at other sizes.

    Args:
        nets: the networks that the graphs are of.
        folder: holds segment.onnx and, where there is such a net, relight.onnx, with weights as they were exported.
        sizes: heights and widths.

    Raises:
        ValueError: a network cannot take a size, or the rule does not make it what it should be.
    """
    own = nets.decision.size
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                export_at(nets, size, Path(scratch))
            except RuntimeError as fault:
                raise ValueError(f"shapes: the networks take no pictures of {_text(size)}: {fault}") from fault
            for other in sorted(Path(scratch).glob("*.onnx")):
                different = _difference(onnx.load(str(folder / other.name)), onnx.load(str(other)), own, size)
                if different:
                    raise ValueError(f"shapes: {other.name} for {_text(size)} is another network: {different}")
    grid = bundle.grid(nets.decision, graphs.output_size(folder / "segment.onnx"))
    if sizes and "logits" in grid:
        raise ValueError(f"shapes: logits of {grid['logits']} have no whole stride; such a bundle has one shape")


def export_at(nets: Nets, size: Size, folder: Path) -> dict[str, float]:
    """Write segment.onnx and, where there is such a net, relight.onnx for a size; return the differences from PyTorch.

    Raises:
        RuntimeError: a network cannot take the size.
        ValueError: see graphs.write.
    """
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8))
    found = {}
    if nets.relight is not None:
        relight = graphs.RelightGraph(nets.relight)
        found["relight"] = graphs.write(relight, image, graphs.RELIGHT, folder / "relight.onnx")
    segment = graphs.SegmentGraph(nets.segment)
    x = to_tensor(image[0].numpy())
    return found | {"segment": graphs.write(segment, x, graphs.SEGMENT, folder / "segment.onnx")}


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def _difference(own: onnx.ModelProto, other: onnx.ModelProto, at: Size, to: Size) -> str:
    """Return what two exports differ in beside what the rule makes alike, "" for nothing."""
    if [_plain(n) for n in own.graph.node] != [_plain(n) for n in other.graph.node]:
        return "its nodes differ"
    sizes = {n.input[3] for n in own.graph.node if n.op_type == "Resize" and len(n.input) > 3}
    values, expected = ({i.name: onnx.numpy_helper.to_array(i) for i in m.graph.initializer} for m in (own, other))
    if values.keys() != expected.keys():
        return "it has other constants"
    for name, value in values.items():
        made = sized(value.tolist(), at, to) if name in sizes else value
        if not np.array_equal(made, expected[name]):
            return f"{name} is {expected[name].tolist() if name in sizes else 'different'}"
    return ""


def _plain(node: onnx.NodeProto) -> tuple[object, ...]:
    attributes = sorted((a.name, a.SerializeToString()) for a in node.attribute)
    return node.op_type, tuple(node.input), tuple(node.output), tuple(attributes)


def sized(sizes: Sequence[int], at: Size, to: Size) -> list[int]:
    """Return the sizes N, C, H, W that a Resize gives in a picture of another size.

    Raises:
        ValueError: a size is no whole part of the picture's.
    """
    if any(n % part for n, part in zip(at, sizes[2:], strict=True)):
        raise ValueError(f"shapes: {sizes[3]}x{sizes[2]} is no whole part of {_text(at)}")
    steps = [n // part for n, part in zip(at, sizes[2:], strict=True)]
    return [*sizes[:2], *(-(-n // step) for n, step in zip(to, steps, strict=True))]
