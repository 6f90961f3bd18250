"""Parallel text: line n of one file is translated by line n of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from llm.corpora.base import Record, Unreadable
from llm.corpora.formats.base import FormatOptions, Item, OpenFile
from llm.corpora.formats.lines import Line, lines
from llm.errors import CorpusError


def read_parallel(sources: Iterable[OpenFile], targets: Iterable[OpenFile], options: FormatOptions) -> Iterator[Item]:
    """{"source", "target"}; a line that cannot be read on one side takes its partner with it.

    Raises CorpusError when one side has fewer files, or fewer lines in a file, than the other.
    """
    for source, target in zip_longest(sources, targets):
        if source is None or target is None:
            lonely = target if source is None else source
            raise CorpusError(
                f"{lonely.name} has no partner",
                remedy="name one file of translations for each file of sources, in the same order",
            )
        yield from _pairs(source, target, options)


def _pairs(source: OpenFile, target: OpenFile, options: FormatOptions) -> Iterator[Item]:
    sides = [lines(file.stream, origin=file.name, longest=options.longest) for file in (source, target)]
    for one, other in zip_longest(*sides):
        if one is None or other is None:
            raise _unequal(source, target, one=one, other=other)
        if isinstance(one, Unreadable):
            yield one
        elif isinstance(other, Unreadable):
            yield other
        else:
            yield Record(None, {"source": one.text, "target": other.text}, source.name, one.number)


def _unequal(
    source: OpenFile, target: OpenFile, *, one: Line | Unreadable | None, other: Line | Unreadable | None
) -> CorpusError:
    short, long, found = (source, target, other) if one is None else (target, source, one)
    number = found.number if isinstance(found, Line) else found.position if found else 0
    return CorpusError(
        f"{short.name} ends before line {number}, but {long.name} goes on",
        remedy="make both files equally long: line n of one is the translation of line n of the other",
    )
