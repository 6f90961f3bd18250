"""What archives and compressed files may hold, and the words with which the others are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llm.errors import CorpusError

# Prose shrinks to a half or a tenth, logs and tables seldom to a fiftieth; a bomb, to a thousandth and less.
MOST_RATIO = 100
# Bytes that may come out whatever the ratio is: a small file of blanks harms nobody.
RATIO_FLOOR = 1 << 20
# Files, folders and the rest together.
MOST_ENTRIES = 100_000
# Bytes of a name; 4,096 is the longest path on Linux.
LONGEST_NAME = 4096

_SEPARATOR = re.compile(r"[/\\]")
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive; `size` counts its bytes, decompressed."""

    name: str
    size: int


def most_bytes(compressed: int) -> int:
    """How many bytes may come out of so many compressed ones."""
    return max(RATIO_FLOOR, MOST_RATIO * compressed)


def place(path: Path, name: str | None = None) -> str:
    """The file, and the member in it, as errors name them; what a terminal would obey is escaped in the name."""
    return str(path) if name is None else f"{path}: member {name!r}"


def damaged(where: str, reason: str) -> CorpusError:
    """The error for bytes that are not what the format promises."""
    return CorpusError(f"{where}: is damaged: {reason}", remedy="copy or download the file again, or leave it out")


def cut_short(where: str) -> CorpusError:
    """The error for a file that ends too early."""
    return damaged(where, "it ends before its content does")


def refused(where: str, reason: str) -> CorpusError:
    """The error for content that is not read though it may be whole."""
    return CorpusError(
        f"{where}: {reason}", remedy="leave it out, or unpack it yourself if you trust it, and name the files"
    )


def too_dense(where: str, *, compressed: int) -> CorpusError:
    """The error for a decompression bomb."""
    return refused(
        where,
        f"its {compressed:,} bytes hold more than {most_bytes(compressed):,}, and {MOST_RATIO} for 1 are the most "
        f"above {RATIO_FLOOR:,}",
    )


def too_many(path: Path) -> CorpusError:
    """The error for an archive of too many entries."""
    return refused(place(path), f"holds more than {MOST_ENTRIES:,} entries")


class Entries:
    """The entries of one archive as they are met: how many, and under which names.

    Both methods raise CorpusError that names the archive and the entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._names: set[str] = set()

    def meet(self, name: str) -> None:
        """Count an entry of any kind; refuse one too many, and a name that leads out of the archive."""
        self._count += 1
        if self._count > MOST_ENTRIES:
            raise too_many(self._path)
        fault = _fault(name)
        if fault is not None:
            raise refused(place(self._path, name[:LONGEST_NAME]), fault)

    def add_file(self, name: str) -> None:
        """Refuse a file without a name, or with the name of an earlier one however it is written (a, ./a, a//)."""
        plain = "/".join(part for part in _SEPARATOR.split(name) if part not in ("", "."))
        if not plain:
            raise refused(place(self._path, name), "a file needs a name")
        if plain in self._names:
            raise refused(place(self._path, name), "two files have this name, and each needs its own")
        self._names.add(plain)


def _fault(name: str) -> str | None:
    if "\0" in name:
        return "a name cannot hold a NUL byte"
    if len(name) > LONGEST_NAME:
        return f"a name of {len(name):,} characters, and {LONGEST_NAME:,} are the most"
    if _ABSOLUTE.match(name):
        return "a name must be relative, without a root or a drive"
    if ".." in _SEPARATOR.split(name):
        return "a name cannot hold the part '..'"
    return None
