"""Plain and compressed files as streams of bytes, in flat memory; what is cut, damaged or a bomb is refused."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from llm.corpora.containers.limits import cut_short, damaged, most_bytes, place, too_dense
from llm.errors import CorpusError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Errors = tuple[type[Exception], ...]

# Bytes that are read at once.
CHUNK = 1 << 20
_BUFFER = 1 << 16
# RFC 8878: a frame header has at most 18 bytes, a block header 3, a checksum 4.
_LONGEST_FRAME_HEADER = 18
_BLOCK_HEADER = 3
_CHECKSUM = 4
_REPEATED_BYTE = 1
_ZST_MAGIC = 0xFD2FB528
_SKIPPABLE_MAGIC = 0x184D2A50


def is_compressed(path: Path) -> bool:
    """Whether `open_stream` decompresses the file."""
    return path.suffix.lower() in _OPENERS


def open_stream(path: Path) -> BinaryIO:
    """The bytes of a file; those of a .gz, .tgz or .zst file decompressed as they are read. Close it, or use `with`.

    Of a zst file, windows of up to 128 MiB are read, which is what the decoder then keeps in memory.

    Raises CorpusError that names the file, here or while it is read: it cannot be read, is cut short or damaged, or
    more comes out of it than `MOST_RATIO` bytes for each of its own.
    """
    opener = _OPENERS.get(path.suffix.lower())
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None
    if opener is None:
        return file
    try:
        if _size(file) == 0:
            raise damaged(place(path), f"an empty file is no {path.suffix} file")
        return opener(file, path)
    except BaseException:
        file.close()
        raise


class Produced(io.RawIOBase):
    """A stream of the bytes that `_produce` gives, a piece at a time; `buffered` is how it is read."""

    @property
    def buffered(self) -> io.BufferedReader:
        """The stream with the methods of a file; to close it closes this too."""
        return io.BufferedReader(self, _BUFFER)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as the next piece goes."""
        view = memoryview(buffer)
        data = self._produce(min(len(view), CHUNK))
        view[: len(data)] = data
        return len(data)

    @abstractmethod
    def _produce(self, most: int) -> bytes:
        """The next bytes, `most` at the most; none at the end."""


class _Decompressed(Produced):
    """What comes out of a decompressor, counted, its errors turned into ours."""

    def __init__(self, file: BinaryIO, path: Path, *, decoder: BinaryIO, errors: Errors) -> None:
        self._file = file
        self._path = path
        self._decoder = decoder
        self._errors = errors
        self._size = _size(file)
        self._left = most_bytes(self._size)

    def _produce(self, most: int) -> bytes:
        try:
            data = self._decoder.read(most)
        except EOFError:
            raise cut_short(place(self._path)) from None
        except self._errors as error:
            raise damaged(place(self._path), str(error)) from None
        self._left -= len(data)
        if self._left < 0:
            raise too_dense(place(self._path), compressed=self._size)
        return data

    def close(self) -> None:
        self._decoder.close()
        self._file.close()
        super().close()


def _open_gzip(file: BinaryIO, path: Path) -> BinaryIO:
    decoder = gzip.GzipFile(fileobj=file, mode="rb")
    # OSError is its word for a wrong checksum or header.
    return _Decompressed(file, path, decoder=decoder, errors=(OSError, zlib.error)).buffered  # type: ignore[arg-type]


def _open_zst(file: BinaryIO, path: Path) -> BinaryIO:
    import zstandard

    _check_frames(file, path)
    file.seek(0)
    decoder = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    return _Decompressed(file, path, decoder=decoder, errors=(OSError, zstandard.ZstdError)).buffered


_OPENERS: dict[str, Callable[[BinaryIO, Path], BinaryIO]] = {
    ".gz": _open_gzip,
    ".tgz": _open_gzip,
    ".zst": _open_zst,
}


def _check_frames(file: BinaryIO, path: Path) -> None:
    """See that the last frame is whole: the decoder ends without a word where a file was cut."""
    end = 0
    while end < _size(file):
        end = _frame_end(file, path, start=end)
    if end > _size(file):
        raise cut_short(place(path))


def _frame_end(file: BinaryIO, path: Path, *, start: int) -> int:
    """Where the frame that begins at `start` ends (RFC 8878, 3.1), read off its headers alone."""
    import zstandard

    file.seek(start)
    header = file.read(_LONGEST_FRAME_HEADER)
    magic = int.from_bytes(header[:4], "little")
    if magic & ~0xF == _SKIPPABLE_MAGIC:
        return start + 8 + int.from_bytes(header[4:8], "little")
    if len(header) >= 4 and magic != _ZST_MAGIC:
        raise damaged(place(path), f"no zst frame begins at byte {start:,}")
    try:
        end = start + zstandard.frame_header_size(header)
        checksum = _CHECKSUM if zstandard.get_frame_parameters(header).has_checksum else 0
    except zstandard.ZstdError:
        raise cut_short(place(path)) from None
    last = False
    while not last:
        file.seek(end)
        block = file.read(_BLOCK_HEADER)
        if len(block) < _BLOCK_HEADER:
            raise cut_short(place(path))
        bits = int.from_bytes(block, "little")
        last, kind, length = bool(bits & 1), bits >> 1 & 3, bits >> 3
        end += _BLOCK_HEADER + (1 if kind == _REPEATED_BYTE else length)
    return end + checksum


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _unreadable(path: Path, error: OSError) -> CorpusError:
    return CorpusError(
        f"{path}: cannot be read ({error.strerror})", remedy="check that the file is there, and its permissions"
    )
