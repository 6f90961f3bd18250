"""A server or worker that dies or hangs is started again; one that does not come up any more is given up."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from deployments.log_files import shorten
from deployments.processes import ChildProcess, ServerError, tail

MOST_IN_VAIN = 5
LONGEST_PAUSE_S = 60.0
# Deaths longer ago have no part in the pause before the next start.
WITHIN_S = 600.0
# What has lived so long is up, where nobody can say it better.
COME_UP_S = 15.0
# Of what has come up, it is asked now and then whether it still works: this often, and so many failures in a row are a
# process that hangs. Questions are counted, not seconds: while a machine sleeps nobody asks.
ASK_EVERY_S = 30.0
MOST_UNANSWERED = 10
# That one question may take. On loopback it takes milliseconds, but a busy server is no reason to end a night's work.
PATIENCE_S = 10.0


class KeptProcess:
    """A child process that `start(again)` makes, not again before all is `ready` for it; `check` it often.

    `works` says whether it has come up, and later whether it still answers; it may take PATIENCE_S seconds.
    """

    def __init__(
        self,
        start: Callable[[bool], ChildProcess],
        *,
        ready: Callable[[], bool] = lambda: True,
        works: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._ready = ready
        self._works = works or (lambda: clock() - self._started >= COME_UP_S)
        self._clock = clock
        self._deaths: list[float] = []
        self._in_vain = 0  # starts in a row that did not come up
        self._due: float | None = None  # when it is started again
        self._pause = 0.0
        self._begin(start(False))

    def _begin(self, child: ChildProcess) -> None:
        self.child, self._started, self._worked = child, self._clock(), False
        self._asked, self._unanswered = self._started, 0

    def check(self) -> str | None:
        """Start it again where it has died or hangs, after a pause that doubles; returns what there is to tell.

        However often it is killed. One that has not worked for five minutes, asked every 30 seconds, hangs: it is ended
        with all that it started. A start that fails, for want of memory or because what it needs has died meanwhile,
        is tried again and again.

        Raises ServerError, with the end of the log, when it has died five times in a row before it came up.
        """
        if self._due is not None:
            return self._start_again() if self._clock() >= self._due and self._ready() else None
        try:
            self.child.check()
            self._ask()
        except ServerError as error:
            # What it has started may still hold its port.
            self.child.stop()
            self._in_vain = 0 if self._worked else self._in_vain + 1
            if self._in_vain >= MOST_IN_VAIN:
                raise
            now = self._clock()
            self._deaths = [*(death for death in self._deaths if now - death < WITHIN_S), now]
            self._pause = min(2.0 ** (len(self._deaths) - 1), LONGEST_PAUSE_S)
            self._due = now + self._pause
            return f"{_line(error)}: started again in {self._pause:.0f} s"
        return None

    def _ask(self) -> None:
        now = self._clock()
        due = now - self._asked >= ASK_EVERY_S
        if self._worked and not due:
            return
        if due:
            # A full disk: the log stays as it is.
            with suppress(OSError):
                shorten(self.child.log)
        if self._works():
            self._worked, self._asked, self._unanswered = True, now, 0
        elif due:
            self._asked, self._unanswered = now, self._unanswered + 1
        if self._unanswered >= MOST_UNANSWERED:
            minutes = MOST_UNANSWERED * ASK_EVERY_S / 60
            raise ServerError(
                f"{self.child.name} has not answered for {minutes:.0f} minutes, and was ended; the end of its log:\n"
                f"{tail(self.child.log)}",
                remedy=f"read the whole log: {self.child.log}",
            )

    def _start_again(self) -> str | None:
        try:
            self._begin(self._start(True))
            self._due = None
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
