"""From a row of a table to a record, by the columns that the options name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llm.corpora.base import Record, Unreadable
from llm.corpora.formats.base import ColumnOptions, Item
from llm.errors import CorpusError

_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 200


class RowError(ValueError):
    """A row that makes no record: the name of its defect, and the reason."""

    def __init__(self, defect: str, reason: str) -> None:
        super().__init__(reason)
        self.defect = defect


def row_item(
    row: Mapping[str, Any], options: ColumnOptions, *, origin: str, position: int, offset: int | None = None
) -> Item:
    """The record of a row by column; unreadable where a column is missing or holds no text."""
    try:
        fields: dict[str, str] = {field: _value(row, column) for field, column in options.columns.items()}
        group = None if options.group_column is None else _value(row, options.group_column)
    except RowError as error:
        return Unreadable(error.defect, str(error), origin, position, offset, str(row)[:_SHOWN])
    return Record(group, fields, origin, position)


def wanted_columns(options: ColumnOptions) -> list[str]:
    """The columns that are read."""
    return [*options.columns.values(), *([] if options.group_column is None else [options.group_column])]


def check_columns(present: Sequence[str], options: ColumnOptions, *, origin: str) -> None:
    """Raises CorpusError when a table whose columns are known beforehand lacks one."""
    for column in wanted_columns(options):
        if column not in present:
            raise CorpusError(
                f"{origin}: there is no column {column!r}", remedy=f"choose from {', '.join(map(repr, present))}"
            )


def _value(row: Mapping[str, Any], column: str) -> str:
    if column not in row:
        raise RowError("missing_column", f"there is no column {column!r}; there are {', '.join(map(repr, row))}")
    value = row[column]
    # A missing value becomes blank, and the cleaning step for that counts it.
    if value is None:
        return ""
    if type(value) is int:  # not a bool, which is a kind of int
        return str(value)
    if not isinstance(value, str):
        raise RowError(
            "not_text", f"column {column!r}: {str(value)[:80]!r} is {type(value).__name__}, neither text nor a number"
        )
    if not value.isascii() and (found := _SURROGATE.search(value)):
        raise RowError(
            "lone_surrogate", f"column {column!r}: U+{ord(found[0]):04X} at {found.start()} is half of a character"
        )
    return value
