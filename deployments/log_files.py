"""Log files of processes that run for long: the one before is kept, and neither grows without end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

LARGEST_BYTES = 20_000_000


def older(log: Path) -> Path:
    """Where what a log held before is kept."""
    return log.with_name(f"{log.name}.1")


def open_log(log: Path, *, again: bool) -> BinaryIO:
    """Open a log for a process that starts; what is there is moved aside, unless it starts `again` and that is short.

    Raises OSError.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and not (again and log.stat().st_size <= LARGEST_BYTES):
        log.replace(older(log))
    # Each write goes to the end of the file, wherever that is: so `shorten` can empty it meanwhile.
    return log.open("ab")


def shorten(log: Path) -> None:
    """Move what a long log holds aside while its process goes on writing; nothing where it is short.

    A line is lost if it is written just between the last look at the length and the emptying, some microseconds.

    Raises OSError.
    """
    if log.stat().st_size <= LARGEST_BYTES:
        return
    with log.open("rb") as full, older(log).open("wb") as aside:
        while full.tell() < os.fstat(full.fileno()).st_size:
            shutil.copyfileobj(full, aside)
            aside.flush()
        os.truncate(log, 0)
