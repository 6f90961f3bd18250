"""Waits: what is shown, where, and that nothing of it reaches stdout."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from llm import progress


class StepClock:
    """A clock that moves on by `step` seconds whenever it is read."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class TerminalText:
    """Collects what is written, and says that it is a terminal."""

    def __init__(self) -> None:
        self.text = ""
        self.drawn = threading.Event()

    def write(self, text: str) -> int:
        self.text += text
        if text.startswith("\r") and ": " in text:
            self.drawn.set()
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""

    def isatty(self) -> bool:
        return True


def lines_of(count: int, *, step: float, total: int | None) -> Iterator[int]:
    return progress._lines(range(count), label="reading", total=total, clock=StepClock(step))


def test_every_item_comes_through_in_order() -> None:
    assert list(progress.track(iter([3, 1, 2]), label="reading")) == [3, 1, 2]


def test_without_a_terminal_a_line_is_logged_every_fifteen_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="llm.progress")
    list(lines_of(10, step=5.0, total=10))
    # The clock reads 5 s at the start and 5 s more before each item: lines before items 2, 5 and 8 (counted from 0).
    assert caplog.messages == [
        "reading: 2 of 10 (20 %), 15 s, about 60 s left",
        "reading: 5 of 10 (50 %), 30 s, about 30 s left",
        "reading: 8 of 10 (80 %), 45 s, about 11 s left",
    ]


def test_a_fast_loop_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="llm.progress")
    list(lines_of(100, step=0.1, total=100))
    assert caplog.messages == []


def test_without_a_total_the_line_only_counts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="llm.progress")
    list(lines_of(1, step=20.0, total=None))
    assert caplog.messages == ["reading: 0, 20 s"]


def test_the_total_is_taken_from_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalText()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    list(progress.track([1, 2, 3, 4], label="reading"))
    assert "0/4" in terminal.text


def test_on_a_terminal_a_bar_is_drawn_on_stderr_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = TerminalText()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    list(progress.track(range(3), label="reading"))
    assert "reading" in terminal.text
    assert capsys.readouterr().out == ""


def test_an_error_inside_a_wait_reaches_the_caller_and_ends_the_display() -> None:
    before = set(threading.enumerate())
    with pytest.raises(ValueError, match="broken"), progress.waiting("loading"):
        raise ValueError("broken")
    assert set(threading.enumerate()) == before


def test_on_a_terminal_a_wait_draws_a_spinner_and_wipes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = TerminalText()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_SILENT_S", 0.0)
    monkeypatch.setattr(progress, "_REDRAW_S", 0.001)
    with progress.waiting("loading"):
        assert terminal.drawn.wait(timeout=30)
    assert "loading: 0 s" in terminal.text
    assert terminal.text.endswith("\r\x1b[K")
    assert capsys.readouterr().out == ""


def test_a_short_wait_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="llm.progress")
    with progress.waiting("loading"):
        pass
    assert caplog.messages == []


def test_what_goes_on_elsewhere_is_told_by_how_much_of_it_is_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="llm.progress")
    counts = iter([3, 8])
    over = threading.Event()

    def done() -> int:
        count = next(counts)
        if count == 8:
            over.set()
        return count

    progress._log_followed("reading", 8, done, over, every=0.01)
    assert [message.split(",")[0] for message in caplog.messages] == [
        "reading: 3 of 8 (38 %)",
        "reading: 8 of 8 (100 %)",
    ]


def test_on_a_terminal_what_goes_on_elsewhere_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalText()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress.following("reading", total=8, done=lambda: 3):
        assert terminal.drawn.wait(10)
    assert "reading:" in terminal.text
    assert "/8" in terminal.text


def test_in_a_quiet_thread_nothing_is_drawn_even_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalText()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress.quiet():
        assert list(progress.track([1, 2, 3], label="reading")) == [1, 2, 3]
    assert terminal.text == ""
    assert list(progress.track([1, 2, 3], label="reading")) == [1, 2, 3]
    assert "reading" in terminal.text
