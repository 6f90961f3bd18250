"""Child processes that are started together and leave nothing behind: a process group and a log file each."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from deployments.log_files import open_log
from llm.errors import NightshiftError

_GRACE_S = 10.0
_TAIL_LINES = 20


class ServerError(NightshiftError):
    """A server that does not start, does not answer or has died."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived. Like KeyboardInterrupt no Exception, so that only `finally` blocks see it pass."""


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into Terminated, so that `finally` blocks run; Python's default ends the process on the spot.

    SIGHUP, of a terminal that is closed, is taken for SIGTERM, unless it is ignored: that is what `nohup` is for.
    """
    hung_up = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        nonlocal hung_up
        # The shell passes it on and the system sends it too: the second one must not break off what the first began.
        if not hung_up:
            hung_up = True
            # Whoever has taken SIGTERM over meanwhile, as Prefect or a web server does, ends in its own order.
            signal.raise_signal(signal.SIGTERM)

    handlers = {signal.SIGTERM: stop}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handlers[signal.SIGHUP] = hang_up
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore signals that ask for an end: a second one, while children are stopped, must not leave some behind."""
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in asking]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class ChildProcess:
    """One long-running command; stdout and stderr go to `log`, which begins anew unless it is run `again`.

    What the log held before is kept beside it.

    Raises ServerError when the system does not start it.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path, again: bool = False
    ) -> None:
        self.name = name
        self.log = log
        self._stopped = False
        try:
            with open_log(log, again=again) as output:
                # A session of its own: Ctrl-C reaches only us, and we stop the children in order.
                self._process = subprocess.Popen(
                    command,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise ServerError(
                f"{name} could not be started: {error}", remedy="see whether memory, processes or the disk ran out"
            ) from None

    @property
    def pid(self) -> int:
        """Process id, and the id of the process group."""
        return self._process.pid

    def check(self) -> None:
        """Raise ServerError, with the end of the log, when the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise ServerError(
                f"{self.name} stopped with exit code {code}; the end of its log:\n{tail(self.log)}",
                remedy=f"read the whole log: {self.log}",
            )

    def stop(self) -> None:
        """End the process and everything that it started: SIGTERM, ten seconds, SIGKILL."""
        if self._stopped:
            return  # the system may have given its number to another process
        # A worker puts every flow run into a session of its own, out of reach of killpg: remember them first.
        family = tree(self.pid)[1:]
        _signal_group(self.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_GRACE_S)
        _signal_group(self.pid, signal.SIGKILL)
        self._process.wait()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        stubborn = psutil.wait_procs(family, timeout=_GRACE_S)[1]
        for process in stubborn:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(stubborn, timeout=_GRACE_S)
        self._stopped = True


def tail(log: Path, *, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log file, indented; why not, where it cannot be read."""
    try:
        found = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-lines:]
    except OSError as error:
        return f"    ({error})"
    return "\n".join(f"    {line}" for line in found) or "    (empty)"


def tree(pid: int) -> list[psutil.Process]:
    """The process and all that it has started, directly or not; nothing where it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
