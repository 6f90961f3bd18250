"""Gettext catalogs (.po): each string and its translation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llm.corpora.base import Record, Unreadable
from llm.corpora.formats.base import FormatOptions, Item, OpenFile
from llm.corpora.formats.lines import whole
from llm.errors import CorpusError


def read_catalogs(files: Iterable[OpenFile], options: FormatOptions) -> Iterator[Item]:
    """{"source", "target"} of each entry and its first plural; fuzzy, obsolete and untranslated ones are no records.

    Raises CorpusError with the line where a file is no catalog.
    """
    from polib import pofile  # here: other formats do without it

    for file in files:
        read = whole(file.stream, origin=file.name, longest=options.longest)
        if isinstance(read, Unreadable):
            yield read
            continue
        try:
            # Text with a line end is never taken for the name of a file.
            entries = pofile(read.text + "\n")
        except (OSError, ValueError) as error:
            told = str(error).partition("Syntax error in po file ")[2].strip() or str(error)
            raise CorpusError(f"{file.name}: not readable as po ({told[:200]})", remedy="correct the file") from None
        for entry in entries:
            yield from _items(entry, origin=file.name)


def _items(entry: Any, *, origin: str) -> Iterator[Item]:
    why = "obsolete" if entry.obsolete else "fuzzy" if entry.fuzzy else None
    pairs = [(entry.msgid, entry.msgstr)]
    if entry.msgid_plural:
        plurals = entry.msgstr_plural
        pairs = [(entry.msgid, plurals.get(0, "")), (entry.msgid_plural, plurals.get(1, ""))]
    for source, target in pairs:
        if why or not target:
            yield Unreadable(
                why or "no_translation", "not translated", origin, entry.linenum, text=source[:200], bad=False
            )
        else:
            yield Record(None, {"source": source, "target": target}, origin, entry.linenum)
