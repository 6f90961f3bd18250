"""The entries of a zip archive: its directory walked by our own code, within limits, since zipfile trusts it.

zipfile makes an object of every entry before it can be asked how many there are, reads overlapping entries, and drops
in silence what an entry holds beyond the size it states.
"""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from llm.corpora.containers.compression import Produced, open_stream
from llm.corpora.containers.limits import (
    MOST_ENTRIES,
    Entries,
    Member,
    cut_short,
    damaged,
    most_bytes,
    place,
    refused,
    too_dense,
    too_many,
)

_PACKED_CHUNK = 1 << 16
# APPNOTE 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3; all little-endian.
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_EXTRA = struct.Struct("<2H")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_END64_MAGIC, _LOCATOR64_MAGIC = b"PK\6\6", b"PK\6\7"
_LONGEST_COMMENT = (1 << 16) - 1
_IN_EXTRA = (1 << 32) - 1
_ZIP64_EXTRA = 1
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # by password, strongly, directory included
_PATCH = 0x20
_SIZES_FOLLOW = 0x8
_UTF8 = 0x800
_STORED, _DEFLATED = 0, 8


class _Directory(NamedTuple):
    """Where the central directory lies; `shift` counts bytes before the archive, as in one that unpacks itself."""

    entries: int
    start: int
    end: int
    shift: int


class _Entry(NamedTuple):
    """An entry of the central directory; `start` is where its local header begins."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    start: int
    mode: int

    @property
    def shown(self) -> str:
        return self.name.decode("utf-8" if self.flags & _UTF8 else "cp437", "backslashreplace")

    @property
    def is_folder(self) -> bool:
        named_so = self.name.endswith((b"/", b"\\")) or stat.S_ISDIR(self.mode)
        return named_so and self.size == 0


def zip_entries(path: Path) -> Iterator[tuple[Member, BinaryIO]]:
    """The regular files in the order of the directory, each with its stream, which the next one closes.

    Raises CorpusError: for what the headers show before the first file comes out, for the rest while it is read.
    """
    with open_stream(path) as file:
        directory = _find_directory(file, path)
        entries = _admitted(file, path, directory)
        starts = _data_starts(file, path, entries, directory)
        for entry, start in zip(entries, starts, strict=True):
            if entry.is_folder:
                continue
            where = place(path, entry.shown)
            with _Unpacked(file, entry, start=start, where=where).buffered as stream:
                yield Member(entry.shown, entry.size), stream


class _Unpacked(Produced):
    """The bytes of an entry; at their end, its size and checksum must be those stated."""

    def __init__(self, file: BinaryIO, entry: _Entry, *, start: int, where: str) -> None:
        self._file = file
        self._entry = entry
        self._where = where
        self._packed_left = entry.packed
        self._size = 0
        self._crc = 0
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry.method == _DEFLATED else None
        file.seek(start)

    def _produce(self, most: int) -> bytes:
        data = self._unpacked(most)
        self._size += len(data)
        self._crc = zlib.crc32(data, self._crc)
        if self._size > self._entry.size:
            raise refused(self._where, f"holds more than the {self._entry.size:,} bytes that it states")
        if not data:
            self._check_end()
        return data

    def _unpacked(self, most: int) -> bytes:
        if self._inflate is None:
            return self._packed(most)
        while not self._inflate.eof:
            data = self._inflate.unconsumed_tail or self._packed(_PACKED_CHUNK)
            try:
                # Without new bytes too: it may hold back some that did not fit the last time.
                out = self._inflate.decompress(data, most)
            except zlib.error as error:
                raise damaged(self._where, str(error)) from None
            if out:
                return out
            if not data and not self._inflate.eof:
                raise cut_short(self._where)
        return b""

    def _packed(self, most: int) -> bytes:
        data = self._file.read(min(most, self._packed_left))
        self._packed_left -= len(data)
        return data

    def _check_end(self) -> None:
        if self._size != self._entry.size:
            raise refused(self._where, f"holds {self._size:,} bytes, but states {self._entry.size:,}")
        if self._packed_left or (self._inflate is not None and self._inflate.unused_data):
            raise refused(self._where, "holds bytes behind the end of its content")
        if self._crc != self._entry.crc:
            raise damaged(self._where, f"its CRC-32 is {self._crc:08x}, but {self._entry.crc:08x} is stated")


def _find_directory(file: BinaryIO, path: Path) -> _Directory:
    """The central directory by its end record, which is the last thing in the file but for a comment."""
    size = file.seek(0, io.SEEK_END)
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read()
    place_in_tail = tail.rfind(_END_MAGIC)
    if place_in_tail < 0 or len(tail) - place_in_tail < _END.size:
        raise damaged(place(path), "it has no end record, as if it were cut short or no zip file")
    _, disk, first_disk, _, count, length, offset, comment = _END.unpack_from(tail, place_in_tail)
    end = tail_start + place_in_tail
    if end + _END.size + comment != size:
        raise damaged(place(path), "its end record is not at its end")
    if disk or first_disk:
        raise refused(place(path), "is one of several files that make up an archive")
    file.seek(max(0, end - _LOCATOR64.size - _END64.size))
    records = file.read(min(end, _LOCATOR64.size + _END64.size))
    if records[-_LOCATOR64.size :].startswith(_LOCATOR64_MAGIC):
        if not records.startswith(_END64_MAGIC) or len(records) < _LOCATOR64.size + _END64.size:
            raise damaged(place(path), "its zip64 end record is missing")
        *_, count, length, offset = _END64.unpack_from(records)
        end -= len(records)
    if count > MOST_ENTRIES:
        raise too_many(path)
    if length + offset > end:
        raise damaged(place(path), "its directory would begin before the file does")
    return _Directory(count, start=end - length, end=end, shift=end - length - offset)


def _admitted(file: BinaryIO, path: Path, directory: _Directory) -> list[_Entry]:
    """The entries, their names and numbers in order; folders are among them."""
    met = Entries(path)
    entries = []
    for entry in _central_entries(file, path, directory):
        # In full, since a NUL ends a name elsewhere.
        met.meet(entry.shown)
        where = place(path, entry.shown)
        fault = _fault(entry)
        if fault is not None:
            raise refused(where, fault)
        if entry.size > most_bytes(entry.packed):
            raise too_dense(where, compressed=entry.packed)
        if not entry.is_folder:
            met.add_file(entry.shown)
        entries.append(entry)
    size = file.seek(0, io.SEEK_END)
    if sum(entry.size for entry in entries) > most_bytes(size):
        raise too_dense(place(path), compressed=size)
    return entries


def _fault(entry: _Entry) -> str | None:
    if entry.flags & _ENCRYPTED:
        return "is encrypted, and no password is asked for"
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFLNK:
        return "is a symbolic link, and only regular files are read"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device or the like, and only regular files are read"
    if entry.flags & _PATCH:
        return "is a patch of another file, which is not read"
    if entry.method not in (_STORED, _DEFLATED):
        return f"is compressed by method {entry.method}, and only 0 (stored) and 8 (deflated) are read"
    if entry.method == _STORED and entry.size != entry.packed:
        return f"is stored as it is in {entry.packed:,} bytes, but states {entry.size:,}"
    return None


def _central_entries(file: BinaryIO, path: Path, directory: _Directory) -> Iterator[_Entry]:
    where = directory.start
    for number in range(1, directory.entries + 1):
        file.seek(where)
        header = file.read(_CENTRAL.size)
        if where + _CENTRAL.size > directory.end or not header.startswith(_CENTRAL_MAGIC):
            raise damaged(place(path), f"entry {number:,} of {directory.entries:,} is missing in its directory")
        _, _, _, flags, method, _, _, crc, *rest = _CENTRAL.unpack(header)
        packed, size, name_length, extra_length, comment, _, _, attributes, start = rest
        where += _CENTRAL.size + name_length + extra_length + comment
        name, extra = file.read(name_length), file.read(extra_length)
        if where > directory.end:
            raise damaged(place(path), f"entry {number:,} of {directory.entries:,} is cut short in its directory")
        size, packed, start = _wide((size, packed, start), extra, where=place(path))
        # The upper half of the attributes is the Unix mode.
        yield _Entry(name, flags, method, crc, packed, size, start + directory.shift, attributes >> 16)
    if where != directory.end:
        raise damaged(place(path), f"its directory holds more than the {directory.entries:,} entries that it states")


def _wide(values: tuple[int, ...], extra: bytes, *, where: str) -> list[int]:
    """The values, those that did not fit in 32 bits taken from the zip64 field, where they stand in the same order."""
    at, wide = 0, b""
    while at + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        if kind == _ZIP64_EXTRA:
            wide = extra[at : at + length]
        at += length
    numbers = iter(number for (number,) in struct.iter_unpack("<Q", wide[: len(wide) // 8 * 8]))
    found = [next(numbers, None) if value == _IN_EXTRA else value for value in values]
    if None in found:
        raise damaged(where, "a zip64 field is missing in its directory")
    return [value for value in found if value is not None]


def _data_starts(file: BinaryIO, path: Path, entries: list[_Entry], directory: _Directory) -> list[int]:
    """Where each entry's bytes begin; refuses entries that share bytes, the way of the densest bombs."""
    starts = [0] * len(entries)
    free = 0
    for number in sorted(range(len(entries)), key=lambda number: entries[number].start):
        entry = entries[number]
        where = place(path, entry.shown)
        if entry.start >= directory.start:
            raise damaged(where, "begins behind the last byte of the members")
        if entry.start < free:
            raise refused(where, "begins within the bytes of another member, and each needs its own")
        starts[number] = _data_start(file, entry, where=where)
        free = starts[number] + entry.packed
        if free > directory.start:
            raise refused(where, "reaches into the directory of the archive")
    return starts


def _data_start(file: BinaryIO, entry: _Entry, *, where: str) -> int:
    file.seek(entry.start)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_MAGIC):
        raise damaged(where, f"no header of a member is at byte {entry.start:,}")
    _, _, flags, method, _, _, *stated, name_length, extra_length = _LOCAL.unpack(header)
    if file.read(name_length) != entry.name or method != entry.method or flags & _ENCRYPTED != 0:
        raise damaged(where, "its header and the directory of the archive differ")
    # Elsewhere they stand behind the content, or in a zip64 field; the directory has them in any case.
    if not flags & _SIZES_FOLLOW and _IN_EXTRA not in stated and stated != [entry.crc, entry.packed, entry.size]:
        raise damaged(where, "its header and the directory of the archive state other sizes or checksums")
    return int(entry.start + _LOCAL.size + name_length + extra_length)
