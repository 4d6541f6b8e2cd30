"""List files: what is written is read, and errors name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

import trees
from nightseg_train.data import Item, lists


def test_round_trip(tmp_path: Path) -> None:
    items = [
        Item(trees.colour(tmp_path / "a/b 2.png"), trees.ids(tmp_path / "l/b.png")),
        Item(trees.colour(tmp_path / "a/1.png"), None),
    ]
    file = tmp_path / "lists/mine.txt"
    lists.write_list(items, file, tmp_path)
    assert file.read_text(encoding="utf-8") == "a/b 2.png,l/b.png\na/1.png\n"
    file.write_text("# mine\n\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert lists.read_list(file, tmp_path) == items


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("a.png\na.png,b.png,c.png\n", ValueError, r"mine\.txt:2: `image`"),
        ("#\nb.png\n", FileNotFoundError, r"mine\.txt:2: no file"),
        ("../a.png\n", ValueError, r"mine\.txt:1: .* below the root"),
        ("/a.png\n", ValueError, "below the root"),
        (",a.png\n", ValueError, "`image`"),
        ("# none\n", ValueError, "names no picture"),
    ],
)
def test_wrong_lists(tmp_path: Path, text: str, kind: type[Exception], said: str) -> None:
    trees.colour(tmp_path / "a.png")
    (tmp_path / "mine.txt").write_text(text, encoding="utf-8")
    with pytest.raises(kind, match=said):
        lists.read_list(tmp_path / "mine.txt", tmp_path)


def test_names_that_no_list_can_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="comma"):
        lists.write_list([Item(tmp_path / "a,b.png", None)], tmp_path / "x.txt", tmp_path)
    with pytest.raises(ValueError, match="does not lie below"):
        lists.write_list([Item(Path("/a.png"), None)], tmp_path / "x.txt", tmp_path)
