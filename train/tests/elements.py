"""Pages parsed into elements, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Node:
    """An element of a parsed page."""

    tag: str
    attrs: dict[str, str]
    inside: list[Node | str] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Node]:
        """Yield the elements of that name below this one, in order."""
        for one in self.inside:
            if isinstance(one, Node):
                if one.tag == tag:
                    yield one
                yield from one.all(tag)

    def text(self) -> str:
        """Return all text below."""
        return "".join(one if isinstance(one, str) else one.text() for one in self.inside)

    def rows(self) -> list[list[str]]:
        """Return the texts of a table's cells."""
        return [[c.text() for c in r.inside if isinstance(c, Node)] for r in self.all("tr")][1:]


class Tree(HTMLParser):
    """Parses strictly: each element is closed by its own end tag."""

    def __init__(self, text: str) -> None:
        """Parse a page or an element."""
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert self.open == [self.root], f"never closed: {[n.tag for n in self.open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        node = Node(tag, {k: v or "" for k, v in attrs})
        self.open[-1].inside.append(node)
        if tag not in ("img", "meta", "br", "hr", "link", "input", "col"):
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that is open."""
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.open[-1].inside.append(data)
