"""Night and day pictures of one place: read from a list, or found by position, by time or by order.

Sources: corresp/ of Dark Zurich (rows `dark,day` per sequence, no header), DANNet's list (`night,day`, no suffix).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightseg_train.data.dark_zurich import IMAGE_END
from nightseg_train.data.layout import place

EARTH = 6_371_008.8  # mean radius in metres


@dataclass(frozen=True)
class Pair:
    """A dark picture (night or twilight) and a day picture of about the same place."""

    dark: Path
    day: Path


@dataclass(frozen=True)
class Row:
    """One line of a list: the names of a pair below the folder of the pictures, and where the line stands."""

    dark: str
    day: str
    file: Path
    line: int


def read_rows(file: Path) -> list[Row]:
    """Return the lines of a list `dark,day` without header.

    Raises:
        ValueError: a line has not two names, or there is none; file and line are named.
    """
    out = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        cells = [c.strip() for c in line.split(",")]
        if cells == [""]:
            continue
        if len(cells) != 2 or not all(cells):
            raise ValueError(f"{file}:{number}: `dark,day` is needed, not {line!r}")
        out.append(Row(cells[0], cells[1], file, number))
    if not out:
        raise ValueError(f"{file}: the list names no pair")
    return out


def correspondence_rows(home: Path, time: str = "night") -> list[Row]:
    """Return the lines of all HOME/corresp/train/TIME/**/*_ref_day.csv, file after file in natural order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: see read_rows.
    """
    base = home / "corresp" / "train" / time
    files = sorted(base.rglob("*_ref_day.csv"), key=lambda p: place(p, base))
    if not files:
        raise FileNotFoundError(f"pairs: no *_ref_day.csv in {base}; it is in Dark_Zurich_train_anon.zip")
    return [row for f in files for row in read_rows(f)]


def partners(row: Row, pictures: Path, end: str = IMAGE_END) -> Pair:
    """Return the files that a line names below the folder of the pictures, whether they are there or not."""
    return Pair(pictures / f"{row.dark}{end}", pictures / f"{row.day}{end}")


def resolve(rows: Iterable[Row], pictures: Path, end: str = IMAGE_END) -> list[Pair]:
    """Return the pairs of lines.

    Args:
        rows: the lines.
        pictures: the folder that the names are relative to: for Dark Zurich, ROOT/rgb_anon.
        end: what the names lack of the files' names.

    Raises:
        FileNotFoundError: a picture is not there; the list's file and line are named.
    """
    out = []
    for row in rows:
        pair = partners(row, pictures, end)
        for path in (pair.dark, pair.day):
            if not path.is_file():
                raise FileNotFoundError(f"{row.file}:{row.line}: no picture {path}")
        out.append(pair)
    return out


def from_correspondences(home: Path, time: str = "night") -> list[Pair]:
    """Return the pairs that Dark Zurich publishes for its "night" or "twilight" pictures of training.

    Raises:
        FileNotFoundError, ValueError: see correspondence_rows and resolve.
    """
    return resolve(correspondence_rows(home, time), home / "rgb_anon")


def from_list(file: Path, pictures: Path, end: str = IMAGE_END) -> list[Pair]:
    """Return the pairs of one list in DANNet's form: the night first, no header, names without end.

    Raises:
        FileNotFoundError, ValueError: see read_rows and resolve.
    """
    return resolve(read_rows(file), pictures, end)


def write_list(pairs: Iterable[Pair], file: Path, pictures: Path, end: str = IMAGE_END) -> None:
    """Write a list that from_list reads.

    Raises:
        ValueError: a picture does not lie below the folder, does not have the end, or has a comma in its name.
    """
    lines = []
    for pair in pairs:
        names = []
        for path in (pair.dark, pair.day):
            name = path.relative_to(pictures).as_posix() if path.is_relative_to(pictures) else ""
            if not name.endswith(end) or "," in name:
                raise ValueError(f"{file}: {path} cannot be listed: below {pictures}, *{end}, no comma")
            names.append(name.removesuffix(end))
        lines.append(",".join(names) + "\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(lines), encoding="utf-8")


def read_numbers(file: Path, columns: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Return numbers per picture from a CSV with the columns stem and columns; a header line of these names may lead.

    Raises:
        ValueError: a line has not these columns, a value is no finite number, or a stem comes twice; file and line are
            named.
    """
    out: dict[str, tuple[float, ...]] = {}
    header = ["stem", *columns]
    with file.open(encoding="utf-8", newline="") as rows:
        reader = csv.reader(rows)
        for cells in reader:
            cells = [c.strip() for c in cells]
            if not any(cells) or (cells == header and not out):
                continue
            at = f"{file}:{reader.line_num}"
            if len(cells) != len(header):
                raise ValueError(f"{at}: `{','.join(header)}` is needed, not {','.join(cells)!r}")
            try:
                values = tuple(float(c) for c in cells[1:])
            except ValueError as fault:
                raise ValueError(f"{at}: {fault}") from fault
            if not all(math.isfinite(v) for v in values):
                raise ValueError(f"{at}: {','.join(cells[1:])} is not finite")
            if cells[0] in out:
                raise ValueError(f"{at}: {cells[0]} comes twice")
            out[cells[0]] = values
    return out


def read_gps(file: Path) -> dict[str, tuple[float, ...]]:
    """Return latitude and longitude in degrees per picture from a CSV `stem,latitude,longitude`.

    Raises:
        ValueError: see read_numbers; also a latitude beyond 90 or a longitude beyond 180.
    """
    out = read_numbers(file, ("latitude", "longitude"))
    for stem, (latitude, longitude) in out.items():
        if abs(latitude) > 90 or abs(longitude) > 180:
            raise ValueError(f"{file}: {stem} at {latitude},{longitude} is nowhere; latitude comes first")
    return out


def haversine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances in metres, N x M, of points N x 2 and M x 2 (latitude, longitude in degrees) on a sphere."""
    p, q = np.radians(a)[:, None, :], np.radians(b)[None, :, :]
    half = np.sin((q - p) / 2) ** 2
    inside = half[..., 0] + np.cos(p[..., 0]) * np.cos(q[..., 0]) * half[..., 1]
    out: NDArray[np.float64] = 2 * EARTH * np.arcsin(np.sqrt(np.clip(inside, 0, 1)))
    return out


def stem(path: Path, end: str = IMAGE_END) -> str:
    """Return the name under which a picture stands in a CSV: without end, or else without its suffix."""
    return path.name.removesuffix(end) if path.name.endswith(end) else path.stem


def from_gps(
    dark: Sequence[Path], day: Sequence[Path], positions: Mapping[str, Sequence[float]], metres: float
) -> list[Pair]:
    """Return each dark picture with the nearest day picture, where that is at most so many metres away.

    Pictures without a position are left out; of two day pictures at one distance the earlier in the list is taken.

    Args:
        dark: dark pictures.
        day: day pictures.
        positions: latitude and longitude in degrees by stem (see read_gps and stem).
        metres: the largest distance.

    Raises:
        ValueError: metres is not above 0, or not one pair is found.
    """
    if not metres > 0:
        raise ValueError(f"pairs: a distance of {metres} m is not above 0")
    darks = [p for p in dark if stem(p) in positions]
    days = [p for p in day if stem(p) in positions]
    if not darks or not days:
        raise ValueError(f"pairs: positions of {len(darks)} dark and {len(days)} day pictures: no pair can be found")
    there = np.array([positions[stem(p)] for p in days], np.float64)
    out = []
    for picture in darks:
        away = haversine(np.array([positions[stem(picture)]], np.float64), there)[0]
        nearest = int(away.argmin())
        if away[nearest] <= metres:
            out.append(Pair(picture, days[nearest]))
    if not out:
        raise ValueError(f"pairs: no day picture lies within {metres} m of a dark one")
    return out


def from_order(dark: Sequence[Path], day: Sequence[Path]) -> list[Pair]:
    """Return each dark picture with the day picture at the same share of its sequence.

    Of n dark and m day pictures, dark i goes with day floor((i + 1/2) m / n): for drives along one route at one pace.

    Raises:
        ValueError: a sequence is empty.
    """
    if not dark or not day:
        raise ValueError(f"pairs: {len(dark)} dark and {len(day)} day pictures: no pair can be made")
    n, m = len(dark), len(day)
    return [Pair(p, day[(2 * i + 1) * m // (2 * n)]) for i, p in enumerate(dark)]


def from_time(dark: Sequence[Path], day: Sequence[Path], seconds: Mapping[str, Sequence[float]]) -> list[Pair]:
    """Return each dark picture with the day picture nearest in time, both drives stretched to the same length.

    Args:
        dark: the dark pictures of one drive.
        day: the day pictures of one drive along the same route.
        seconds: time of each picture by stem (see read_numbers with the column "seconds" and stem); any origin.

    Raises:
        ValueError: a sequence is empty, a picture has no time, or all of a drive have the same.
    """
    a, b = _shares(dark, seconds), _shares(day, seconds)
    return [Pair(p, day[int(np.abs(b - share).argmin())]) for p, share in zip(dark, a, strict=True)]


def _shares(pictures: Sequence[Path], seconds: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
    lacking = next((p for p in pictures if stem(p) not in seconds), None)
    if lacking is not None:
        raise ValueError(f"pairs: no time of {lacking}")
    times = np.array([seconds[stem(p)][0] for p in pictures], np.float64)
    if times.size == 0 or (times.size > 1 and np.ptp(times) == 0):
        raise ValueError("pairs: a drive without pictures, or all its pictures of one time")
    out: NDArray[np.float64] = (times - times.min()) / max(float(np.ptp(times)), 1e-9)
    return out
