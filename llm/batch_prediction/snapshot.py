"""The result of a query as a file: JSON lines that also keep what JSON has no word for, such as times and bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from llm.files import read_jsonl

_MARK = "nightshift:"
# By name: the type, how a value of it is written and how it is read. datetime comes before date, which it is a kind of.
_KINDS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "decimal": (Decimal, str, Decimal),
    "uuid": (UUID, str, UUID),
    "bytes": (bytes, lambda value: base64.b64encode(value).decode(), base64.b64decode),
}


def write_snapshot(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """The names of the columns, then a line of values for each row."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps({"columns": list(columns)}) + "\n")
        for row in rows:
            file.write(json.dumps({"row": list(row)}, default=_marked) + "\n")


def read_snapshot(path: Path) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """The columns, and the rows as the database gave them."""
    found = read_jsonl(path)
    columns: list[str] = next(found)["columns"]
    return columns, (dict(zip(columns, map(_value, line["row"]), strict=True)) for line in found)


def _marked(value: Any) -> dict[str, str]:
    for name, (kind, write, _) in _KINDS.items():
        if isinstance(value, kind):
            return {_MARK + name: write(value)}
    return {_MARK + "text": str(value)}


def _value(value: Any) -> Any:
    if isinstance(value, dict) and len(value) == 1:
        name, text = next(iter(value.items()))
        if name == f"{_MARK}text":
            return text
        if name.startswith(_MARK):
            return _KINDS[name.removeprefix(_MARK)][2](text)
    return value
