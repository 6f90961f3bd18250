"""Plain text: each line, paragraph or file is a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from llm.corpora.base import Record, Unreadable
from llm.corpora.formats.base import FormatOptions, Item, OpenFile
from llm.corpora.formats.lines import Line, lines, whole


def read_text(files: Iterable[OpenFile], options: FormatOptions) -> Iterator[Item]:
    """{"text"} by `options.document`; a line that cannot be read parts paragraphs, as a blank one does."""
    for file in files:
        for found in _DOCUMENTS[options.document](file, options):
            if isinstance(found, Unreadable):
                yield found
            else:
                yield Record(None, {"text": found.text}, file.name, found.number)


def _lines(file: OpenFile, options: FormatOptions) -> Iterator[Line | Unreadable]:
    return lines(file.stream, origin=file.name, longest=options.longest, number=file.line, offset=file.offset)


def _paragraphs(file: OpenFile, options: FormatOptions) -> Iterator[Line | Unreadable]:
    gathered: list[Line] = []
    for found in _lines(file, options):
        if isinstance(found, Line) and found.text.strip():
            gathered.append(found)
            continue
        if gathered:
            yield _joined(gathered)
            gathered = []
        if isinstance(found, Unreadable):
            yield found
    if gathered:
        yield _joined(gathered)


def _joined(gathered: list[Line]) -> Line:
    first = gathered[0]
    return Line(first.number, first.offset, "\n".join(line.text for line in gathered))


def _whole(file: OpenFile, options: FormatOptions) -> Iterator[Line | Unreadable]:
    yield whole(file.stream, origin=file.name, longest=options.longest)


_DOCUMENTS: dict[str, Callable[[OpenFile, FormatOptions], Iterator[Line | Unreadable]]] = {
    "file": _whole,
    "paragraph": _paragraphs,
    "line": _lines,
}
