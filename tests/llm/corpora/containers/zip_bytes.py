"""Zip archives made in memory, and where the fields of their headers stand, for tests that falsify them."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from pathlib import Path

FILES = {
    "a.txt": b"first\n" * 100,
    "folder/b.txt": random.Random(1).randbytes(700_001) + bytes(700_000),
    "empty.txt": b"",
    "gr\u00fc\u00dfe.txt": b"last",
}
# Where fields stand in the local header, in the central one and in the end record.
LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
LOCAL_SIZES, CENTRAL_FLAGS, CENTRAL_SIZES, CENTRAL_START = 14, 8, 16, 42


def entry(name: str, *, mode: int = 0, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.external_attr = mode << 16
    found.compress_type = method
    return found


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries:
            archive.writestr(entry(name) if isinstance(name, str) else name, data)
    return bytearray(file.getvalue())


def nth(data: bytes, magic: bytes, number: int) -> int:
    """Where the header of an entry is."""
    at = -1
    for _ in range(number + 1):
        at = data.index(magic, at + 1)
    return at


def write(folder: Path, data: bytes) -> Path:
    path = folder / "texts.zip"
    path.write_bytes(data)
    return path


def with_zip64(data: bytes, *, count: int, length: int | None = None) -> bytes:
    """The archive with its end record in the wide form."""
    end = data.rindex(END)
    _, _, _, _, _, size, offset, _ = struct.unpack("<4s4H2LH", data[end:])
    length = size if length is None else length
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    return data[:end] + wide + locator + struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
