"""Lines of a byte stream, in flat memory: decoded, numbered, located; what is no text comes out as a defect."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from llm.corpora.base import Unreadable

_CHUNK = 1 << 18
_END = re.compile(rb"\r\n?|\n")
# How much of what could not be read is shown, in bytes.
_SHOWN = 200


class Line(NamedTuple):
    """One line without its end: `number` from 1, `offset` in bytes from the start of the file."""

    number: int
    offset: int
    text: str


class Block(NamedTuple):
    """Lines in a row, without their ends of `end` bytes: the number and the offset are those of the first.

    A line that is too long to be kept is a block of its own: its beginning, and how many bytes are `lost`.
    """

    number: int
    offset: int
    lines: list[bytes]
    end: int
    lost: int = 0


def lines(
    stream: BinaryIO, *, origin: str, longest: int, number: int = 1, offset: int = 0
) -> Iterator[Line | Unreadable]:
    r"""The lines of `stream`, ended by \n, \r\n or \r; a byte order mark is left out.

    Unreadable are lines of more than `longest` bytes, of bytes that are not UTF-8 (neither overlong forms nor
    surrogates are), and with NUL bytes; and a file without a single byte. `number` and `offset` are those of the first
    line where the stream is a piece of a file.
    """
    for block in blocks(stream, origin=origin, longest=longest, number=number, offset=offset):
        yield from [block] if isinstance(block, Unreadable) else lines_of(block, origin=origin, longest=longest)


def lines_of(block: Block, *, origin: str, longest: int) -> Iterator[Line | Unreadable]:
    """The lines of a block, unreadable as in `lines`."""
    offset = block.offset
    for number, data in enumerate(block.lines, start=block.number):
        length = len(data) + block.lost
        if length > longest:
            yield _too_large(length, longest, origin=origin, number=number, offset=offset, data=data)
        else:
            yield _decoded(data, origin=origin, number=number, offset=offset)
        offset += length + block.end


def blocks(
    stream: BinaryIO, *, origin: str, longest: int, number: int = 1, offset: int = 0
) -> Iterator[Block | Unreadable]:
    """The lines of `stream` some hundred at once, for readers that take many; unreadable is an empty file."""
    first, pending, lost = number, b"", 0
    chunk = stream.read(_CHUNK)
    if offset == 0 and chunk.startswith(codecs.BOM_UTF8):
        chunk, offset = chunk[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
    while chunk or pending:
        following = stream.read(_CHUNK)
        data = pending + chunk
        whole_lines = len(data) if not following else _last_end(data)
        for found, end in _split(data[:whole_lines], first_alone=lost > 0):
            yield Block(number, offset, found, end, lost)
            number += len(found)
            offset += lost + sum(map(len, found)) + end * len(found)
            lost = 0
        pending, chunk = data[whole_lines:], following
        if lost or len(pending) > longest:
            # The beginning stands for the line until its end is found.
            kept = pending[: min(_SHOWN, longest)]
            lost, pending = lost + len(pending) - len(kept), kept
    if number == first:
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


def _last_end(data: bytes) -> int:
    r"""Behind the last line end; a \r that may be half of one waits for what follows."""
    return max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1


def _split(data: bytes, *, first_alone: bool) -> Iterator[tuple[list[bytes], int]]:
    """The lines of `data`, and how many bytes end each; together where all ends are alike, as they nearly always are.

    The last line may have no end.
    """
    end = b"\r\n" if b"\r" in data else b"\n"
    alike = end == b"\n" or data.count(b"\r") == data.count(b"\n") == data.count(end)
    if data and alike and not first_alone:
        found = data.split(end)
        if not found[-1]:
            found.pop()
        yield found, len(end)
        return
    start = 0
    for match in _END.finditer(data):
        yield [data[start : match.start()]], match.end() - match.start()
        start = match.end()
    if start < len(data):
        yield [data[start:]], 1
