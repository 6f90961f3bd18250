"""A server or worker that dies in the night is started again; one that dies again and again is given up."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from deployments.processes import ChildProcess, ServerError

MOST_RESTARTS = 3
WITHIN_S = 600.0
LONGEST_PAUSE_S = 60.0


class KeptProcess:
    """A child process that `start(again)` makes, not again before all is `ready` for it; `check` it often."""

    def __init__(
        self,
        start: Callable[[bool], ChildProcess],
        *,
        ready: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._ready = ready
        self._clock = clock
        self._deaths: list[float] = []
        self._due: float | None = None  # when it is started again
        self._pause = 0.0
        self.child = start(False)

    def check(self) -> str | None:
        """Start it again where it has died, after a pause that doubles; returns what there is to tell.

        A start that fails, for want of memory or because what it needs has died meanwhile, is tried again and again.

        Raises ServerError, with the end of the log, at the fourth death within ten minutes.
        """
        if self._due is not None:
            return self._start_again() if self._clock() >= self._due and self._ready() else None
        try:
            self.child.check()
        except ServerError as error:
            # What it has started may still hold its port.
            self.child.stop()
            now = self._clock()
            self._deaths = [*(death for death in self._deaths if now - death < WITHIN_S), now]
            if len(self._deaths) > MOST_RESTARTS:
                raise
            self._pause = 2.0 ** (len(self._deaths) - 1)
            self._due = now + self._pause
            return f"{_line(error)}: started again in {self._pause:.0f} s"
        return None

    def _start_again(self) -> str | None:
        try:
            self.child, self._due = self._start(True), None
        except (ServerError, OSError, psutil.Error) as error:
            self._pause = min(2.0 * self._pause, LONGEST_PAUSE_S)
            self._due = self._clock() + self._pause
            return f"{_line(error)}: {self.child.name} is tried again in {self._pause:.0f} s"
        return None

    def stop(self) -> None:
        """End it and everything that it started."""
        self.child.stop()


def _line(error: Exception) -> str:
    """The first line of what is wrong, without the word that there is more."""
    return str(getattr(error, "problem", error)).splitlines()[0].split(";")[0]
