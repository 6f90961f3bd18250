"""Short-lived child processes: work that must not share our memory, or must not outlive us; and who is alive."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_LONGEST_S = 900.0
_WATCH_S = 0.25
# A process id is given out again, so the start time counts too; it moves a little when the clock is set.
_CLOCK_SLACK_S = 5.0


def run_child(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, longest: float = _LONGEST_S
) -> tuple[int, str]:
    """Exit status and stderr of a process that does not outlive us; Prefect's cancellation would leave it alone."""
    process = subprocess.Popen(
        command,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=longest)
    except subprocess.TimeoutExpired:
        return 1, f"it was stopped after {longest} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, errors


def end_with_parent() -> None:
    """Let this process end when the one that started it is killed: its successor would write where we write."""
    parent = os.getppid()

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(_WATCH_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


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


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_line(errors: str) -> str:
    """The line of a traceback that says what happened."""
    lines = [line.strip() for line in errors.strip().splitlines() if line.strip()]
    # Of our own errors it is the line above the remedy, which is for whoever holds the file.
    while len(lines) > 1 and lines[-1].startswith("remedy: "):
        lines.pop()
    return lines[-1] if lines else "it ended without a message"
