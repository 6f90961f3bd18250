"""Values of rows as JSON, as cells of text, and which kind a column of a typed table has to be."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, Literal

Kind = Literal["text", "integer", "float", "boolean", "datetime", "date", "bytes"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGEST_INTEGER = 1 << 63
_KINDS: dict[type, Kind] = {
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "float",
    datetime: "datetime",
    date: "date",
    bytes: "bytes",
}


def as_json(value: Any) -> str:
    """One value as JSON; what JSON has no word for becomes text (bytes: base64), and NaN and infinity null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(value: Any) -> str | None:
    """A value in a column of texts: text as it is, anything else as in JSON; None stays None.

    Half a character (a lone surrogate, which UTF-8 cannot write) becomes its escape.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool | int | float | Mapping | list | tuple):
        text = as_json(value)
    else:
        text = str(_plain(value))
    if not text.isascii() and _SURROGATE.search(text):
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def kinds_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Kind]:
    """By name in the order of their first appearance, a kind for each column that holds all of its values."""
    seen: dict[str, set[Kind]] = {}
    for row in rows:
        for name, value in row.items():
            kinds = seen.setdefault(name, set())
            if value is not None:
                kinds.add(_kind(value))
    return {name: _joint(kinds) for name, kinds in seen.items()}


def _kind(value: Any) -> Kind:
    kind = _KINDS.get(type(value), "text")
    if kind == "integer" and not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        return "text"
    if kind == "datetime" and value.tzinfo is not None:
        return "text"  # tables differ in what they make of time zones; ISO 8601 says it
    return kind


def _joint(kinds: set[Kind]) -> Kind:
    if len(kinds) == 1:
        return next(iter(kinds))
    return "float" if kinds == {"integer", "float"} else "text"


def fitted(value: Any, kind: Kind) -> Any:
    """A value as its column holds it."""
    if kind == "text":
        return as_text(value)
    return float(value) if kind == "float" and value is not None else value
