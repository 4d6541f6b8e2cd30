"""Pictures of a user's own, the set `folder`: labelled pictures, drives without labels, and a file of the classes.

    ROOT/classes.json           the classes of all labels below ROOT; not needed where nothing is labelled
    ROOT/PART/images/...        pictures (PNG, JPEG), also in folders of their own
    ROOT/PART/labels/...        PNG of the same name at the same place: a class id per pixel, 255 for none
    ROOT/PART/...               a part without `images`: a drive without labels. Of one in the layout of Dark Zurich
                                the pictures below rgb_anon are taken, of one that `nightseg replay --out` wrote the
                                frames, not what was made of them.

`classes.json` maps each id to a class, from 0 on without a gap; 255 may be there to say what it is:

    {"0": {"name": "road", "colour": [128, 64, 128], "static": true},
     "1": {"name": "vehicle", "colour": [64, 0, 128], "static": false},
     "255": "ignore"}

A static class cannot move: DANNet teaches it from day to night, and nothing of it is pasted into night pictures.
"""

from __future__ import annotations

import json
from pathlib import Path

from nightseg_train.classes import IGNORE, Class
from nightseg_train.data.folders import SUFFIXES
from nightseg_train.data.layout import Family, Part

FILE = "classes.json"
FRAME = "_frame.png"  # of what `nightseg replay --out` writes; beside it lie mask, overlay and relit picture
EXAMPLE = '{"name": "road", "colour": [128, 64, 128], "static": true}'


def read_classes(file: Path) -> tuple[Class, ...]:
    """Return the classes of a file in the order of their ids.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file of classes; the message names the id and the remedy.
    """
    if not file.is_file():
        raise FileNotFoundError(f"data: no {file}, which names the classes: an entry is {EXAMPLE}")
    try:
        tree = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_once)
        if not isinstance(tree, dict):
            raise ValueError("ids and their classes are needed: {" + f'"0": {EXAMPLE}, ...' + "}")
        tree.pop(str(IGNORE), None)
        found = tuple(_class(tree, k) for k in _ids(tree))
        names = [c.name for c in found]
        doubled = next((n for n in names if names.count(n) > 1), None)
        if doubled is not None:
            raise ValueError(f"two classes have the name {doubled}; a name stands for one id")
    except ValueError as fault:  # of JSON, too
        raise ValueError(f"data: {file}: {fault}") from fault
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON, whose later doubles would otherwise silently count."""
    out = dict(pairs)
    if len(out) < len(pairs):
        keys = [k for k, _ in pairs]
        raise ValueError(f"{next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return out


def _ids(tree: dict[str, object]) -> range:
    wanted = range(len(tree))
    odd = next((k for k in tree if k not in {str(i) for i in wanted}), None)
    if odd is not None:
        raise ValueError(f"the id {odd!r} is none of 0 to {len(tree) - 1}: {len(tree)} classes have these ids, no gap")
    if not 2 <= len(tree) <= IGNORE:
        raise ValueError(f"{len(tree)} classes; 2 to {IGNORE} are possible")
    return wanted


def _class(tree: dict[str, object], k: int) -> Class:
    entry = tree[str(k)]
    if not isinstance(entry, dict):
        raise ValueError(f"the class {k} is {entry!r}, which has no colour: write {EXAMPLE}")
    name, colour, static = (entry.get(key) for key in ("name", "colour", "static"))
    lacking = [key for key in ("name", "colour", "static") if key not in entry]
    unknown = [key for key in entry if key not in ("name", "colour", "static")]
    if lacking or unknown:
        told = f"has no {lacking[0]}" if lacking else f"has an unknown {unknown[0]!r}"
        raise ValueError(f"the class {k} {told}: write {EXAMPLE}")
    if not isinstance(name, str) or not 1 <= len(name) <= 64 or name != name.strip():
        raise ValueError(f"the class {k}: the name {name!r} is not a text of 1 to 64 characters without outer blanks")
    if not isinstance(static, bool):
        raise ValueError(f"the class {k}, {name}: static is {static!r}, not true or false")
    if not isinstance(colour, list) or len(colour) != 3 or any(_no_byte(v) for v in colour):
        raise ValueError(f"the class {k}, {name}: the colour {colour!r} is not [red, green, blue], each 0 to 255")
    return Class(name, (colour[0], colour[1], colour[2]), static)


def _no_byte(value: object) -> bool:
    return not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255


def _parts(root: Path) -> tuple[Part, ...]:
    """Return a part per folder of root that holds pictures, or root itself as the part "all".

    Raises:
        FileNotFoundError: something is labelled, and there is no file of the classes.
        ValueError: the file of the classes is wrong.
    """
    if not root.is_dir():
        return ()
    splits = [root] if _has_folders(root) else sorted(p for p in root.iterdir() if p.is_dir() and _holds_pictures(p))
    labelled = any((s / "labels").is_dir() for s in splits)
    classes = read_classes(root / FILE) if labelled or (root / FILE).is_file() else ()
    return tuple(_part(root, split, classes) for split in splits)


def _has_folders(folder: Path) -> bool:
    return (folder / "images").is_dir() or (folder / "labels").is_dir()


def _holds_pictures(folder: Path) -> bool:
    if folder.name.startswith("."):
        return False
    return _has_folders(folder) or any(p.suffix.lower() in SUFFIXES for p in folder.rglob("*"))


def _part(root: Path, split: Path, classes: tuple[Class, ...]) -> Part:
    name, inside = ("all", Path()) if split == root else (split.name, Path(split.name))
    if _has_folders(split):
        labels = (str(inside / "labels"),) if (split / "labels").is_dir() else ()
        return Part(name, str(inside / "images"), labels=labels, need=bool(labels), classes=classes)
    if (split / "rgb_anon").is_dir():
        return Part(name, str(inside / "rgb_anon"), classes=classes)
    if (split / f"000000{FRAME}").is_file():
        return Part(name, str(inside), (FRAME,), classes=classes)
    return Part(name, str(inside), classes=classes)


FOLDER = Family(
    "folder",
    f"your own: PART/images/X.jpg|png, PART/labels/X.png (ids of {FILE} beside the parts), or PART/X.jpg|png alone",
    _parts,
)
