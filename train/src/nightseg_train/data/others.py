"""NightCity, BDD100K by night, and the plain folders of CamVid and MSRS.

Sources: the layouts of the public downloads, which their papers do not describe; for CamVid and MSRS, the folders that
this project was trained with (images/ and labels/ per split, and a manifest.csv with the columns split and name).
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from nightseg_train import classes
from nightseg_train.data.layout import Family, Part

MSRS_NAMES = classes.names(classes.MSRS)  # of the folders called ..._proxy


def _nightcity(_: Path) -> tuple[Part, ...]:
    return tuple(
        Part(
            name=split,
            images=f"images/{split}",
            labels=(f"label/{split}", f"labels/{split}"),
            label_ends=("_labelTrainIds.png", "_trainIds.png", "_labelIds.png", ".png"),
            need=True,
            count=count,
            homes=("", "NightCity"),
        )
        for split, count in (("train", 2998), ("val", 1299))
    )


def _bdd100k(_: Path) -> tuple[Part, ...]:
    return tuple(
        Part(
            name=f"{size}/{split}",
            images=f"images/{size}/{split}",
            image_ends=(".jpg",),
            labels=(f"labels/sem_seg/masks/{split}",) if split != "test" else (),
            need=size == "10k" and split != "test",
            archives=(
                f"bdd100k_images_{size}.zip",
                *(("bdd100k_sem_seg_labels_trainval.zip",) if size == "10k" else ()),
            ),
            homes=("", "bdd100k"),
        )
        for size in ("10k", "100k")
        for split in ("train", "val", "test")
    )


def night_names(file: Path) -> set[str]:
    """Return the stems of the night frames that a list names.

    The list is a text file with a name per line (folders and endings do not count), or the JSON of BDD100K's own
    labels: a list of objects with `name` and `attributes.timeofday`, of which "night" is taken.

    Raises:
        ValueError: the JSON is not such a list, or no frame is named.
    """
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        try:
            found = [f["name"] for f in json.loads(text) if f["attributes"]["timeofday"] == "night"]
        except (KeyError, TypeError, json.JSONDecodeError) as fault:
            raise ValueError(f"data: {file} is no list of frames with name and attributes.timeofday") from fault
    else:
        found = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not found:
        raise ValueError(f"data: {file} names no frame")
    return {Path(str(name)).stem for name in found}


def manifest_counts(root: Path) -> dict[str, int]:
    """Return the pictures per split that ROOT/manifest.csv names; nothing where there is no such file.

    Raises:
        ValueError: it has no column `split`.
    """
    path = root / "manifest.csv"
    counts: dict[str, int] = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                if row.get("split") is None:
                    raise ValueError(f"data: {path} has no column split")
                counts[row["split"]] = counts.get(row["split"], 0) + 1
    return counts


def _folders(root: Path) -> tuple[Part, ...]:
    """Return a part per folder of root that holds images/, or root itself as the part "all", or what is missing."""
    counts = manifest_counts(root)
    if (root / "images").is_dir():
        splits = [root]
    else:
        there = {p for p in root.iterdir() if (p / "images").is_dir()} if root.is_dir() else set()
        splits = sorted(there | {root / name for name in counts})
    out = []
    for split in splits:
        inside = "" if split == root else f"{split.name}/"
        labelled = (split / "labels").is_dir()
        out.append(
            Part(
                name=split.name if inside else "all",
                images=f"{inside}images",
                labels=(f"{inside}labels",) if labelled else (),
                need=labelled,
                classes=classes.MSRS if split.name.endswith("_proxy") else classes.CAMVID,
                count=counts.get(split.name),
            )
        )
    return tuple(out)


NIGHTCITY = Family(
    "nightcity",
    "images/{train,val}/X.png, label/{train,val}/X_labelIds.png (or _trainIds, _labelTrainIds, or X.png: train ids)",
    _nightcity,
)
BDD100K_NIGHT = Family(
    "bdd100k-night",
    "images/{10k,100k}/{train,val,test}/X.jpg, labels/sem_seg/masks/{train,val}/X.png (train ids), and a list of the "
    "night frames",
    _bdd100k,
)
CAMVID = Family("camvid", "SPLIT/images/X.jpg|png, SPLIT/labels/X.png (CamVid's 11), manifest.csv if any", _folders)
MSRS = Family(
    "msrs", "SPLIT/images, SPLIT/labels (CamVid's 11; folders ..._proxy: MSRS's 4), manifest.csv if any", _folders
)
