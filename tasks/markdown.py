"""Pieces of the markdown pages that flow runs show: tables whose cells nothing can break out of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LONGEST_CELL = 120


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
