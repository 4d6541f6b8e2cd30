"""Hold the masks of `nightseg replay --out` against those of the plain Python loop, pixel by pixel.

Where the two differ it computes how far apart the two classes were there: a difference that is not a tie within
rounding is an error of one of them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import common
import python_loop as plain

TIE = 1e-3  # part of the range of the logits below which two classes count as tied: fp32, two decoders, two kernels


@dataclass(frozen=True)
class Compared:
    """What the comparison of a folder found."""

    frames: int
    equal_frames: int
    unequal_mean: float  # share of the pixels
    unequal_most: float  # in one frame
    gap_most: float  # largest distance of the two classes where they differ, as a part of the range of the logits

    def limits(self) -> list[common.Limit]:
        """Return the bound that the comparison is held to."""
        return [common.Limit("largest gap where masks differ, part of the logits' range", self.gap_most, TIE)]

    def as_dict(self) -> dict[str, object]:
        """Return the figures as JSON shows them."""
        return {
            "frames": self.frames,
            "equal_frames": self.equal_frames,
            "unequal_share_mean": self.unequal_mean,
            "unequal_share_most": self.unequal_most,
            "largest_gap": self.gap_most,
            "tie_below": TIE,
        }


def gap(full: plain.Floats, ours: plain.Picture, theirs: plain.Picture) -> float:
    """Return the largest distance between the classes of two masks where they differ, as a part of the range."""
    if ours.shape != theirs.shape:
        raise ValueError(f"masks of {ours.shape} and {theirs.shape}")
    rows, cols = np.nonzero(ours != theirs)
    if len(rows) == 0:
        return 0.0
    if max(int(theirs.max()), int(ours.max())) >= full.shape[2]:
        return 1.0  # unknown against a class: no tie
    apart = np.abs(full[rows, cols, ours[rows, cols]] - full[rows, cols, theirs[rows, cols]])
    return float(apart.max() / max(float(full.max() - full.min()), 1e-30))


def compare(images: Path, masks: Path, bundle: plain.Bundle, std: float, relight: bool, threads: int) -> Compared:
    """Compare the masks of a folder, named SEQ_mask.png, with what the Python loop makes of the pictures.

    Raises:
        ValueError: there are none, or more than pictures.
    """
    names = sorted(masks.glob("*_mask.png"))
    pictures = plain.list_pictures(images)
    if not names or len(names) > len(pictures):
        raise ValueError(f"{masks}: {len(names)} masks for {len(pictures)} pictures")
    weights = plain.class_weights(bundle.shares, std).astype(np.float32)
    networks = plain.Networks(bundle, threads, relight)
    shares, worst = [], 0.0
    for name in names:
        seq = int(name.name.split("_")[0])
        full = plain.enlarge(networks.logits(plain.read(pictures[seq], bundle.shape)), bundle, weights)
        own = full.argmax(axis=2).astype(np.uint8)
        theirs = np.asarray(Image.open(name))
        worst = max(worst, gap(full, own, theirs))
        shares.append(float(np.mean(own != theirs)))
    return Compared(len(names), shares.count(0.0), sum(shares) / len(shares), max(shares), worst)


def nightseg_masks(images: Path, out: Path, args: argparse.Namespace) -> None:
    """Let nightseg make the masks of the pictures with the float networks on ONNX Runtime's own provider."""
    command = [
        common.program(), "replay", str(images), "--rate", "max", "--precision", "fp32", "--provider", "cpu",
        "--threads", str(args.threads), "--bundle", str(args.bundle), "--relight", args.relight, "--gate", "always",
        "--out", str(out), "--json",
    ]  # fmt: skip
    if args.std is not None:
        command += ["--std", str(args.std)]
    if args.compared:
        command += ["--frames", str(args.compared)]
    common.call(command)


def run(args: argparse.Namespace, folder: Path) -> Compared:
    """Make masks with nightseg in a folder and compare them."""
    args.relight = common.relight_of(args)
    nightseg_masks(args.images, folder, args)
    bundle = plain.load_bundle(args.bundle)
    std = bundle.reweight if args.std is None else args.std
    return compare(args.images, folder, bundle, std, args.relight == "network", args.threads)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Add what this script and versus have in common."""
    p.add_argument("images", type=Path, nargs="?", default=common.NIGHT_SEQUENCE, help="folder of pictures")
    p.add_argument("--bundle", type=Path, default=common.BUNDLE, help="folder of the networks")
    common.add_relight(p)
    p.add_argument("--std", type=float, help="spread of the class weights (default: as the bundle says)")
    p.add_argument("--threads", type=int, default=2, help="of ONNX Runtime")
    p.add_argument("--compared", type=int, default=0, help="pictures whose masks are compared; 0: all")


def main(argv: list[str] | None = None) -> int:
    """Compare and print one JSON object; exit with 3 where masks differ by more than ties."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(p)
    p.add_argument("--masks", type=Path, required=True, help="folder for nightseg's masks (kept)")
    args = p.parse_args(argv)

    def work() -> None:
        found = run(args, args.masks)
        common.emit(found.as_dict())
        common.hold(found.limits(), check=True)

    return common.run_main(work)


if __name__ == "__main__":
    sys.exit(main())
