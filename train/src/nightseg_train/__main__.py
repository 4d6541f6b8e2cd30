"""Command line of the trainer: python -m nightseg_train COMMAND."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from nightseg_train import config as settings
from nightseg_train import (
    data,
    export,
    fit,
    losses,
    metrics,
    queue,
    runtime,
    scoring,
    student,
    submit,
    targets,
    teacher,
    timing,
)  # fmt: skip
from nightseg_train.classes import NAMES
from nightseg_train.data import check, shares

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = """examples:
  python -m nightseg_train train-first --config train/configs/street-11.yaml
  python -m nightseg_train export --checkpoint .cache/train/street-11/student.best.pt --quick
  python -m nightseg_train eval --bundle model/bundles/street-11 --set day_val
  python -m nightseg_train time-nets
  python -m nightseg_train fit --config train/configs/dannet-synth.yaml
  python -m nightseg_train check --set camvid --root ../shared/data/camvid_dusk
  python -m nightseg_train weights --labels ../shared/data/camvid_dusk/day_train/labels
  python -m nightseg_train submit --predictions masks --out dark-zurich.zip
"""
# Sets to choose on. The test sets are for `nightseg eval --look`, which logs each look.
SETS = {"day_val": "data/camvid_dusk/day_val", "night_dev": "data/msrs_night/night_dev"}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command, return the exit code (0 done, 1 failed, 2 bad usage)."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(args.threads)
    commands: dict[str, Callable[[argparse.Namespace], int | None]] = {
        "train-first": _train_first,
        "train-teacher": _train_teacher,
        "train-student": _train_student,
        "export": _export,
        "eval": _eval,
        "eval-espnet": _eval_espnet,
        "time-nets": _time_nets,
        "fit": fit.run,
        "targets": targets.run,
        "queue": queue.run,
        "check": check.run,
        "weights": shares.run,
        "submit": submit.run,
    }
    try:
        return commands[args.command](args) or 0
    except (OSError, ValueError, FloatingPointError) as fault:
        logging.getLogger(__name__).error("%s", fault)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nightseg_train",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    sub = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("train-first", "teacher, soft targets, student and bundle; goes on where it stopped"),
        ("train-teacher", "fine-tune the teacher only"),
        ("train-student", "teacher, soft targets and student"),
        ("export", "write the bundle of a checkpoint"),
    ):
        one = sub.add_parser(name, help=text)
        one.add_argument("--config", type=Path, default=ROOT / "train/configs/street-11.yaml")
    one.add_argument("--checkpoint", type=Path, help="student.pt, student.best.pt or student.last.pt")
    one.add_argument("--quick", action="store_true", help="try one calibration only")
    two = sub.add_parser("eval", help="score a bundle on a set to choose on")
    two.add_argument("--bundle", type=Path, default=ROOT / "model/bundles/street-11")
    two.add_argument("--set", choices=sorted(SETS), required=True)
    two.add_argument("--shared", type=Path, default=ROOT / settings.Config().shared)
    two.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    two.add_argument("--provider", choices=sorted(runtime.PROVIDERS), default="cpu")
    two.add_argument("--std", type=float, default=0.0, help="of the re-weighting")
    two.add_argument("--no-relight", action="store_true")
    three = sub.add_parser("eval-espnet", help="score the untouched Cityscapes weights on a labelled folder")
    three.add_argument("--images", type=Path, required=True)
    three.add_argument("--labels", type=Path, required=True)
    three.add_argument("--shared", type=Path, default=ROOT / settings.Config().shared)
    four = sub.add_parser("time-nets", help="time the candidate networks in float and int8, interleaved")
    four.add_argument("--provider", choices=sorted(runtime.PROVIDERS), default="openvino")
    four.add_argument("--rounds", type=int, default=40)
    fit.add_arguments(sub.add_parser("fit", help="train a method by a settings file; goes on where it stopped"))
    targets.add_arguments(sub.add_parser("targets", help="soft targets of an ensemble for pictures without labels"))
    queue.add_arguments(sub.add_parser("queue", help="many trainings, one after the other; goes on where it stopped"))
    check.add_arguments(sub.add_parser("check", help="check a data set: missing, broken or wrongly labelled files"))
    shares.add_arguments(sub.add_parser("weights", help="class shares and class weights of a folder of labels"))
    submit.add_arguments(sub.add_parser("submit", help="pack predictions for the Dark Zurich test server"))
    return parser


def _emit(values: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(values, indent=1) + "\n")


def _train_first(args: argparse.Namespace) -> None:
    config = settings.load(args.config)
    done = student.train(config, ROOT)
    _emit({"bundle": str(export.export(config, ROOT, done))})


def _train_teacher(args: argparse.Namespace) -> None:
    teacher.train(settings.load(args.config), ROOT)


def _train_student(args: argparse.Namespace) -> None:
    student.train(settings.load(args.config), ROOT)


def _export(args: argparse.Namespace) -> None:
    config = settings.load(args.config)
    source = args.checkpoint or ROOT / config.work / "student.pt"
    _emit({"bundle": str(export.export(config, ROOT, source, args.quick))})


def _eval(args: argparse.Namespace) -> None:
    net = runtime.Networks(args.bundle, args.precision, args.provider, args.threads)
    class_shares = json.loads((args.bundle / "bundle.json").read_text(encoding="utf-8"))["class_shares"]
    offset = np.log(losses.class_weights(class_shares, args.std).numpy())
    items = data.list_camvid(args.shared / SETS[args.set])
    _emit(scoring.as_dict(scoring.score_items(net.predictor(not args.no_relight), items, len(NAMES), offset)))


def _eval_espnet(args: argparse.Namespace) -> None:
    net = teacher.cityscapes(args.shared)
    total = np.zeros((len(NAMES), len(NAMES) + 1), np.int64)
    items = data.list_folder(args.images, args.labels)
    for item in items:
        if item.label is None:
            raise ValueError(f"{item.image} has no label")
        label = data.read_label(item.label, len(NAMES))
        with torch.inference_mode():
            logits = net.half_size(scoring.to_tensor(data.read_image(item.image)))
        mask = scoring.cityscapes_mask(logits, (label.shape[0], label.shape[1]))
        total += metrics.confusion(label, mask, len(NAMES))
    _emit(scoring.as_dict(metrics.score(total, len(items))))


def _time_nets(args: argparse.Namespace) -> None:
    sys.stdout.write(timing.table(timing.measure(args.provider, args.threads, args.rounds)))


if __name__ == "__main__":
    sys.exit(main())
