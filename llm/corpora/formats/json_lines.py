"""JSON lines: one object a line, read strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, repeat
from typing import Any, NoReturn

from llm.corpora.base import Record, Unreadable
from llm.corpora.formats.base import FormatOptions, Item, OpenFile
from llm.corpora.formats.lines import Block, Line, blocks, lines_of
from llm.corpora.formats.rows import RowError, row_item, wanted_columns

_SHOWN = 200
_PLAIN = frozenset({str, int, float, bool, type(None)})
# A quote and a colon end a key; or the quote stands in a text, or opens one that begins with a colon.
_END_OF_KEY, _NO_END = re.compile(rb'"\s*:'), (re.compile(rb'\\"\s*:'), re.compile(rb':\s*"\s*:'))

Row = dict[str, Any]
Loads = Callable[[bytes], Any]


def read_json_lines(files: Iterable[OpenFile], options: FormatOptions) -> Iterator[Item]:
    """The columns of each object; blank lines are passed over.

    Unreadable is what is no JSON object, repeats a key, nests too deep for the parser, or holds NaN or Infinity, which
    JSON does not have.
    """
    from orjson import loads  # here: a served model imports the sources' options, and does not need it

    decoder = strict_decoder()
    for file in files:
        for block in blocks(
            file.stream, origin=file.name, longest=options.longest, number=file.line, offset=file.offset
        ):
            if isinstance(block, Unreadable):
                yield block
                continue
            rows = _plain_rows(block, loads, longest=options.longest)
            records = _records(rows, options, origin=file.name, number=block.number)
            yield from records or _one_by_one(block, rows, decoder, options, origin=file.name)


def _plain_rows(block: Block, loads: Loads, *, longest: int) -> list[Row | None]:
    """The rows that are objects of nothing but strings, numbers and constants, each key once; None: the strict parser
    has to tell.
    """
    if block.lost or max(map(len, block.lines)) > longest:
        return [None] * len(block.lines)
    rows = [_parsed(line, loads) for line in block.lines]
    plain = [row for row in rows if row is not None]
    text = b"\n".join(line for line, row in zip(block.lines, rows, strict=True) if row is not None)
    if set(map(type, chain.from_iterable(map(dict.values, plain)))) <= _PLAIN and _keys_are_single(text, plain):
        return rows
    return [
        row if row and set(map(type, row.values())) <= _PLAIN and _keys_are_single(line, [row]) else None
        for line, row in zip(block.lines, rows, strict=True)
    ]


def _parsed(line: bytes, loads: Loads) -> Row | None:
    try:
        row = loads(line)
    except ValueError:
        return None
    return row if type(row) is dict else None


def _keys_are_single(text: bytes, rows: list[Row]) -> bool:
    """True only if no row has a key twice: the parser keeps the last value of such a key, and says nothing."""
    expected = sum(map(len, rows))
    ends = len(_END_OF_KEY.findall(text))
    if ends == expected:
        return True
    # The end of a key that itself ends like one of these would be taken for one.
    return ends - sum(len(other.findall(text)) for other in _NO_END) == expected and not any(
        key.rstrip().endswith(("\\", ":")) for key in set(chain.from_iterable(rows))
    )


def _records(rows: list[Row | None], options: FormatOptions, *, origin: str, number: int) -> Iterator[Item] | None:
    """Records of the rows that begin at line `number`; None where one of them may not be one."""
    if not all(rows):
        return None
    wanted = options.columns
    columns = {name: [row.get(name) for row in rows if row] for name in wanted_columns(options)}
    if set(map(type, chain.from_iterable(columns.values()))) != {str}:
        return None
    values = zip(*(columns[name] for name in wanted.values()), strict=True)
    fields = [dict(zip(wanted, each, strict=True)) for each in values]
    groups = repeat(None) if options.group_column is None else columns[options.group_column]
    return map(Record, groups, fields, repeat(origin), count(number))


def _one_by_one(
    block: Block, rows: list[Row | None], decoder: json.JSONDecoder, options: FormatOptions, *, origin: str
) -> Iterator[Item]:
    columns = wanted_columns(options)
    offset = block.offset
    for number, (data, row) in enumerate(zip(block.lines, rows, strict=True), start=block.number):
        # To the fast parser, a whole number of more than 64 bits is a float.
        if row is not None and float not in map(type, map(row.get, columns)):
            yield row_item(row, options, origin=origin, position=number, offset=offset)
        else:
            alone = block._replace(number=number, offset=offset, lines=[data])
            for line in lines_of(alone, origin=origin, longest=options.longest):
                if isinstance(line, Unreadable):
                    yield line
                elif line.text and not line.text.isspace():
                    yield _item(line, decoder, options, origin=origin)
        offset += len(data) + block.lost + block.end


def _item(line: Line, decoder: json.JSONDecoder, options: FormatOptions, *, origin: str) -> Item:
    try:
        row = json_object(line, decoder)
    except RowError as error:
        return Unreadable(error.defect, str(error), origin, line.number, line.offset, line.text[:_SHOWN])
    return row_item(row, options, origin=origin, position=line.number, offset=line.offset)


def strict_decoder() -> json.JSONDecoder:
    """Refuses what JSON does not have, and keys that are there twice, with RowError."""
    return json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def json_object(line: Line, decoder: json.JSONDecoder) -> Row:
    """The object that a line holds, by a `strict_decoder`.

    Raises RowError when it holds none.
    """
    try:
        row = decoder.decode(line.text)
    except RecursionError:
        raise RowError("nested_too_deep", "nested deeper than the parser goes") from None
    except RowError:
        raise
    except ValueError as error:
        raise RowError("not_json", f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise RowError("not_an_object", f"{type(row).__name__}, not a JSON object")
    return row


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise RowError("duplicate_key", f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def _constant(name: str) -> NoReturn:
    raise RowError("not_a_number", f"{name} is not JSON")
