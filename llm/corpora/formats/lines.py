"""Lines of a byte stream, in flat memory: decoded, numbered, located; what is no text comes out as a defect."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from llm.corpora.base import Unreadable

_CHUNK = 1 << 20
_END = re.compile(rb"\r\n?|\n")
# How much of what could not be read is shown, in bytes.
_SHOWN = 200


class Line(NamedTuple):
    """One line without its end: `number` from 1, `offset` in bytes from the start of the file."""

    number: int
    offset: int
    text: str


def lines(stream: BinaryIO, *, origin: str, longest: int) -> Iterator[Line | Unreadable]:
    r"""The lines of `stream`, ended by \n, \r\n or \r; a byte order mark is left out.

    Unreadable are lines of more than `longest` bytes, of bytes that are not UTF-8 (neither overlong forms nor
    surrogates are), and with NUL bytes; and a file without a single byte.
    """
    number = 0
    for number, (offset, data, length) in enumerate(_cut(stream, longest=longest), start=1):
        if length > longest:
            yield _too_large(length, longest, origin=origin, number=number, offset=offset, data=data)
        else:
            yield _decoded(data, origin=origin, number=number, offset=offset)
    if number == 0:
        yield Unreadable("empty_file", "holds no byte", origin, 0, 0)


def whole(stream: BinaryIO, *, origin: str, longest: int) -> Line | Unreadable:
    r"""All of `stream` as one line, each line end in it a \n; unreadable as in `lines`."""
    data = stream.read(longest + 1)
    if not data:
        return Unreadable("empty_file", "holds no byte", origin, 0, 0)
    if len(data) > longest:
        return _too_large(len(data), longest, origin=origin, number=1, offset=0, data=data)
    found = _decoded(data, origin=origin, number=1, offset=0)
    if isinstance(found, Unreadable):
        return found
    return Line(1, 0, found.text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def shown(data: bytes) -> str:
    """The beginning of bytes that could not be read, as text."""
    return data[:_SHOWN].decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _decoded(data: bytes, *, origin: str, number: int, offset: int) -> Line | Unreadable:
    if b"\0" in data:
        place = offset + data.index(0)
        reason = f"byte {place:,} is NUL; where there are many, the file may be UTF-16: convert it to UTF-8"
        return Unreadable("nul_byte", reason, origin, number, offset, shown(data))
    try:
        return Line(number, offset, str(data, "utf-8"))
    except UnicodeDecodeError as error:
        place = offset + error.start
        reason = f"byte {place:,} (0x{data[error.start]:02x}) is not UTF-8: {error.reason}"
        return Unreadable("not_utf8", reason, origin, number, offset, shown(data))


def _too_large(length: int, longest: int, *, origin: str, number: int, offset: int, data: bytes) -> Unreadable:
    reason = f"{length:,} bytes or more, and {longest:,} are the most"
    return Unreadable("too_large", reason, origin, number, offset, shown(data))


def _cut(stream: BinaryIO, *, longest: int) -> Iterator[tuple[int, bytes, int]]:
    """Offset, bytes and length of each line; of a line that is too long only the beginning is kept."""
    pending, offset, lost = b"", 0, 0
    chunk = stream.read(_CHUNK)
    if chunk.startswith(codecs.BOM_UTF8):
        chunk, offset = chunk[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
    while chunk or pending:
        following = stream.read(_CHUNK)
        data = pending + chunk
        start = 0
        for end, after in _ends(data, last=not following):
            yield offset, data[start:end], lost + end - start
            offset, start, lost = offset + lost + after - start, after, 0
        pending, chunk = data[start:], following
        if lost or len(pending) > longest:
            # The beginning stands for the line until its end is found.
            kept = pending[: min(_SHOWN, longest)]
            lost, pending = lost + len(pending) - len(kept), kept
        if not following:
            if pending:
                yield offset, pending, lost + len(pending)
            return


def _ends(data: bytes, *, last: bool) -> Iterator[tuple[int, int]]:
    """Where lines end and where the next begin; a \r that may be half of a line end waits for what follows."""
    if b"\r" not in data:
        end = data.find(b"\n")
        while end >= 0:
            yield end, end + 1
            end = data.find(b"\n", end + 1)
        return
    for found in _END.finditer(data):
        if found.end() < len(data) or last or found[0] != b"\r":
            yield found.span()
