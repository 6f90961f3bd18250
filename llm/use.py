"""That something is used: its time is renewed, and what a process holds is not removed as long as that lives."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

# Descriptors that stay open until the process ends, and their locks with them; by device and inode.
_held: dict[tuple[int, int], int] = {}


def note_use(path: Path) -> None:
    """Renew the time of a file or folder: what nothing has used for long is removed.

    Raises FileNotFoundError when it is gone.
    """
    try:
        os.utime(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        # Somebody else's, or a disk that only reads: it can be used all the same.
        log.debug("the use of %s cannot be noted: %s", path, error)


def held(find: Callable[[], Path]) -> Path:
    """The folder that `find` gives, held; found again where it was removed in between."""
    while True:
        folder = find()
        if hold(folder):
            return folder


def hold(folder: Path) -> bool:
    """Note the use of a folder and keep it from removal until this process ends; False: it is gone.

    Files that are open survive a removal, but some are opened late: CTranslate2's, whenever an answer has a seed.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        # Where a file system knows no locks, `unheld` fails too, and nothing is removed.
        log.debug("%s cannot be held: %s", folder, error)
    try:
        note_use(folder)
        there = os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        there = False
    found = os.fstat(descriptor)
    if not there or _held.setdefault((found.st_dev, found.st_ino), descriptor) != descriptor:
        os.close(descriptor)
    return there


@contextmanager
def unheld(folder: Path) -> Iterator[None]:
    """Inside, nobody holds the folder; who comes to, waits, and then looks whether it is still there.

    Raises BlockingIOError when somebody holds it, OSError when it is gone or cannot be locked.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
