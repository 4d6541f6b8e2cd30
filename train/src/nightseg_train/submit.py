"""Packer of predictions for the server of Dark Zurich: a zip of labelTrainIds/, labelTrainIds_invalid/, confidence/.

    python -m nightseg_train submit --predictions DIR --out FILE.zip

Source: what the authors of DANNet, SePiCo and refign say of the server. Sources differ on the names in the zip: SePiCo
and refign keep `_rgb_anon`, BiMix strips it; --names chooses.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nightseg_train.classes import IGNORE
from nightseg_train.data import layout
from nightseg_train.data.dark_zurich import DARK_ZURICH, TEST_COUNT
from nightseg_train.data.ids import CITYSCAPES

SIZE = (1920, 1080)  # width, height of a picture of Dark Zurich
LABELS, INVALID, CONFIDENCE = "labelTrainIds", "labelTrainIds_invalid", "confidence"
ENDS = ("_rgb_anon.png", "_gt_labelTrainIds.png", ".png")  # of a prediction's file name
NAMES = {"keep": "_rgb_anon.png", "strip": ".png"}
DATE = (1980, 1, 1, 0, 0, 0)  # of every file in the zip, so that the same input gives the same bytes


@dataclass(frozen=True)
class Packed:
    """What was packed: the zip, its pictures per folder and how many the test set has, and where a folder came from."""

    out: str
    pictures: int
    expected: int
    invalid: str
    confidence: str


def predictions(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder, to its bottom, by stem; ..._color.png, which stand beside masks, do not count.

    Raises:
        FileNotFoundError: there is none.
        ValueError: two have the same stem.
    """
    out: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.png")):
        stem = layout.stem_of(path, ENDS)
        if stem is None or path.stem.endswith("_color"):
            continue
        if stem in out:
            raise ValueError(f"submit: {path} and {out[stem]} are the same picture; leave one")
        out[stem] = path
    if not out:
        raise FileNotFoundError(f"submit: no *.png in {folder}; write the masks as PNG pictures of train ids")
    return out


def check_mask(path: Path) -> None:
    """Check that a file is 1920x1080, 8-bit grey, of train ids 0 to 18 or 255.

    Raises:
        ValueError: it is not; the message names the file and a remedy.
    """
    ids = _grey(path, ("L",), "write train ids, not colours, as an 8-bit grey PNG")
    bad = (ids >= len(CITYSCAPES)) & (ids != IGNORE)
    if bool(bad.any()):
        raise ValueError(
            f"submit: {path} holds {int(ids[bad][0])}; write Cityscapes train ids 0 to "
            f"{len(CITYSCAPES) - 1} or {IGNORE}, not label ids"
        )


def check_confidence(path: Path) -> None:
    """Check that a file is a 1920x1080 picture of one channel, 8 or 16 bits.

    Raises:
        ValueError: it is not; the message names the file and a remedy.
    """
    _grey(path, ("L", "I;16", "I;16B", "I"), "write the confidence as a grey PNG of 8 or 16 bits")


def _grey(path: Path, modes: tuple[str, ...], remedy: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    try:
        with Image.open(path) as picture:
            picture.load()
            mode, size, kind = picture.mode, picture.size, picture.format
            values = np.asarray(picture).astype(np.int64)
    except (OSError, SyntaxError) as fault:
        raise ValueError(f"submit: {path} cannot be read ({fault}); write it again") from fault
    if kind != "PNG" or mode not in modes:
        raise ValueError(f"submit: {path} is {kind} of the mode {mode}; {remedy}")
    if size != SIZE:
        raise ValueError(f"submit: {path} is {size[0]}x{size[1]}; enlarge it to {SIZE[0]}x{SIZE[1]}")
    return values


def same_names(found: Mapping[str, Path], wanted: set[str], what: str) -> None:
    """Check that the pictures are those wanted.

    Raises:
        ValueError: some are missing or too many; the message names the first.
    """
    missing, surplus = sorted(wanted - found.keys()), sorted(found.keys() - wanted)
    if missing:
        raise ValueError(f"submit: {what}: {len(missing)} missing, such as {missing[0]}; predict all {len(wanted)}")
    if surplus:
        raise ValueError(f"submit: {what}: {len(surplus)} too many, such as {found[surplus[0]]}; take them out")


def _folder(folder: Path, wanted: set[str], what: str, check: Callable[[Path], None]) -> dict[str, Path]:
    found = predictions(folder)
    same_names(found, wanted, what)
    for path in found.values():
        check(path)
    return found


def _black() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.zeros((SIZE[1], SIZE[0]), np.uint8)).save(data, "PNG")
    return data.getvalue()


def pack(
    folder: Path,
    out: Path,
    invalid: Path | None = None,
    confidence: Path | None = None,
    root: Path | None = None,
    names: str = "keep",
) -> Packed:
    """Write the zip of a folder of predicted masks; nothing is written where anything is wrong.

    Args:
        folder: masks, 1920x1080 PNG of train ids; folders do not count, only names.
        out: the zip.
        invalid: the same masks with 255 where the network is not sure; left out, the masks themselves.
        confidence: the confidence of each pixel; left out, black pictures (enough for all but the UIoU).
        root: Dark Zurich, whose test pictures must be those predicted.
        names: "keep" or "strip" the `_rgb_anon` of the pictures' names.

    Raises:
        FileNotFoundError: a folder is empty, or root has no test pictures.
        ValueError: a picture is wrong, missing or too many; the message names it and a remedy.
    """
    masks = predictions(folder)
    if root is not None:
        same_names(masks, expected_names(root), "predictions")
    masks = _folder(folder, set(masks), "predictions", check_mask)
    marked = masks if invalid is None else _folder(invalid, set(masks), INVALID, check_mask)
    sure = {} if confidence is None else _folder(confidence, set(masks), CONFIDENCE, check_confidence)
    black = b"" if sure else _black()
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    with zipfile.ZipFile(part, "w") as zipped:
        for stem in sorted(masks):
            name = stem + NAMES[names]
            _add(zipped, f"{LABELS}/{name}", masks[stem].read_bytes())
            _add(zipped, f"{INVALID}/{name}", marked[stem].read_bytes())
            _add(zipped, f"{CONFIDENCE}/{name}", sure[stem].read_bytes() if sure else black)
    part.replace(out)
    return Packed(str(out), len(masks), TEST_COUNT, str(invalid or "the predictions"), str(confidence or "black"))


def _add(zipped: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, DATE)  # stored, not deflated: PNG is packed, and zlib's bytes vary with its version
    info.create_system = 3
    info.external_attr = 0o644 << 16
    zipped.writestr(info, data, zipfile.ZIP_STORED)


def expected_names(root: Path) -> set[str]:
    """Return the stems of the pictures in rgb_anon/test/night of Dark Zurich.

    Raises:
        FileNotFoundError: the folder or its pictures are missing; the message names the download.
    """
    part = next(p for p in DARK_ZURICH.parts(root) if p.name == "test/night")
    return {item.image.name.removesuffix(part.image_ends[0]) for item in layout.read_part(root, part)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command `submit`."""
    parser.description = "Check predictions of the Dark Zurich test set and pack them for its server."
    parser.add_argument("--predictions", type=Path, required=True, help="masks: 1920x1080 grey PNG of train ids")
    parser.add_argument("--out", type=Path, required=True, help="the zip to write")
    parser.add_argument("--invalid", type=Path, help="masks with 255 where not sure (default: the predictions)")
    parser.add_argument("--confidence", type=Path, help="confidence pictures (default: black, enough but for the UIoU)")
    parser.add_argument("--root", type=Path, help="Dark Zurich: compare the names with its test pictures")
    parser.add_argument("--names", choices=sorted(NAMES), default="keep", help="the _rgb_anon of the pictures' names")


def run(args: argparse.Namespace) -> None:
    """Run the command `submit`."""
    packed = pack(args.predictions, args.out, args.invalid, args.confidence, args.root, args.names)
    sys.stdout.write(json.dumps(asdict(packed), indent=1) + "\n")
    if packed.pictures != packed.expected:
        sys.stderr.write(f"submit: {packed.pictures} pictures, but the test set has {packed.expected}\n")
