"""The segmentation network of a bundle as one that can be trained on, or teach.

A bundle's ONNX file has no batch norms any more: each is folded into the convolution before it. Here its values become
weights of a network with norms again, which gives the same logits. Bundles of `export` are meant, whose nodes are named
by the parts of the network; heads that are for training alone are not in them and stay as they are. In this form
networks can be averaged, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from nightseg_train import bundle, classes, data, scoring
from nightseg_train.nets import registry
from nightseg_train.origins import Origin

log = logging.getLogger(__name__)
LAST = "head.1"  # the layer that gives the logits
AUXILIARY = "aux."  # heads for training alone
Folded = dict[str, tuple[Tensor, Tensor]]  # part of the network -> weight, bias


def is_bundle(path: Path) -> bool:
    """Tell whether a path is the folder of a bundle."""
    return (path / bundle.MANIFEST).is_file()


def origin(folder: Path) -> Origin:
    """Return what a bundle rests on; one that does not tell is named itself."""
    manifest = bundle.told(folder)
    found = Origin.of(manifest.get("training", {}).get("origin"))
    return found or Origin(weights=(f"the bundle {manifest['name']}",))


def load(net: nn.Module, folder: Path, other_classes: bool = False) -> None:
    """Give a network the weights of a bundle's float segmentation network.

    Batch norms begin with a mean of 0 and a variance of 1: right for looking; before training, see settle. With
    other_classes the last layer may be of another number of them: it stays as it is then.

    Raises:
        FileNotFoundError: the bundle has no float network.
        ValueError: it is another network; the message names the part.
    """
    modules, found = dict(net.named_modules()), _folded(folder)
    last = modules.get(LAST)
    if other_classes and isinstance(last, nn.Conv2d) and LAST in found and len(last.weight) != len(found[LAST][0]):
        log.info("%s: other classes, the last layer begins anew", folder)
        assert last.bias is not None  # noqa: S101 - made with one
        found[LAST] = (last.weight.detach().clone(), last.bias.detach().clone())
    try:
        fill(net, found)
    except ValueError as fault:
        raise ValueError(f"{folder}: {fault}") from fault


def fill(net: nn.Module, found: Folded) -> None:
    """Give a network folded weights; batch norms get a mean of 0 and a variance of 1.

    Raises:
        ValueError: they are those of another network; the message names the part.
    """
    modules = dict(net.named_modules())
    left = {n for n, m in modules.items() if isinstance(m, nn.Conv2d)} - set(found)
    if left - {n for n in left if n.startswith(AUXILIARY)}:
        raise ValueError(f"the segmentation network has no {min(left)}, which this network has")
    with torch.no_grad():
        for name, (weight, bias) in found.items():
            part = modules.get(name)
            if not isinstance(part, nn.Conv2d) or part.weight.shape != weight.shape:
                raise ValueError(f"{name} is no part of this network, or of another shape")
            part.weight.copy_(weight)
            if part.bias is not None:
                part.bias.copy_(bias)
                continue
            norm = _norm_behind(modules, name)
            if norm is None:
                raise ValueError(f"no batch norm is behind {name}")
            _set(norm, bias, torch.zeros_like(bias), torch.ones_like(bias))


@torch.no_grad()
def fold(net: nn.Module) -> Folded:
    """Return the weights of a network's convolutions, each with the batch norm behind it, but for its auxiliary heads.

    Raises:
        ValueError: a batch norm is not behind a convolution without a bias.
    """
    modules, found, norms = dict(net.named_modules()), Folded(), set[nn.Module]()
    for name, part in modules.items():
        if not isinstance(part, nn.Conv2d) or name.startswith(AUXILIARY):
            continue
        weight, norm = part.weight.detach().clone(), _norm_behind(modules, name)
        if part.bias is None and norm is not None:
            mean, var = norm.running_mean, norm.running_var
            assert mean is not None and var is not None  # noqa: S101 - norms here have statistics
            gain = norm.weight / (var + norm.eps).sqrt()
            found[name] = (weight * gain.view(-1, 1, 1, 1), norm.bias - mean * gain)
            norms.add(norm)
        else:
            found[name] = (weight, torch.zeros(len(weight)) if part.bias is None else part.bias.detach().clone())
    for name, part in modules.items():
        if isinstance(part, nn.BatchNorm2d) and part not in norms and not name.startswith(AUXILIARY):
            raise ValueError(f"{name} is behind no convolution: the norms of a {type(net).__name__} cannot be folded")
    return found


def mean(networks: Sequence[Folded]) -> Folded:
    """Return the mean of the weights of networks with the same parts.

    Networks that went on from one another lie in one valley of the loss, and their mean is often better than each of
    them (Wortsman et al., arXiv 2109.01903 and 2203.05482).

    Raises:
        ValueError: the networks have other parts.
    """
    for name, (weight, _) in networks[0].items():
        if any(name not in one or one[name][0].shape != weight.shape for one in networks):
            raise ValueError(f"a mean of networks: {name} is not in all of them, or of another shape")

    def over(parts: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(parts)).mean(0)

    return {k: (over(one[k][0] for one in networks), over(one[k][1] for one in networks)) for k in networks[0]}


@dataclass(frozen=True)
class Teacher:
    """The segmentation network of a bundle, to look at pictures with, without relighting and class weights."""

    net: nn.Module
    names: tuple[str, ...]
    origin: Origin

    def predict(self, picture: data.Picture) -> Tensor:
        """Return the logits of RGB bytes H x W x 3, 1 x classes x h x w."""
        with torch.inference_mode():
            logits: Tensor = self.net(scoring.to_tensor(picture).contiguous(memory_format=torch.channels_last))
            return logits


def teacher(folder: Path) -> Teacher:
    """Return the network of a bundle that this trainer exported.

    Raises:
        FileNotFoundError, ValueError: there is no bundle, or its network is another one.
    """
    d = bundle.read(folder)
    net = registry.segment(registry.LITE, len(d.classes)).eval()
    load(net, folder)
    return Teacher(net, classes.names(d.classes), origin(folder))


def settle(net: nn.Module, pictures: Iterable[Tensor]) -> None:
    """Give the batch norms the statistics of pictures without changing what the network gives.

    Training takes the statistics of each batch: with others in the norms it would begin as another network.

    Args:
        net: a network that load has filled.
        pictures: batches, N x 3 x H x W in normalised units.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None]
    sums: dict[nn.BatchNorm2d, list[Tensor]] = {}

    def look(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0].double()
        seen = [torch.tensor(x.numel() / x.shape[1]), x.sum((0, 2, 3)), (x * x).sum((0, 2, 3))]
        before = sums.get(norm)  # type: ignore[call-overload]
        sums[norm] = seen if before is None else [a + b for a, b in zip(before, seen, strict=True)]  # type: ignore[index]

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    training = net.training
    net.eval()
    with torch.inference_mode():
        for x in pictures:
            net(x)
    net.train(training)
    for hook in hooks:
        hook.remove()
    for norm, (count, total, squares) in sums.items():
        mean = (total / count).float()
        var = (squares / count - (total / count) ** 2).clamp_min(0).float()
        with torch.no_grad():
            # What the norm adds to a channel in all; its eps and variance of 1 go out with its weight.
            _set(norm, norm.bias - norm.running_mean, mean, var)  # type: ignore[operator]


def _set(norm: nn.BatchNorm2d, added: Tensor, mean: Tensor, var: Tensor) -> None:
    """Let a norm add a constant to each channel and do nothing else, with those statistics."""
    norm.running_mean.copy_(mean)  # type: ignore[union-attr]
    norm.running_var.copy_(var)  # type: ignore[union-attr]
    norm.weight.copy_((var + norm.eps).sqrt())
    norm.bias.copy_(added + mean)


def _folded(folder: Path) -> Folded:
    manifest = bundle.told(folder)
    files = manifest["graphs"]["segment"]["files"]
    if "fp32" not in files:
        raise FileNotFoundError(f"{folder}: the bundle has no float segmentation network")
    graph = onnx.load(folder / files["fp32"]["file"]).graph
    constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    found: Folded = {}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in constants:  # weights are kept in float16
            constants[node.output[0]] = constants[node.input[0]].float()
        if node.op_type == "Conv":
            weight = constants[node.input[1]]
            bias = constants[node.input[2]] if len(node.input) > 2 else torch.zeros(weight.shape[0])
            found[_part(node.name)] = (weight.float(), bias.float())
    return found


def _part(node: str) -> str:
    """Return the part of the network that a node is of: encoder.stages.1.0 of /net/encoder/stages.1/stages.1.0/Conv."""
    parts: list[str] = []
    for one in node.strip("/").split("/")[1:-1]:  # the first is the export's wrapper, the last the operator
        if parts and one.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(one)
    return ".".join(parts)


def _norm_behind(modules: dict[str, nn.Module], name: str) -> nn.BatchNorm2d | None:
    place, _, at = name.rpartition(".")
    norm = modules.get(f"{place}.{int(at) + 1}") if at.isdigit() else None
    return norm if isinstance(norm, nn.BatchNorm2d) else None
