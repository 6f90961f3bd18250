"""What a wait looks like: a bar or a spinner on a terminal, a log line now and then elsewhere; never on stdout."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

T = TypeVar("T")
Clock = Callable[[], float]

_LOG_EVERY_S = 15.0
# Shorter waits pass in silence: a display that flashes up and goes tells nobody anything.
_SILENT_S = 2.0
_REDRAW_S = 0.2
_SPINNER = "|/-\\"

log = logging.getLogger(__name__)


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, in this thread, `track` shows nothing: a server's batches are no wait of the person at the terminal."""
    before = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(before)


def track(iterable: Iterable[T], *, label: str, total: int | None = None) -> Iterator[T]:
    """Yield the items of `iterable`, showing how far it is.

    `total` is the number of items; left out, it is taken from `len(iterable)` where there is one. On a terminal a bar
    that disappears at the end is drawn on stderr; elsewhere a line is logged every 15 seconds.
    """
    if _quiet.get():
        return iter(iterable)
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        return _bar(iterable, label=label, total=total)
    return _lines(iterable, label=label, total=total, clock=time.monotonic)


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Show that something of unknown length goes on: seconds spent, on a terminal beside a spinner."""
    show = _spin if sys.stderr.isatty() else _log_elapsed
    with _shown(label, lambda over: show(label, over)):
        yield


@contextmanager
def following(label: str, *, total: int, done: Callable[[], int]) -> Iterator[None]:
    """Show how far something is that goes on elsewhere: `done()` of `total`, asked for now and then in a thread.

    As by `track`: a bar on a terminal, a log line every 15 seconds elsewhere.
    """
    show = _follow_on_bar if sys.stderr.isatty() else _log_followed
    with _shown(label, lambda over: show(label, total, done, over)):
        yield


@contextmanager
def _shown(label: str, show: Callable[[threading.Event], None]) -> Iterator[None]:
    """Let `show` run in a thread until its event is set, then log how long it took."""
    started = time.monotonic()
    over = threading.Event()
    thread = threading.Thread(target=show, args=(over,), name=f"waiting: {label}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        elapsed = time.monotonic() - started
        if elapsed >= _SILENT_S:
            log.info("%s: %.1f s", label, elapsed)


def _bar(iterable: Iterable[T], *, label: str, total: int | None) -> Iterator[T]:
    # Without the redirection, a log line would be printed into the middle of the bar.
    with logging_redirect_tqdm(), tqdm(iterable, desc=label, total=total, leave=False, file=sys.stderr) as bar:
        yield from bar


def _lines(
    iterable: Iterable[T], *, label: str, total: int | None, clock: Clock, every: float = _LOG_EVERY_S
) -> Iterator[T]:
    started = reported = clock()
    for done, item in enumerate(iterable):
        now = clock()
        if now - reported >= every:
            reported = now
            log.info("%s", progress_line(label, done=done, total=total, elapsed=now - started))
        yield item


def progress_line(label: str, *, done: int, total: int | None, elapsed: float) -> str:
    """One sentence: `training: 120 of 400 (30 %), 24 s, about 56 s left`; `elapsed` in seconds."""
    if not total:
        return f"{label}: {done:,}, {elapsed:.0f} s"
    line = f"{label}: {done:,} of {total:,} ({100 * done / total:.0f} %), {elapsed:.0f} s"
    if done == 0:
        return line
    return f"{line}, about {elapsed * (total - done) / done:.0f} s left"


def _spin(label: str, done: threading.Event) -> None:
    started = time.monotonic()
    if done.wait(_SILENT_S):
        return
    turn = 0
    while not done.wait(_REDRAW_S):
        turn += 1
        text = f"\r{_SPINNER[turn % len(_SPINNER)]} {label}: {time.monotonic() - started:.0f} s"
        sys.stderr.write(text + "\x1b[K")
        sys.stderr.flush()
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()


def _log_elapsed(label: str, done: threading.Event) -> None:
    started = time.monotonic()
    while not done.wait(_LOG_EVERY_S):
        log.info("%s: %.0f s so far", label, time.monotonic() - started)


def _follow_on_bar(label: str, total: int, done: Callable[[], int], over: threading.Event) -> None:
    with logging_redirect_tqdm(), tqdm(desc=label, total=total, leave=False, file=sys.stderr) as bar:
        while not over.wait(_REDRAW_S):
            bar.update(done() - bar.n)


def _log_followed(
    label: str, total: int, done: Callable[[], int], over: threading.Event, *, every: float = _LOG_EVERY_S
) -> None:
    started = time.monotonic()
    while not over.wait(every):
        log.info("%s", progress_line(label, done=done(), total=total, elapsed=time.monotonic() - started))
