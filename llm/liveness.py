"""Which process is alive, by its id and the time at which it started; apart, since what loads a model has no psutil."""

from __future__ import annotations

import os

import psutil

# A process id is given out again, so the start time counts too; it moves a little when the clock is set.
_CLOCK_SLACK_S = 5.0


def this_process() -> str:
    """Process id and start time: they name a process of this machine, and are compared by the functions below."""
    return f"{os.getpid()}/{psutil.Process().create_time()}"


def is_this(process: str) -> bool:
    """True of the process that asks."""
    return _same(process, psutil.Process())


def is_alive(process: str) -> bool:
    """True while the process of that id and start time works; one that is dead and not yet waited for does not."""
    try:
        found = psutil.Process(int(process.partition("/")[0]))
        return _same(process, found) and bool(found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _same(process: str, found: psutil.Process) -> bool:
    pid, started = process.split("/")
    return int(pid) == found.pid and bool(abs(found.create_time() - float(started)) < _CLOCK_SLACK_S)
