"""Large files in pieces that end where a record may end: processes share them, and what only grew is not read again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import BinaryIO

from llm.processes import cores

# Two seconds of reading. Twice as much, and twice again, where a file would have more than MOST of them.
SIZE, MOST = 64 << 20, 256
_CHUNK = 1 << 20
# Of a chunk, what is searched again with the next.
_OVERLAP = 1 << 10


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `end` of a file, the number of its first line, from 1, and the SHA-256 of the bytes."""

    start: int
    end: int
    line: int
    sha256: str


def pieces_of(path: Path, cut: re.Pattern[bytes]) -> list[Piece]:
    r"""The pieces of a file, one after another; none of a file that is not large.

    All but the last are about equally large, and end behind a match of `cut`, which ends with \n. A file that grew at
    its end has all its pieces but the last as before.

    Raises OSError when it cannot be read.
    """
    bounds = list(pairwise(_bounds(path, cut)))
    if len(bounds) < 2:
        return []
    with ThreadPoolExecutor(cores()) as threads:
        found = list(threads.map(lambda bound: _digest(path, *bound), bounds))
    lines = accumulate((ends for _, ends in found), initial=1)
    return [
        Piece(start, end, line, sha256) for (start, end), (sha256, _), line in zip(bounds, found, lines, strict=False)
    ]


def _bounds(path: Path, cut: re.Pattern[bytes]) -> Iterator[int]:
    total = path.stat().st_size
    size = SIZE
    while total > MOST * size:
        size *= 2
    last = 0
    yield 0
    with path.open("rb") as file:
        for wanted in range(size, total, size):
            if wanted > last:
                last = _behind(file, cut, start=wanted) or total
                if last < total:
                    yield last
    yield total


def _behind(file: BinaryIO, cut: re.Pattern[bytes], *, start: int) -> int | None:
    """Where the first match from `start` on ends."""
    file.seek(start)
    before = b""
    while chunk := file.read(_CHUNK):
        data = before + chunk
        if found := cut.search(data):
            return start + found.end()
        before = data[-_OVERLAP:]
        start += len(data) - len(before)
    return None


def _digest(path: Path, start: int, end: int) -> tuple[str, int]:
    r"""SHA-256 of a piece, and how many lines end in it: with \n, \r\n or \r."""
    digest, lines, returned = hashlib.sha256(), 0, False
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(_CHUNK, end - start))):
            digest.update(chunk)
            lines += chunk.count(b"\n") - (returned and chunk.startswith(b"\n"))
            if b"\r" in chunk:
                lines += chunk.count(b"\r") - chunk.count(b"\r\n")
            returned = chunk.endswith(b"\r")
            start += len(chunk)
    return digest.hexdigest(), lines
