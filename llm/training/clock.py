"""The times of one run of a training; what adds up over all runs is progress."""

from __future__ import annotations

import time


class Clock:
    """Runs from its making; `targets` were predicted before."""

    def __init__(self, targets: int) -> None:
        self._lapped = self._pointed = time.monotonic()
        self._targets = targets

    def speed(self, targets: int) -> float:
        """Targets a second since the last call, when `targets` have been predicted in all."""
        now = time.monotonic()
        seconds, self._pointed = now - self._pointed, now
        done, self._targets = targets - self._targets, targets
        return done / max(seconds, 1e-9)

    def running(self) -> float:
        """Seconds since the last lap, which goes on."""
        return time.monotonic() - self._lapped

    def lap(self) -> float:
        """Seconds since the last lap, which ends."""
        now = time.monotonic()
        seconds, self._lapped = now - self._lapped, now
        return seconds
