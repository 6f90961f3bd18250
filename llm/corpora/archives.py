"""Compressed files and the files in archives as streams of bytes, checked as a whole before any of it is used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from llm.corpora.containers.compression import CHUNK, is_compressed, open_stream
from llm.corpora.containers.limits import Member
from llm.corpora.containers.tar_files import tar_entries
from llm.corpora.containers.zip_files import zip_entries
from llm.errors import CorpusError

__all__ = ["Member", "is_archive", "is_compressed", "members", "open_stream", "streams"]

_READERS = {
    ".zip": zip_entries,
    ".tar": tar_entries,
    ".tar.gz": tar_entries,
    ".tgz": tar_entries,
    ".tar.zst": tar_entries,
}


def is_archive(path: Path) -> bool:
    """Whether the name ends as that of an archive which `streams` reads."""
    return path.name.lower().endswith(tuple(_READERS))


def members(path: Path) -> list[Member]:
    """The regular files of an archive, in its order, after all of it was read once and found in order.

    Raises CorpusError that names the archive, the member and the constraint: it is cut short or damaged; a name leads
    out of the archive or is there twice; a link, a device or another special entry; encrypted; entries that share
    bytes; a size that is not the one stated; more than MOST_ENTRIES entries; more than MOST_RATIO bytes for 1.
    """
    found = []
    for member, stream in _entries(path):
        while stream.read(CHUNK):
            continue
        found.append(member)
    return found


def streams(path: Path) -> Iterator[tuple[Member, BinaryIO]]:
    """The regular files with their bytes, in the order of the archive, which is read twice: all is checked before.

    A stream is open until the next one is asked for. Raises as `members`, before the first file comes out.
    """
    members(path)
    yield from _entries(path)


def _entries(path: Path) -> Iterator[tuple[Member, BinaryIO]]:
    for suffix, reader in _READERS.items():
        if path.name.lower().endswith(suffix):
            return reader(path)
    raise CorpusError(
        f"{path}: its name is not that of an archive", remedy=f"name a file that ends in {', '.join(_READERS)}"
    )
