"""CSV (RFC 4180) and TSV, row by row: a row that is wrong costs itself and no other."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator

from llm.corpora.base import Unreadable
from llm.corpora.formats.base import FormatOptions, Item, OpenFile
from llm.corpora.formats.lines import Line, lines
from llm.corpora.formats.rows import check_columns, row_item
from llm.errors import CorpusError

_SHOWN = 200
# A row and where it begins.
Row = tuple[Line, list[str]]


def read_csv(files: Iterable[OpenFile], options: FormatOptions) -> Iterator[Item]:
    """Commas part the columns; a quoted cell may hold commas, quotes (doubled) and line ends.

    Raises CorpusError when the header lacks a column or has one twice.
    """
    for file in files:
        yield from _items(quoted_rows(file, options), file, options)


def read_tsv(files: Iterable[OpenFile], options: FormatOptions) -> Iterator[Item]:
    """Tabs part the columns, line ends the rows, and quotes mean nothing.

    Raises CorpusError when the header lacks a column or has one twice.
    """
    for file in files:
        yield from _items(plain_rows(file, options), file, options)


def _items(rows: Iterator[Row | Unreadable], file: OpenFile, options: FormatOptions) -> Iterator[Item]:
    names: list[str] | None = None
    for row in rows:
        if isinstance(row, Unreadable):
            yield row
            continue
        line, cells = row
        if names is None:
            names = cells if options.header else [str(number) for number in range(1, len(cells) + 1)]
            check_header(names, options, origin=file.name)
            if options.header:
                continue
        if len(cells) == len(names):
            columns = dict(zip(names, cells, strict=True))
            yield row_item(columns, options, origin=file.name, position=line.number, offset=line.offset)
        else:
            reason = f"{len(cells)} cells, where there are {len(names)} columns"
            yield Unreadable("cells", reason, file.name, line.number, line.offset, line.text[:_SHOWN])


def check_header(names: list[str], options: FormatOptions, *, origin: str) -> None:
    """Raises CorpusError when a header has a column twice, or lacks one that is wanted."""
    for name in names:
        if names.count(name) > 1:
            raise CorpusError(
                f"{origin}: the column {name!r} is there twice", remedy="rename one of them, or say header: false"
            )
    check_columns(names, options, origin=origin)


def plain_rows(file: OpenFile, options: FormatOptions) -> Iterator[Row | Unreadable]:
    """The rows of a TSV file, its header among them."""
    for line in lines(file.stream, origin=file.name, longest=options.longest):
        if isinstance(line, Unreadable):
            yield line
        elif line.text:
            yield line, line.text.split("\t")


def quoted_rows(file: OpenFile, options: FormatOptions) -> Iterator[Row | Unreadable]:
    """The rows of a CSV file, its header among them."""
    feed = _Feed(lines(file.stream, origin=file.name, longest=options.longest))
    # The module's own limit, of 128 KiB a cell, is one for the process; a longer text is no mistake.
    csv.field_size_limit(options.longest)
    while feed:
        first = feed.peek()
        if isinstance(first, Unreadable):
            feed.drop()
            yield first
        elif '"' not in first.text:  # nearly all rows, and much faster
            feed.drop()
            if first.text:
                yield first, first.text.split(",")
        else:
            try:
                cells = next(csv.reader(feed.texts(), strict=True))
            except (csv.Error, StopIteration) as error:
                feed.restore()
                feed.drop()
                reason = _reason(error)
                yield Unreadable("quotes", reason, file.name, first.number, first.offset, first.text[:_SHOWN])
            else:
                feed.accept()
                yield first, cells


def _reason(error: Exception) -> str:
    told = str(error)
    if "unexpected end of data" in told or "field limit" in told or isinstance(error, StopIteration):
        return "a quote opens a cell and nothing closes it"
    return f"not CSV: {told}"


class _Feed:
    """Lines for a parser that takes as many as a row has, and may have to give them back."""

    def __init__(self, found: Iterator[Line | Unreadable]) -> None:
        self._found = found
        self._waiting: deque[Line | Unreadable] = deque()
        self._taken: list[Line] = []

    def __bool__(self) -> bool:
        if not self._waiting:
            self._waiting.extend(line for line in (next(self._found, None),) if line is not None)
        return bool(self._waiting)

    def peek(self) -> Line | Unreadable:
        return self._waiting[0]

    def drop(self) -> None:
        self._waiting.popleft()

    def texts(self) -> Iterator[str]:
        """Line by line; ends before what cannot be read, so that no row goes across it."""
        while self and isinstance(line := self.peek(), Line):
            self.drop()
            self._taken.append(line)
            yield line.text + "\n"

    def accept(self) -> None:
        self._taken = []

    def restore(self) -> None:
        self._waiting.extendleft(reversed(self._taken))
        self._taken = []
