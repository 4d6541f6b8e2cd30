"""List files that users make: a line `image[,label]` per picture, relative to a root; # starts a comment."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from nightseg_train.data.folders import Item


def read_list(file: Path, root: Path) -> list[Item]:
    """Return the pictures of a list file in its order; label is None where a line names none.

    Raises:
        FileNotFoundError: a line names a file that is not there.
        ValueError: a line is not `image[,label]` with relative paths, or there is none. Both name file and line.
    """
    out = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = [c.strip() for c in line.split(",")]
        if len(cells) > 2 or not cells[0]:
            raise ValueError(f"{file}:{number}: `image` or `image,label` is needed, not {line.strip()!r}")
        paths = [_below(root, c, f"{file}:{number}") for c in cells if c]
        out.append(Item(paths[0], paths[1] if len(paths) > 1 else None))
    if not out:
        raise ValueError(f"{file}: the list names no picture")
    return out


def _below(root: Path, name: str, at: str) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"{at}: {name} is not a path below the root")
    path = root / relative
    if not path.is_file():
        raise FileNotFoundError(f"{at}: no file {path}")
    return path


def write_list(items: Iterable[Item], file: Path, root: Path) -> None:
    """Write a list file that read_list reads.

    Raises:
        ValueError: a file does not lie below root, or its name cannot stand in a list (a comma, a line break).
    """
    lines = []
    for item in items:
        paths = [item.image] if item.label is None else [item.image, item.label]
        if any(not p.is_relative_to(root) for p in paths):
            raise ValueError(f"{file}: {item.image} or its label does not lie below {root}")
        names = [p.relative_to(root).as_posix() for p in paths]
        if any("," in n or "\n" in n or n != n.strip() or n.startswith("#") for n in names):
            raise ValueError(
                f"{file}: a name with a comma, a line break or outer blanks cannot be listed: {names[0]!r}"
            )
        lines.append(",".join(names) + "\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(lines), encoding="utf-8")
