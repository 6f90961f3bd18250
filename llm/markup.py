"""Pieces of self-contained HTML pages: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; color: #1b1f24; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: .2rem .6rem; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #c8ced6; font-weight: 600; } td.n, th.n { text-align: right; white-space: nowrap; }
td.bar { width: 40%; } .fill { background: #4c78a8; height: .8rem; } .drop { background: #d2691e; }
code { background: #f2f4f7; padding: 0 .2rem; word-break: break-word; } .quiet { color: #66707c; }
mark { background: #ffe3b8; } .worse { color: #a8380d; font-weight: 600; } .better { color: #1c6b3c; font-weight: 600; }
"""


class Markup(str):
    """HTML that was made here; every other string is text, and is escaped."""

    __slots__ = ()


def escaped(value: object) -> str:
    """A value as text; markup as it is."""
    return value if isinstance(value, Markup) else html.escape(str(value))


def page(title: str, parts: Iterable[str]) -> str:
    """A whole document; `parts` are HTML, `title` is text."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escaped(title)}</title>"
    return f"{head}<style>{_STYLE}</style>" + "\n".join(parts) + "</html>\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of text or markup under `head`; a column whose head ends in # holds figures."""
    kinds = [" class=n" if name.endswith("#") else "" for name in head]
    names = "".join(f"<th{kind}>{escaped(name.rstrip('#'))}</th>" for name, kind in zip(head, kinds, strict=True))
    lines = [f"<table><tr>{names}</tr>"]
    for row in rows:
        cells = [f"<td{_kind(cell, kind)}>{escaped(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join(lines) + "</table>" if len(lines) > 1 else "<p>none</p>"


class Bar(Markup):
    """Markup that is drawn across its cell."""

    __slots__ = ()


def bar(share: float, *, kind: str = "fill") -> Bar:
    """A bar of `share` of its column's width."""
    return Bar(f"<div class='{kind}' style='width:{100 * share:.1f}%'></div>")


def _kind(cell: object, kind: str) -> str:
    return " class=bar" if isinstance(cell, Bar) else kind
