"""Which process is alive, by its id and the time at which it started; apart, since what loads a model has no psutil."""

from __future__ import annotations

import os

import psutil

# A process id is given out again, so the start time counts too; it moves a little when the clock is set.
_CLOCK_SLACK_S = 5.0


def this_process() -> str:
    """Process id and start time, which name a process of this machine for good: see `is_alive`."""
    return f"{os.getpid()}/{psutil.Process().create_time()}"


def is_alive(process: str) -> bool:
    """True while the process of that id and start time works; one that is dead and not yet waited for does not."""
    pid, started = process.split("/")
    try:
        found = psutil.Process(int(pid))
        same = abs(found.create_time() - float(started)) < _CLOCK_SLACK_S
        return bool(same and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
