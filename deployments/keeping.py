"""A server or worker that dies in the night is started again; one that dies again and again is given up."""

from __future__ import annotations

import time
from collections.abc import Callable

from deployments.processes import ChildProcess, ServerError

MOST_RESTARTS = 3
WITHIN_S = 600.0


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
        self.child = start(False)

    def check(self) -> str | None:
        """Start it again where it has died, after a pause that doubles; returns what there is to tell.

        Raises ServerError, with the end of the log, at the fourth death within ten minutes; a start that fails, because
        what it needs has died meanwhile, is one more.
        """
        now = self._clock()
        try:
            if self._due is None:
                self.child.check()
            elif now >= self._due and self._ready():
                self.child, self._due = self._start(True), None
        except ServerError as error:
            # What it has started may still hold its port.
            self.child.stop()
            self._deaths = [*(death for death in self._deaths if now - death < WITHIN_S), now]
            if len(self._deaths) > MOST_RESTARTS:
                raise
            pause = 2.0 ** (len(self._deaths) - 1)
            self._due = now + pause
            return f"{error.problem.splitlines()[0].split(';')[0]}: started again in {pause:.0f} s"
        return None

    def stop(self) -> None:
        """End it and everything that it started."""
        self.child.stop()
