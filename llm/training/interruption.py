"""Ctrl-C, SIGTERM and SIGHUP wait until a training has written where it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """The signal that has come and waits, if one has."""

    def __init__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._waiting: signal.Signals | None = None
        self._frame: FrameType | None = None

    @property
    def asked(self) -> bool:
        """True when a signal waits to be delivered."""
        return self._waiting is not None

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler: the first signal waits; a second one is from somebody who does not, and acts at once.

        But a terminal that is closed has no patience to lose: the shell passes SIGHUP on, and the system sends it too.
        """
        if self.asked and number == signal.SIGHUP:
            return
        impatient = self.asked
        self._waiting, self._frame = signal.Signals(number), frame
        if impatient:
            self.deliver()

    def deliver(self) -> None:
        """Let the waiting signal do what it would have done: mostly, an exception is raised or the process ends."""
        # Again where a handler turns its signal into another one, which is ours too.
        while self._waiting is not None:
            number, self._waiting = self._waiting, None
            handler = self._before[number]
            if callable(handler):
                handler(number, self._frame)
            elif handler == signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)


@contextmanager
def interruptions() -> Iterator[Interruption]:
    """Inside, SIGINT, SIGTERM and SIGHUP wait for `deliver`, and for the end at the latest; ignored ones stay ignored.

    Python gives signals to the main thread only; in another one nothing waits, and an interruption costs what was
    trained since the last checkpoint.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interruption.note) for number in heard}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python, and cannot be set from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        interruption.deliver()
