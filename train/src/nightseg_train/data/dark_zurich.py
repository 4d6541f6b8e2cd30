"""Dark Zurich, ACDC, which shares its names, and the made-up streets of `nightseg synth`, which share its layout.

Source of the layouts: the public downloads and the loaders of DANNet, MGCDA, refign and BiMix.
"""

from __future__ import annotations

from pathlib import Path

from nightseg_train.classes import CAMVID
from nightseg_train.data.layout import Family, Part

IMAGE_END = "_rgb_anon.png"
LABEL_ENDS = ("_gt_labelTrainIds.png", "_gt_labelIds.png")
# Files that the published ground truth has per frame; invGray: 255 where a person sees nothing without the day picture.
VARIANTS = ("labelTrainIds", "labelIds", "labelColor", "invGray")
TEST_COUNT = 151
_TRAIN, _VAL, _TEST = "Dark_Zurich_train_anon", "Dark_Zurich_val_anon", "Dark_Zurich_test_anon"
_DARK_ZURICH = (
    ("train/day", 3041, _TRAIN),
    ("train/night", 2416, _TRAIN),
    ("train/twilight", 2920, _TRAIN),
    ("val/night", 50, _VAL),
    ("val_ref/day", 50, _VAL),
    ("test/night", TEST_COUNT, _TEST),
    ("test_ref/day", TEST_COUNT, _TEST),
)
_ACDC = {"train": 400, "val": 100, "test": 500}  # of each condition; the night has 106 in val


def _dark_zurich(_: Path) -> tuple[Part, ...]:
    out = []
    for name, count, home in _DARK_ZURICH:
        archive = f"{home}_withoutGt.zip" if home == _TEST else f"{home}.zip"
        out.append(
            Part(
                name=name,
                images=f"rgb_anon/{name}",
                image_ends=(IMAGE_END,),
                labels=(f"gt/{name}",) if name in ("val/night", "test/night") else (),
                label_ends=LABEL_ENDS,
                need=name == "val/night",  # the labels of test are with the server
                count=count,
                archives=(archive,),
                homes=("", home, archive.removesuffix(".zip")),
            )
        )
    return tuple(out)


def _acdc(_: Path) -> tuple[Part, ...]:
    out = []
    for weather in ("fog", "night", "rain", "snow"):
        for split, usual in _ACDC.items():
            count = 106 if (weather, split) == ("night", "val") else usual
            out.append(
                Part(
                    name=f"{weather}/{split}",
                    images=f"rgb_anon/{weather}/{split}",
                    image_ends=(IMAGE_END,),
                    labels=(f"gt/{weather}/{split}",),
                    label_ends=LABEL_ENDS,
                    need=split != "test",
                    count=count,
                    archives=("rgb_anon_trainvaltest.zip", "gt_trainval.zip"),
                )
            )
            out.append(
                Part(
                    name=f"{weather}/{split}_ref",
                    images=f"rgb_anon/{weather}/{split}_ref",
                    image_ends=("_rgb_ref_anon.png",),
                    count=count,
                    archives=("rgb_anon_trainvaltest.zip",),
                )
            )
    return tuple(out)


def _synth(root: Path) -> tuple[Part, ...]:
    base = root / "rgb_anon"
    times = sorted(t for s in base.iterdir() if s.is_dir() for t in s.iterdir() if t.is_dir()) if base.is_dir() else []
    return tuple(
        Part(
            name=t.relative_to(base).as_posix(),
            images=t.relative_to(root).as_posix(),
            image_ends=(IMAGE_END,),
            labels=(f"gt/{t.relative_to(base).as_posix()}",),
            label_ends=LABEL_ENDS[:1],
            need=True,
            classes=CAMVID,
        )
        for t in times
    )


def ground_truth(image: Path, variant: str) -> Path:
    """Return the file of the ground truth of a picture ROOT/rgb_anon/.../X_rgb_anon.png: ROOT/gt/.../X_gt_VARIANT.png.

    Raises:
        ValueError: variant is none of VARIANTS, or the picture does not lie in the layout of Dark Zurich.
    """
    if variant not in VARIANTS:
        raise ValueError(f"data: {variant} is no ground truth of Dark Zurich; there are {', '.join(VARIANTS)}")
    parts = list(image.parts)
    if "rgb_anon" not in parts or not image.name.endswith(IMAGE_END):
        raise ValueError(f"data: {image} does not lie below rgb_anon, or does not end in {IMAGE_END}")
    parts[len(parts) - 1 - parts[::-1].index("rgb_anon")] = "gt"
    return Path(*parts).with_name(f"{image.name.removesuffix(IMAGE_END)}_gt_{variant}.png")


DARK_ZURICH = Family(
    "dark-zurich",
    "rgb_anon/{train/{day,night,twilight},val/night,val_ref/day,test/night,test_ref/day}/SEQ/X_rgb_anon.png, "
    "gt/{val,test}/night/SEQ/X_gt_{labelTrainIds,labelIds}.png, corresp/train/{night,twilight}/**/*_ref_day.csv; "
    "the root may be the folder above Dark_Zurich_{train,val,test}_anon",
    _dark_zurich,
)
ACDC = Family(
    "acdc",
    "rgb_anon/{fog,night,rain,snow}/{train,val,test}/SEQ/X_rgb_anon.png, "
    "rgb_anon/{fog,night,rain,snow}/{train,val,test}_ref/SEQ/X_rgb_ref_anon.png, "
    "gt/{fog,night,rain,snow}/{train,val}/SEQ/X_gt_{labelTrainIds,labelIds}.png",
    _acdc,
)
SYNTH = Family(
    "synth", "rgb_anon/SPLIT/TIME/SEQ/X_rgb_anon.png, gt/SPLIT/TIME/SEQ/X_gt_labelTrainIds.png (CamVid's 11)", _synth
)
