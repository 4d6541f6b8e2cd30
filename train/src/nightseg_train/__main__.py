"""Command line of the trainer: python -m nightseg_train COMMAND."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nightseg_train import config as settings
from nightseg_train import data, metrics, scoring, teacher
from nightseg_train.classes import NAMES

ROOT = Path(__file__).resolve().parents[3]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command, return the exit code (0 done, 1 failed, 2 bad usage)."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        command = {"eval-espnet": _eval_espnet, "train-teacher": _train_teacher}[args.command]
        command(args)
    except (FileNotFoundError, ValueError) as fault:
        logging.getLogger(__name__).error("%s", fault)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nightseg_train", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    sub = parser.add_subparsers(dest="command", required=True)
    one = sub.add_parser("eval-espnet", help="score the untouched Cityscapes weights on a labelled folder")
    one.add_argument("--images", type=Path, required=True)
    one.add_argument("--labels", type=Path, required=True)
    one.add_argument("--shared", type=Path, default=ROOT / settings.Config().shared)
    two = sub.add_parser("train-teacher", help="fine-tune the teacher only")
    two.add_argument("--config", type=Path, default=ROOT / "train/configs/street-11.yaml")
    return parser


def _emit(values: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(values, indent=1) + "\n")


def _eval_espnet(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    net = teacher.cityscapes(args.shared)
    total = np.zeros((len(NAMES), len(NAMES) + 1), np.int64)
    items = data.list_folder(args.images, args.labels)
    for item in items:
        if item.label is None:
            raise ValueError(f"{item.image} has no label")
        label = data.read_label(item.label, len(NAMES))
        with torch.inference_mode():
            logits = net.half(scoring.to_tensor(data.read_image(item.image)))
        mask = scoring.cityscapes_mask(logits, (label.shape[0], label.shape[1]))
        total += metrics.confusion(label, mask, len(NAMES))
    _emit(scoring.as_dict(metrics.score(total, len(items))))


def _train_teacher(args: argparse.Namespace) -> None:
    config = settings.load(args.config)
    torch.set_num_threads(config.threads)
    teacher.train(config, ROOT)


if __name__ == "__main__":
    sys.exit(main())
