"""`export`: a bundle of a finished run, or of released weights: ONNX files, integer versions, golden vectors, manifest.

    python -m nightseg_train export --config train/configs/street-11/export.yaml
    python -m nightseg_train export --config train/configs/released.yaml

What is chosen here (calibration, std of the re-weighting) is chosen on the parts that the run's snapshots were chosen
on. docs/bundles.md says what the files are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from nightseg_train import (
    bundle,
    checkpoint,
    classes,
    config,
    data,
    fit,
    graphs,
    integer,
    loop,
    offsets,
    runs,
    runtime,
    scoring,
    shapes,
    streams,
)
from nightseg_train.bundle import About, Decision, Nets
from nightseg_train.data.ids import CITYSCAPES
from nightseg_train.data.shares import CITYSCAPES_SHARES
from nightseg_train.integer import Frames
from nightseg_train.methods import dannet
from nightseg_train.nets import lightnet, registry, released
from nightseg_train.nets.lightnet import LightNet
from nightseg_train.nets.relight import Relight
from nightseg_train.scoring import MODES
from nightseg_train.streams import Part


@dataclass(frozen=True)
class Golden(Part):
    """The picture of the golden vectors, by its number; it is handed on with the bundle, so take one that is yours."""

    index: int = 0


@dataclass(frozen=True)
class Pictures:
    """Night pictures for the integer versions.

    Attributes:
        parts: count pictures to calibrate on, and compare others to hold the result against float on, are spread over
            these parts.
        held_out: parts whose pictures are left out.
    """

    parts: tuple[Part, ...] = ()
    held_out: tuple[Part, ...] = ()
    count: int = 24
    compare: int = 12


@dataclass(frozen=True)
class Released:
    """Networks from files of DANNet's authors, or of works that keep their layout, with the classes of Cityscapes.

    Attributes:
        segment: file of the segmentation net; relight: of the LightNet, "" where there is none.
        net: which segmentation net it is: pspnet, deeplab or refinenet.
        size: height and width of the input, multiples of 4.
        reweight, std: of the class weights; the authors score with these.
        validate: labelled parts to score and choose on, if any.
    """

    segment: str = ""
    relight: str = ""
    net: str = "pspnet"
    size: tuple[int, int] = (540, 960)
    reweight: str = "logit"
    std: float = 0.16
    validate: tuple[fit.Validation, ...] = ()

    def __post_init__(self) -> None:
        """Refuse unknown choices.

        Raises:
            ValueError: a setting is none of its choices, or LightNet takes no such size.
        """
        if self.relight and any(n % lightnet.STRIDE for n in self.size):
            raise ValueError(f"released.size: {list(self.size)} are no multiples of {lightnet.STRIDE}")
        for name, choices in (("net", tuple(registry.DANNET)), ("reweight", MODES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"released.{name}: {getattr(self, name)!r} is not one of {', '.join(choices)}")


@dataclass(frozen=True)
class Export:
    """Settings. Paths are relative to the root of the checkout.

    Attributes:
        out: the bundle's folder; one that is there is replaced.
        about: name, version, licence and card.
        golden: the picture of the golden vectors.
        run, released: where the networks come from, one of the two: the folder of a run, or files of weights.
        integer: whether there is an integer version.
        pictures, percentiles, float_heads: it is calibrated on these pictures, in every way of these, and the best one
            is kept: ranges by the extremes or by one of the percentiles, the last layers in float or not.
        half_weights: float graphs store their weights in 16 bits.
        shapes: further heights and widths that the bundle's networks may be run at.
        raised, offsets: classes of a run that its network says too seldom, and what may be added to their logits.
        stds: spreads of the class weights that are tried; none: the run's own is taken.
    """

    out: str
    about: About
    golden: Golden
    run: str = ""
    released: Released = field(default_factory=Released)
    integer: bool = True
    pictures: Pictures = field(default_factory=Pictures)
    percentiles: tuple[float, ...] = (99.99, 99.999)
    float_heads: tuple[bool, ...] = (False, True)
    half_weights: bool = True
    shapes: tuple[tuple[int, int], ...] = ()
    raised: tuple[str, ...] = ()
    offsets: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    stds: tuple[float, ...] = (0.0, 0.05, 0.1, 0.16, 0.2)


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        nets: the networks.
        score: what scores them; None: nothing does.
        record: where they come from.
        log: of the training.
        rests: whose labels and weights they rest on, a sentence for the card.
    """

    nets: Nets
    score: fit.Score | None
    record: dict[str, object]
    log: Path | None = None
    rests: str = ""


def from_run(folder: Path, base: Path, raised: Sequence[str] = (), tried: Sequence[float] = ()) -> Source:
    """Return the networks of a run's best snapshot, with the logits of some classes raised (see Export).

    Raises:
        FileNotFoundError, ValueError: see runs.read, offsets.choose and offsets.fold; or its relight net is none.
    """
    run = runs.read(folder, base)
    s, own, modules = run.settings, run.settings.own(), run.method.modules()
    relight = modules.get("relight")
    if relight is not None and not isinstance(relight, LightNet | Relight):
        raise ValueError(f"export: {type(relight).__name__} is no relight net")
    mode = own.reweight if isinstance(own, dannet.Settings) else MODES[0]
    align = run.method.align_corners
    decision = Decision(run.classes, run.shares, s.size, align, mode, own.test_std)
    record: dict[str, object] = {
        "run": folder.name, "method": s.method, "config": config.digest(s), "seed": s.seed, "step": run.step,
        "scores": run.scores, "origin": asdict(run.origin),
    }  # fmt: skip
    score = fit.scorer(s.validate, base, run.names, s.size, align)
    if raised:
        look = runs.Look(relight=False, reweight=False)  # as it mostly runs; class weights are chosen after this
        found, rows = offsets.choose(lambda p: run.predict(p, look), score, run.names, raised, tried)
        offsets.fold(modules["segment"], found)
        record["raised"] = {"offsets": {n: float(found[run.names.index(n)]) for n in raised}, "tried": rows}
    rests = f"Rests on {run.origin.text()}."
    return Source(Nets(modules["segment"], relight, decision), score, record, folder / "log.csv", rests)


def from_released(s: Released, base: Path) -> Source:
    """Return networks with released weights.

    Raises:
        OSError, ValueError: a file is missing or does not fit its net.
    """
    segment, relight = registry.segment(s.net, len(CITYSCAPES)), LightNet() if s.relight else None
    record: dict[str, object] = {}
    for name, kind, file, net in (("segment", s.net, s.segment, segment), ("relight", "lightnet", s.relight, relight)):
        if net is not None:
            released.load(net, base / file)
            record[name] = {"net": kind, "file": Path(file).name, "sha256": checkpoint.sha256(base / file)}
            net.eval()
    decision = Decision(classes.CITYSCAPES, CITYSCAPES_SHARES, s.size, True, s.reweight, s.std)
    score = fit.scorer(s.validate, base, CITYSCAPES, s.size, True) if s.validate else None
    return Source(Nets(segment, relight, decision), score, {"released": record})


def read_frames(s: Pictures, size: tuple[int, int], base: Path) -> Frames:
    """Read pictures for the integer versions, spread over all parts, stretched to size (height, width).

    Raises:
        FileNotFoundError, ValueError: see streams.read; or there are too few pictures.
    """
    held_out = {i.image.name for i in streams.read(s.held_out, base)[0]}
    files = [i.image for i in streams.read(s.parts, base)[0] if i.image.name not in held_out]
    if min(s.count, s.compare) < 1 or len(files) < s.count + s.compare:
        raise ValueError(f"pictures: {len(files)} are too few for {s.count} to calibrate on and {s.compare} to compare")
    chosen = [files[int(i)] for i in np.linspace(0, len(files) - 1, s.count + s.compare).round()]
    other = chosen[1 :: len(chosen) // s.compare][: s.compare]
    rest = [f for f in chosen if f not in other]
    return Frames([data.read_image(f, size) for f in rest], [data.read_image(f, size) for f in other])


def read_golden(s: Golden, size: tuple[int, int], base: Path) -> data.Picture:
    """Return the golden picture, stretched to size (height, width).

    Raises:
        FileNotFoundError, ValueError: see streams.read; or there is no picture of that number.
    """
    items = streams.read([s], base)[0]
    if not 0 <= s.index < len(items):
        raise ValueError(f"golden: {s.set} {s.part} has {len(items)} pictures, none with the number {s.index}")
    return data.read_image(items[s.index].image, size)


def halve(folder: Path, size: tuple[int, int]) -> dict[str, float]:
    """Store the weights of the float graphs in 16 bits; return the differences. Integer versions are made before.

    Raises:
        ValueError: see graphs.halve.
    """
    random = np.random.default_rng(0)
    image, x = random.integers(0, 256, (1, *size, 3), dtype=np.uint8), random.normal(size=(1, 3, *size))
    inputs: dict[str, graphs.Values] = {"relight": image, "segment": x.astype(np.float32)}
    return {
        n: graphs.halve(folder / f"{n}.onnx", v) for n, v in inputs.items() if (folder / f"{n}.onnx").exists()
    }  # fmt: skip


def choose_std(net: runtime.Networks, source: Source, stds: Sequence[float]) -> tuple[Decision, list[dict[str, float]]]:
    """Return the decision with the best of the stds, by "choose", and what each scored; as it is where nothing is."""
    d = source.nets.decision
    if source.score is None or not stds:
        return d, []
    predict = scoring.remembered(net.predictor())
    rows = [{"std": std, **source.score(d.weighted(predict, std))} for std in stds]
    best = max(rows, key=lambda r: r[loop.CHOOSE])
    return replace(d, std=best["std"]), rows


def export(s: Export, base: Path, quick: bool = False) -> Path:
    """Write a bundle; quick tries one calibration only. Returns the bundle's folder.

    Raises:
        FileNotFoundError, ValueError: the run, a file or a picture is missing or does not fit; or see graphs.write.
    """
    if bool(s.run) == bool(s.released.segment):
        raise ValueError("export: networks are needed from one of the two, run or released.segment")
    if s.raised and not s.run:
        raise ValueError("export: raised: it is for the networks of a run; leave it empty")
    run = base / s.run
    source = from_run(run, base, s.raised, s.offsets) if s.run else from_released(s.released, base)
    size = source.nets.decision.size
    golden = read_golden(s.golden, size, base)
    frames = read_frames(s.pictures, size, base) if s.integer else None
    out = base / s.out
    with bundle.Replaced(out) as folder:
        training: dict[str, object] = source.record | {
            "parity_with_pytorch": shapes.export_at(source.nets, size, folder)
        }
        shapes.check(source.nets, folder, s.shapes)
        parts: dict[str, object] = {"shapes": [list(n) for n in (size, *s.shapes)]}
        if frames is not None:
            tries = integer.ways(source.nets, s.percentiles, s.float_heads)[: 1 if quick else None]
            chosen, tried = integer.choose(folder, source.nets, frames, source.score, tries)
            rows = [t.row() for t in tried]
            parts["calibration"] = {"frames": len(frames.calibration), "chosen": chosen.row(), "tried": rows}
        if s.half_weights:
            training["half_weights"] = halve(folder, source.nets.decision.size)
        decision, stds = choose_std(runtime.Networks(folder, bundle.precisions(folder)[-1]), source, s.stds)
        training |= scores(folder, source) | ({"reweight": stds} if stds else {})
        parts["golden"], openvino = bundle.write_golden(folder, golden, decision)
        parts |= {"training": training | {"openvino": openvino}, "tolerance": bundle.tolerances(folder, openvino)}
        if source.log is not None and source.log.exists():
            shutil.copy(source.log, folder / "training.csv")
        card = replace(s.about.card, data=f"{s.about.card.data} {source.rests}".strip())
        bundle.write(replace(s.about, card=card), decision, folder, parts)
    return out


def scores(folder: Path, source: Source) -> dict[str, object]:
    """Return what the float networks score, with and without the relight net; nothing where nothing scores them."""
    if source.score is None:
        return {}
    whole = runtime.Networks(folder, "fp32")
    found: dict[str, object] = {"fp32": dict(source.score(whole.predictor()))}
    if source.nets.relight is not None:
        found["fp32_without_relight"] = dict(source.score(whole.predictor(relight=False)))
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--config", type=Path, required=True, help="settings of the bundle (YAML)")
    parser.add_argument("--run", type=Path, help="folder of a run, instead of the settings'")
    parser.add_argument("--out", type=Path, help="the bundle's folder, instead of the settings'")
    parser.add_argument("--quick", action="store_true", help="try one calibration only")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    s = config.read(Export, args.config)
    if args.run is not None:
        s = replace(s, run=str(args.run.resolve()))
    if args.out is not None:
        s = replace(s, out=str(args.out.resolve()))
    sys.stdout.write(json.dumps({"bundle": str(export(s, config.ROOT, args.quick))}, indent=1) + "\n")
