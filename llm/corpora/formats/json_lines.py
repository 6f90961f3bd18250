"""JSON lines: one object a line, read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from llm.corpora.base import Unreadable
from llm.corpora.formats.base import FormatOptions, Item, OpenFile
from llm.corpora.formats.lines import Line, lines
from llm.corpora.formats.rows import RowError, row_item

_SHOWN = 200


def read_json_lines(files: Iterable[OpenFile], options: FormatOptions) -> Iterator[Item]:
    """The columns of each object; blank lines are passed over.

    Unreadable is what is no JSON object, repeats a key, nests too deep for the parser, or holds NaN or Infinity, which
    JSON does not have.
    """
    from orjson import loads  # here: a served model imports the sources' options, and does not need it

    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
    for file in files:
        for line in lines(file.stream, origin=file.name, longest=options.longest):
            if isinstance(line, Unreadable):
                yield line
            elif (row := _plain_row(line.text, loads)) is not None:
                yield row_item(row, options, origin=file.name, position=line.number, offset=line.offset)
            elif line.text and not line.text.isspace():
                yield _item(line, decoder, options, origin=file.name)


def _plain_row(text: str, loads: Callable[[str], Any]) -> dict[str, Any] | None:
    """The row of an object of nothing but strings and numbers; None where only the strict parser can tell.

    A key that is there twice is written twice, unless one is written in escapes.
    """
    try:
        row = loads(text)
    except ValueError:
        return None
    if type(row) is not dict or "\\u" in text:
        return None
    for key, value in row.items():
        if type(value) is not str and type(value) is not int:
            return None
        if text.count(f'"{key}"') != 1:
            return None
    return row


def _item(line: Line, decoder: json.JSONDecoder, options: FormatOptions, *, origin: str) -> Item:
    try:
        row = decoder.decode(line.text)
        if not isinstance(row, dict):
            raise RowError("not_an_object", f"{type(row).__name__}, not a JSON object")
    except RowError as error:
        defect, reason = error.defect, str(error)
    except RecursionError:
        defect, reason = "nested_too_deep", "nested deeper than the parser goes"
    except ValueError as error:
        defect, reason = "not_json", f"not JSON: {error}"
    else:
        return row_item(row, options, origin=origin, position=line.number, offset=line.offset)
    return Unreadable(defect, reason, origin, line.number, line.offset, line.text[:_SHOWN])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise RowError("duplicate_key", f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def _constant(name: str) -> NoReturn:
    raise RowError("not_a_number", f"{name} is not JSON")
