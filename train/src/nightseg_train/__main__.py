"""Command line of the trainer: python -m nightseg_train COMMAND."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

import torch

from nightseg_train import compare, evaluate, export, fit, queue, report, step_speed, submit, targets, timing
from nightseg_train.data import check, shares

EXAMPLES = """examples:
  python -m nightseg_train queue --config train/configs/street-11/queue.yaml
  python -m nightseg_train export --config train/configs/street-11/export.yaml --quick
  python -m nightseg_train eval --bundle model/bundles/street-11 --set day_val
  python -m nightseg_train time-nets
  python -m nightseg_train time-step
  python -m nightseg_train fit --config train/configs/dannet-synth.yaml
  python -m nightseg_train check --set camvid --root ../shared/data/camvid_dusk
  python -m nightseg_train check --set folder --root data/mine
  python -m nightseg_train weights --labels ../shared/data/camvid_dusk/day_train/labels
  python -m nightseg_train submit --predictions masks --out dark-zurich.zip
"""

# Each module has add_arguments(parser) and run(args), which returns an exit code or None.
COMMANDS: dict[str, tuple[ModuleType, str]] = {
    "fit": (fit, "train a method by a settings file; goes on where it stopped"),
    "targets": (targets, "soft targets of an ensemble for pictures without labels"),
    "queue": (queue, "many trainings, one after the other; goes on where it stopped"),
    "compare": (compare, "tables of many runs on labelled sets, with paired intervals"),
    "report": (report, "a training as one page of HTML"),
    "export": (export, "write the bundle of a run, or of released weights"),
    "eval": (evaluate, "score a bundle, a run or the untouched ESPNetv2 on a labelled set"),
    "time-nets": (timing, "time the candidate networks in float and int8, interleaved"),
    "time-step": (step_speed, "time a training step of DANNet against a plain one in float, and the edge pair's"),
    "check": (check, "check a data set: missing, broken or wrongly labelled files"),
    "weights": (shares, "class shares and class weights of a folder of labels"),
    "submit": (submit, "pack predictions for the Dark Zurich test server"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command, return the exit code (0 done, 1 failed, 2 bad usage)."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(args.threads)
    run: Callable[[argparse.Namespace], int | None] = COMMANDS[args.command][0].run
    try:
        return run(args) or 0
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
    for name, (module, text) in COMMANDS.items():
        module.add_arguments(sub.add_parser(name, help=text))
    return parser


if __name__ == "__main__":
    sys.exit(main())
