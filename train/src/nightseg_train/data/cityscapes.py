"""Cityscapes and Nighttime Driving: ..._leftImg8bit.png beside ..._gtFine_labelIds.png or ..._labelTrainIds.png.

Sources: the layout of the public downloads; for Nighttime Driving, the lists that users of DANNet made.
"""

from __future__ import annotations

from pathlib import Path

from nightseg_train.data.layout import Family, Part

_ARCHIVES = ("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip")
_COUNTS = {"train": 2975, "val": 500, "test": 1525}


def _cityscapes(_: Path) -> tuple[Part, ...]:
    # The published labels of the test split are void all over: nothing to train or to score on.
    return tuple(
        Part(
            name=split,
            images=f"leftImg8bit/{split}",
            image_ends=("_leftImg8bit.png",),
            labels=() if split == "test" else (f"gtFine/{split}",),
            label_ends=("_gtFine_labelTrainIds.png", "_gtFine_labelIds.png"),
            need=split != "test",
            count=count,
            archives=_ARCHIVES,
        )
        for split, count in _COUNTS.items()
    )


def _nighttime_driving(_: Path) -> tuple[Part, ...]:
    return (
        Part(
            name="test",
            images="leftImg8bit/test/night",
            image_ends=("_leftImg8bit.png",),
            labels=("gtCoarse_daytime_trainvaltest/test/night",),
            label_ends=("_gtCoarse_labelTrainIds.png", "_gtCoarse_labelIds.png"),
            need=True,
            count=50,
            homes=("", "NighttimeDrivingTest"),
        ),
    )


CITYSCAPES_SET = Family(
    "cityscapes",
    "leftImg8bit/{train,val,test}/CITY/X_leftImg8bit.png, gtFine/.../X_gtFine_{labelTrainIds,labelIds}.png",
    _cityscapes,
)
NIGHTTIME_DRIVING = Family(
    "nighttime-driving",
    "leftImg8bit/test/night/X_leftImg8bit.png, gtCoarse_daytime_trainvaltest/test/night/X_gtCoarse_label*.png; "
    "the root may be the folder above NighttimeDrivingTest",
    _nighttime_driving,
)
