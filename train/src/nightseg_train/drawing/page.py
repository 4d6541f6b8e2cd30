"""HTML as nested calls, and the frame and style of a page that needs nothing beside itself."""

from __future__ import annotations

import html

VOID = ("img", "meta", "col")  # elements that are never closed


class Html(str):
    """Text that is HTML already; a plain string is escaped where it is put into an element."""

    __slots__ = ()


def el(tag: str, *inside: str, **attributes: str | float | None) -> Html:
    """Return an element.

    Args:
        tag: its name.
        inside: what stands in it; strings that are no Html are escaped.
        attributes: by name, None: left out; `_` stands for `-`, and one at the end is dropped (class_).
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is not None:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            parts.append(f'{name.rstrip("_").replace("_", "-")}="{html.escape(text)}"')
    head = f"<{' '.join(parts)}>"
    return Html(head) if tag in VOID else Html(f"{head}{join(*inside)}</{tag}>")


def join(*parts: str) -> Html:
    """Return parts one after the other; strings that are no Html are escaped."""
    return Html("".join(p if isinstance(p, Html) else html.escape(p, quote=False) for p in parts))


def shell(title: str, body: Html) -> str:
    """Return a whole page; its style is in it, and it asks for no other file."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", Html(STYLE)),
    )
    return f"<!doctype html>\n{el('html', head, el('body', el('main', body)), lang='en')}\n"


STYLE = """
:root { --paper: #f6f7f8; --card: #fff; --ink: #1c2127; --soft: #5d6773; --line: #dfe3e7; --hue: #2166ac;
  --wrong: #c4501b; --on: #fff; }
@media (prefers-color-scheme: dark) { :root { --paper: #101317; --card: #181c22; --ink: #e4e7eb; --soft: #97a1ad;
  --line: #2d343c; --hue: #74b3f0; --wrong: #f0935f; --on: #0d1116; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.35rem; margin: 48px 0 12px; }
h3 { font-size: 1rem; margin: 0 0 8px; }
p { margin: 4px 0 12px; }
a { color: var(--hue); }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 12px 0 20px; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; min-width: 0; }
.warn { border-left: 4px solid var(--wrong); margin: 12px 0; }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 310px), 1fr)); }
.tiles { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(145px, 1fr)); margin-bottom: 14px; }
.tile b { display: block; font-size: 1.8rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.two { display: grid; gap: 14px; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); align-items: start; }
.stack { display: grid; gap: 14px; min-width: 0; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 6px 20px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 400; padding: 3px 8px 3px 0; white-space: nowrap; }
thead th { color: var(--soft); font-size: .8rem; border-bottom: 1px solid var(--line); }
td { padding: 3px 0 3px 8px; text-align: right; white-space: nowrap; }
thead th + th { text-align: right; padding: 3px 0 3px 8px; }
td.bar { width: 45%; }
.bar div { height: 12px; border-radius: 3px; background: var(--hue); min-width: 1px; }
.swatch { display: inline-block; width: 13px; height: 13px; border-radius: 3px; margin-right: 7px; vertical-align: -1px;
  border: 1px solid rgb(128 128 128 / 60%); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 0 0 12px; padding: 0; list-style: none;
  font-size: .875rem; }
.wide { overflow-x: auto; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--ink); }
svg text.axis { fill: var(--soft); }
svg text.on { fill: var(--on); }
.gridline { stroke: var(--line); stroke-width: 1; }
.raw, .line { fill: none; stroke: var(--hue); stroke-linejoin: round; }
.raw { stroke-width: 1; opacity: .3; }
.line { stroke-width: 2; }
.best { stroke: var(--wrong); stroke-width: 1.5; stroke-dasharray: 4 3; }
.dot { fill: var(--hue); }
.right { fill: var(--hue); }
.false { fill: var(--wrong); }
.none { fill: var(--line); opacity: .5; }
.frame { margin-bottom: 18px; }
.frame p { margin: 0 0 6px; overflow-wrap: anywhere; }
.row { display: grid; gap: 8px; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
.row img { display: block; width: 100%; height: auto; border-radius: 5px; background: #000; }
pre { overflow-x: auto; font-size: .8rem; line-height: 1.4; margin: 12px 0 0; }
.card > p:last-child { margin-bottom: 0; }
summary { cursor: pointer; }
@media (max-width: 760px) { .two { grid-template-columns: minmax(0, 1fr); }
  .row { grid-template-columns: repeat(min(2, var(--columns)), minmax(0, 1fr)); }
  .row > figure:first-child:nth-last-child(3) { grid-column: 1 / -1; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; } dd { margin-bottom: 8px; } }
"""
