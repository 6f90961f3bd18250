"""Which process is alive, by its id and its start; apart, since what loads a model has no psutil.

A process id is given out again, so the start counts too. In seconds since 1970 it would move when the clock is set, as
it is after a virtual machine has been paused: every living process would be taken for dead. So it is counted from the
boot, of which there is a name.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_STAT = "/proc/{}/stat"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_BOOT_LENGTH = 8
# Behind the name of the program, which may hold anything: proc(5), field 22.
_START_FIELD = 19
# Of starts in seconds since 1970, as older versions wrote them, and as systems without /proc know them.
_CLOCK_SLACK_S = 5.0


def this_process() -> str:
    """Process id and start, which name a process of this machine for good: see `is_alive`."""
    pid = os.getpid()
    return f"{pid}/{_since_boot(pid) or psutil.Process(pid).create_time()}"


def is_this(process: str) -> bool:
    """True of the process that asks."""
    pid, start = process.split("/")
    return int(pid) == os.getpid() and _began(int(pid), start)


def is_alive(process: str) -> bool:
    """True while the process of that id and start works; one that is dead and not yet waited for does not."""
    pid, start = process.split("/")
    try:
        return _began(int(pid), start) and bool(psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _began(pid: int, start: str) -> bool:
    """Whether the process of that id, if there is one, began then."""
    if "-" in start:
        return start == _since_boot(pid)
    return bool(abs(psutil.Process(pid).create_time() - float(start)) < _CLOCK_SLACK_S)


def _since_boot(pid: int) -> str:
    """Ticks from the boot to the start, and which boot; empty where there is no such process, or no /proc."""
    try:
        fields = Path(_STAT.format(pid)).read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return f"{fields[_START_FIELD]}-{_BOOT.read_text(encoding='ascii')[:_BOOT_LENGTH]}"
    except (FileNotFoundError, ProcessLookupError):
        return ""
