"""What a server tells its log: one line for many requests, and no text that anybody sent."""

from __future__ import annotations

import logging
import statistics
import time
from collections import Counter

log = logging.getLogger(__name__)

_EVERY_S = 10.0


class Tally:
    """Counts replies and logs them together, ten seconds' worth a line; not for two threads."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._statuses: Counter[int] = Counter()
        self._seconds: list[float] = []
        self._texts = 0

    def add(self, *, status: int, texts: int, seconds: float) -> None:
        """Count one reply; the first after ten quiet seconds is logged with those before it."""
        self._statuses[status] += 1
        self._texts += texts
        self._seconds.append(seconds)
        if time.monotonic() - self._begun >= _EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Log what was counted since the last line."""
        if self._seconds:
            refused = ", ".join(f"{n} x {status}" for status, n in sorted(self._statuses.items()) if status >= 400)
            log.info(
                "%d requests with %d texts; half within %.0f ms, the slowest %.0f ms%s",
                len(self._seconds),
                self._texts,
                1000 * statistics.median(self._seconds),
                1000 * max(self._seconds),
                f"; refused: {refused}" if refused else "",
            )
        self._begun, self._texts = time.monotonic(), 0
        self._statuses.clear()
        self._seconds.clear()
