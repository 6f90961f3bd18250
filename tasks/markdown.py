"""Pieces of the markdown pages that flow runs show: tables whose cells nothing can break out of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LONGEST_CELL = 120
# What begins markup within a line; "#" and "-" do so only at its beginning, where we write.
_MARKUP = re.compile(r"[\\`*_\[\]<>|~$&]")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Line by line."""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    yield from (f"| {' | '.join(cell(value) for value in row)} |" for row in rows)


def cell(value: Any, *, longest: int = _LONGEST_CELL) -> str:
    """Text that cannot break out of its cell or of its line."""
    text = " ".join(str(value).split())
    text = text if len(text) <= longest else f"{text[:longest]}..."
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def plain(answer: Any) -> str:
    """An answer in one line: a text, or a record of label and score."""
    if isinstance(answer, Mapping):
        return ", ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in answer.values())
    return str(answer)


def escaped(text: Any, *, longest: int = _LONGEST_CELL) -> str:
    """Text of a user inside a page of ours: one line in which nothing is a link, a picture, a tag or a table's bar."""
    line = " ".join(str(text).split())
    line = line if len(line) <= longest else f"{line[:longest]}..."
    return _MARKUP.sub(r"\\\g<0>", line)
