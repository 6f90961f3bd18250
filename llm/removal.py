"""Folders that nothing has used for long, of whatever kind: found, and removed, but for those that somebody uses."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from llm.errors import StageError
from llm.use import unheld

# Where folders wait for their end, out of the way of who looks for them.
_REMOVED = ".removed"
_LOCK = ".pruning.lock"
_LOCK_TIMEOUT_S = 600.0
# Of a temporary file that no process here writes: a container that shares the folder has process ids of its own.
_SETTLED_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unused:
    """A file or folder that was last used then, which its own time tells, and what it holds."""

    path: Path
    used: float  # seconds since 1970
    bytes: int


def unused(paths: Iterable[Path], *, since: datetime) -> list[Unused]:
    """Those of the files and folders that nothing has used since then; the longest unused first."""
    limit = since.astimezone(UTC).timestamp()
    found = [one for path in paths if not path.is_symlink() and (one := _looked_at(path, limit)) is not None]
    return sorted(found, key=lambda one: (one.used, one.path))


def _looked_at(path: Path, limit: float) -> Unused | None:
    try:
        used = path.stat().st_mtime
        if used >= limit:
            return None
        size = sum(part.stat().st_size for part in (path, *path.rglob("*")) if part.is_file())
    except FileNotFoundError:
        return None  # somebody is at work in it
    return Unused(path, used, size)


def remove_folders(
    folders: Iterable[Unused], *, root: Path, lock_of: Callable[[Path], Path] | None = None
) -> list[Unused]:
    """Remove folders under `root`, but for those that are held, or used after all; returns those removed.

    `lock_of` gives the lock file that whoever fills a folder holds. One that cannot be removed is told and passed over.

    Raises StageError when another process removes there for ten minutes.
    """
    if not root.exists():
        return []
    with removing(root) as waiting:
        return [folder for folder in folders if _put_away(folder, waiting, lock_of)]


def _put_away(folder: Unused, waiting: Path, lock_of: Callable[[Path], Path] | None) -> bool:
    path = folder.path
    try:
        with ExitStack() as locks:
            if lock_of is not None:
                locks.enter_context(FileLock(lock_of(path), timeout=0))
            locks.enter_context(unheld(path))
            if path.stat().st_mtime == folder.used:
                os.replace(path, waiting / f"{path.parent.name}-{path.name}-{os.getpid()}")
                return True
    except (Timeout, BlockingIOError):
        log.info("%s is in use, and stays", path)
    except OSError as error:
        tell(None, str(path), (type(error), error, None))
    return False


@contextmanager
def removing(root: Path) -> Iterator[Path]:
    """Inside, no other process removes under `root`; what is put into the folder that it gives is gone at the end.

    So is what an earlier removal left there.

    Raises StageError when another process removes for ten minutes.
    """
    waiting = root / _REMOVED
    lock = FileLock(root / _LOCK, timeout=_LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout:
        raise StageError(
            f"{root}: another process has been removing what is old for {_LOCK_TIMEOUT_S / 60:.0f} minutes",
            remedy="stop that process, or wait for it",
        ) from None
    try:
        waiting.mkdir(exist_ok=True)
        yield waiting
        for folder in waiting.iterdir():
            shutil.rmtree(folder, onerror=tell)
    finally:
        lock.release()


def remove_locks(folder: Path, *, needed: Callable[[str], bool]) -> None:
    """Remove the lock files `.key.lock` of keys that are not `needed`, but for those that somebody holds.

    Whoever waits for one is not misled: filelock begins anew where the file that it has locked was removed meanwhile.
    """
    for path in folder.glob(".*.lock"):
        key = path.name.removeprefix(".").removesuffix(".lock")
        if path.name == _LOCK or needed(key):
            continue
        try:
            with FileLock(path, timeout=0):
                if not needed(key):
                    path.unlink()
        except Timeout:
            continue  # it is being made
        except OSError as error:
            tell(None, str(path), (type(error), error, None))


def remove_temporaries(folder: Path) -> None:
    """Remove the files that `llm.files.write_atomically` began in `folder` in processes that are gone."""
    for path in folder.glob(".*.*.tmp"):
        writer = path.name.removesuffix(".tmp").rpartition(".")[2]
        try:
            settled = time.time() - path.stat().st_mtime > _SETTLED_S
            if settled and writer.isdecimal() and not psutil.pid_exists(int(writer)):
                path.unlink()
        except FileNotFoundError:
            continue  # it has become what it was written for
        except OSError as error:
            tell(None, str(path), (type(error), error, None))


def tell(_function: object, path: str, failed: tuple[object, BaseException, object]) -> None:
    """Say that a path cannot be removed, and why; the form is that of `shutil.rmtree`."""
    log.warning("%s cannot be removed: %s", path, failed[1])
