"""Files that survive a crash: written to a temporary name, fsynced, renamed; and their checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm.errors import StageError, StorageError

_CHUNK = 1 << 20
# What a disk says that takes no more, whoever wrote.
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG})
# So does Rust (safetensors, tokenizers), in the text of an exception of its own.
_RUST = re.compile(r"(?:os error |code: )(\d+)")
# A temporary file as old as this belongs to a process that was killed.
_ABANDONED_S = 3600.0
_ABANDONED_FOLDER_S = 24 * 3600.0


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in chunks.

    Raises OSError when it is missing, or is a pipe or a device.
    """
    digest = hashlib.sha256()
    _require_regular(path)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class HashedFile:
    """A file that is written from its beginning, and its SHA-256, taken in a thread meanwhile; for a `with` block."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)
        self._hashing: Future[None] | None = None

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown()
        self._file.close()

    def write(self, data: bytes) -> None:
        """Write `data` behind what is there."""
        if self._hashing is not None:
            self._hashing.result()
        # Hashing more than 2 kB lets other threads run.
        self._hashing = self._thread.submit(self._digest.update, data)
        self._file.write(data)

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of all that was written."""
        if self._hashing is not None:
            self._hashing.result()
        return self._digest.hexdigest()


def canonical_json(value: Any) -> str:
    """The same text for the same value, whatever the order of its keys: what hashes are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what a disk that is full or failing raises into a StorageError that names the file, or else `path`."""
    try:
        yield
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise StorageError(
            f"{getattr(error, 'filename', None) or path}: cannot be written ({reason})",
            remedy="free space on that disk, or look whether it fails, and run again: what is finished is kept",
        ) from error


def refusal(error: BaseException) -> str | None:
    """In words, why a disk did not take what was written; None when `error` is about something else."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (type(error) is Exception or type(error).__name__ == "SafetensorError"):
        found = _RUST.search(str(error))
        number = int(found[1]) if found else None
    return os.strerror(number) if number in _REFUSALS else None


def refusal_beneath(error: BaseException) -> str | None:
    """In words, why a disk did not take what was written, where `error` or one that led to it says so."""
    words = {os.strerror(number) for number in _REFUSALS}
    beneath: BaseException | None = error
    while beneath is not None:
        # shutil puts what it could not copy into a list of texts.
        if found := next((word for word in words if word in str(beneath)), None):
            return found
        beneath = beneath.__cause__ or beneath.__context__
    return None


def fsync_folder(folder: Path) -> None:
    """Make a rename or a new name inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Make every file and name under `folder` durable."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            fsync_folder(path)
    fsync_folder(folder)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it over `path`: readers see the old or the new."""
    for abandoned in path.parent.glob(f".{path.name}.*.tmp"):
        _clear(abandoned)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)


def _clear(temporary: Path) -> None:
    try:
        if time.time() - temporary.stat().st_mtime > _ABANDONED_S:
            temporary.unlink()
    except FileNotFoundError:
        return  # another process was faster


def temporary_folder(parent: Path, *, prefix: str) -> tempfile.TemporaryDirectory[str]:
    """A folder in `parent` that goes with its `with` block; those of killed processes go when they are a day old."""
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{prefix}*"):
        # A folder's own time says nothing of a file that grows in it.
        times = [path.stat().st_mtime for path in (left, *left.rglob("*")) if path.exists()]
        if times and time.time() - max(times) > _ABANDONED_FOLDER_S:
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.TemporaryDirectory(dir=parent, prefix=prefix)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, since JSON has neither."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomically(path, lambda temporary: _write_text(temporary, text + "\n"))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def read_json(path: Path, *, largest: int = 1 << 30) -> Any:
    """Read JSON of at most `largest` bytes.

    Raises StageError that names the file when it is missing, is larger, or is not JSON.
    """
    try:
        _require_regular(path)
        size = path.stat().st_size
        if size > largest:
            raise ValueError(f"{size:,} bytes, and at most {largest:,} are read")
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        reason = "nested deeper than the parser goes"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise StageError(f"{path}: cannot be read as JSON ({reason})", remedy="delete its folder and run again")


def _require_regular(path: Path) -> None:
    # Opening a pipe waits for a writer for ever, and a device has no end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file that we wrote ourselves."""
    # Only "\n" ends a row: str.splitlines would also cut at U+2028, which may stand inside a string.
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)
