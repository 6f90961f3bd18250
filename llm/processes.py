"""Short-lived child processes: work that must not share our memory, or must not outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_LONGEST_S = 900.0
_WATCH_S = 0.25


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
