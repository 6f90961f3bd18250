"""The files of names, patterns and addresses, and their bytes: decompressed, out of archives, or a piece of one."""

from __future__ import annotations

import glob
import io
from collections.abc import Callable, Generator, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO, TypeVar, cast

from llm.config import Config
from llm.corpora.addresses import RemoteAccess, is_remote, shown
from llm.corpora.archives import is_archive, is_compressed, open_stream, streams
from llm.corpora.formats.base import OpenFile
from llm.corpora.remote import RemoteFile, fetch, find_remote
from llm.errors import CorpusError

# Read as they stand, they would be bytes that are no text.
_PACKED_OTHERWISE = (".bz2", ".xz", ".lzma", ".7z", ".rar", ".br", ".lz4")

File = Path | RemoteFile
T = TypeVar("T")


class PieceConfig(Config):
    """Which bytes of a file: see `llm.pieces.Piece`."""

    start: int
    end: int
    line: int
    sha256: str


def name_of(file: File) -> str:
    """What messages and manifests call a file: its path, or its address without secrets."""
    return shown(file.url) if isinstance(file, RemoteFile) else str(file)


def open_files(files: Sequence[File], *, access: RemoteAccess, downloads: Path) -> Generator[OpenFile, None, None]:
    """File by file, decompressed, and each file of an archive; open until the next is asked for.

    A remote file is downloaded first, if that version of it is not in `downloads`.

    Raises CorpusError that names a file which is damaged, or an archive that is not safe to read; DownloadError.
    """
    for file in files:
        path = fetch(file, access=access, downloads=downloads) if isinstance(file, RemoteFile) else file
        if is_archive(path):
            for member, stream in streams(path):
                yield OpenFile(f"{name_of(file)}: {member.name}", stream)
        else:
            with open_stream(path) as stream:
                yield OpenFile(name_of(file), stream)


def open_piece(path: Path, piece: PieceConfig) -> Generator[OpenFile, None, None]:
    """A piece of a file on this machine; open until the next is asked for.

    Raises CorpusError when the file cannot be read.
    """
    with asked(path, lambda path: path.open("rb")) as file:
        file.seek(piece.start)
        stream = io.BufferedReader(_Limited(file, piece.end - piece.start))
        yield OpenFile(name_of(path), cast(BinaryIO, stream), line=piece.line, offset=piece.start)


class _Limited(io.RawIOBase):
    """The next bytes of a file, so many and no more."""

    def __init__(self, file: BinaryIO, left: int) -> None:
        self._file = file
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def find_files(patterns: Sequence[str], access: RemoteAccess) -> list[File]:
    """The files of names, patterns and addresses, in the order of these, each once.

    Raises CorpusError where there is none, or where it is packed in a way that is not read; DownloadError.
    """
    files: dict[File, None] = {}
    for pattern in patterns:
        found: Sequence[File] = find_remote(pattern, access) if is_remote(pattern) else _local(pattern)
        files |= dict.fromkeys(found)
    for file in files:
        suffix = PurePath(name_of(file)).suffix
        if suffix.lower() in _PACKED_OTHERWISE:
            raise CorpusError(
                f"{name_of(file)}: {suffix} is not read",
                remedy="pack it as .gz, .zst, .zip, .tar, .tar.gz or .tar.zst",
            )
    return list(files)


def _local(pattern: str) -> list[Path]:
    literal = Path(pattern).expanduser()
    # A name that exists is meant as it stands, brackets included.
    found = [literal] if literal.exists() else [Path(name) for name in sorted(glob.glob(str(literal), recursive=True))]
    if literal.is_dir():
        raise CorpusError(f"{pattern}: is a folder", remedy=f"name its files, such as {pattern.rstrip('/')}/*.txt")
    found = [path for path in found if path.is_file()]
    if not found:
        raise CorpusError(f"{pattern}: no such file", remedy=f"correct the path; it is relative to {Path.cwd()}")
    return found


def pattern_of(file: File) -> str:
    """A pattern that finds this file alone."""
    return file.url if isinstance(file, RemoteFile) else str(file)


def is_plain(file: File) -> bool:
    """Whether the bytes of the file are read as they lie on this machine's disk."""
    return isinstance(file, Path) and not is_archive(file) and not is_compressed(file)


def asked(path: Path, question: Callable[[Path], T]) -> T:
    """What `question` says of a file.

    Raises CorpusError when it cannot be read.
    """
    try:
        return question(path)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})", remedy="check its permissions") from None
