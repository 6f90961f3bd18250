"""The entries of a tar archive, read forwards: its headers by our own walk, since tarfile takes damage for the end."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from llm.corpora.containers.compression import CHUNK, Produced, open_stream
from llm.corpora.containers.limits import Entries, Member, cut_short, damaged, place, refused

_EMPTY_BLOCK = bytes(tarfile.BLOCKSIZE)
# Bytes of an extended header: it holds a name, a time and the like, and is read in one piece.
_LONGEST_HEADER = 1 << 16
_PAX_RECORD = re.compile(rb"(\d{1,9}) ([^=\n]+)=")
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_OTHERS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class _Header(NamedTuple):
    """An entry's header, extended ones applied."""

    name: str
    kind: bytes
    size: int


def tar_entries(path: Path) -> Iterator[tuple[Member, BinaryIO]]:
    """The regular files in archive order, each with its stream, which the next one closes.

    Raises CorpusError as soon as something is met that is refused, damaged or cut short.
    """
    entries = Entries(path)
    with open_stream(path) as file:
        while (header := _next_header(file, path)) is not None:
            entries.meet(header.name)
            if header.kind == tarfile.DIRTYPE:
                continue
            if header.kind not in _FILES:
                kind = _OTHERS.get(header.kind, f"an entry of type {header.kind!r}")
                raise refused(place(path, header.name), f"is {kind}, and only regular files are read")
            entries.add_file(header.name)
            part = _Part(file, size=header.size, where=place(path, header.name))
            with part.buffered as stream:
                yield Member(header.name, header.size), stream
                part.pass_over()
            _skip(file, -header.size % tarfile.BLOCKSIZE, where=place(path, header.name))
        _pass_over_end(file, path)


class _Part(Produced):
    """The next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, *, size: int, where: str) -> None:
        self._file = file
        self._left = size
        self._where = where

    def _produce(self, most: int) -> bytes:
        data = _exactly(self._file, min(most, self._left), where=self._where)
        self._left -= len(data)
        return data

    def pass_over(self) -> None:
        """Read what is left."""
        _skip(self._file, self._left, where=self._where)
        self._left = 0


def _next_header(file: BinaryIO, path: Path) -> _Header | None:
    """The next entry, or None at the end mark, a block of zeros."""
    name, pax = None, dict[str, str]()
    while (block := _exactly(file, tarfile.BLOCKSIZE, where=place(path))) != _EMPTY_BLOCK:
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
        except tarfile.HeaderError as error:
            raise damaged(place(path), f"the header of an entry cannot be read ({error})") from None
        if info.type in _LONG_NAMES:
            data = _extended(file, info, path).partition(b"\0")[0]
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = data.decode("utf-8", "backslashreplace")
        elif info.type in _PAX:
            pax = _pax_fields(_extended(file, info, path), path)
        elif info.type == tarfile.XGLTYPE:
            if {"path", "size"} & _pax_fields(_extended(file, info, path), path).keys():
                raise damaged(place(path), "a header that is for all files gives a name or a size")
        else:
            return _header(info, path, name=name, pax=pax)
    if name is not None or pax:
        raise cut_short(place(path))
    return None


def _header(info: tarfile.TarInfo, path: Path, *, name: str | None, pax: dict[str, str]) -> _Header:
    name = pax.get("path", name or info.name)
    kind = tarfile.GNUTYPE_SPARSE if any(key.startswith("GNU.sparse.") for key in pax) else info.type
    size = pax.get("size", str(info.size))
    if not (size.isascii() and size.isdigit() and len(size) < 20):
        raise damaged(place(path, name), f"a size of {size[:20]} bytes")
    return _Header(name, kind, int(size))


def _pax_fields(data: bytes, path: Path) -> dict[str, str]:
    """The records of a POSIX extended header: "length keyword=value", the length counting all of it and its newline."""
    fields, start = {}, 0
    while start < len(data):
        match = _PAX_RECORD.match(data, start)
        end = start + int(match[1]) if match else 0
        if match is None or end <= match.end() or data[end - 1 : end] != b"\n":
            raise damaged(place(path), "an extended header is no list of records")
        fields[match[2].decode("utf-8", "backslashreplace")] = data[match.end() : end - 1].decode(
            "utf-8", "backslashreplace"
        )
        start = end
    return fields


def _extended(file: BinaryIO, info: tarfile.TarInfo, path: Path) -> bytes:
    if not 0 <= info.size <= _LONGEST_HEADER:
        raise refused(place(path), f"an extended header of {info.size:,} bytes, and {_LONGEST_HEADER:,} are the most")
    data = _exactly(file, info.size, where=place(path))
    _skip(file, -info.size % tarfile.BLOCKSIZE, where=place(path))
    return data


def _pass_over_end(file: BinaryIO, path: Path) -> None:
    """Read the padding too, so that a checksum behind it is checked; a second archive would be lost in silence."""
    while data := file.read(CHUNK):
        if data.count(0) != len(data):
            raise refused(place(path), "more follows behind the end mark, and one archive a file is read")


def _skip(file: BinaryIO, count: int, *, where: str) -> None:
    while count:
        count -= len(_exactly(file, min(count, CHUNK), where=where))


def _exactly(file: BinaryIO, count: int, *, where: str) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise cut_short(where)
    return data
