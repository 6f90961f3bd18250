"""A server that lives and does not answer is ended and started again; one that is slow, or halted with us, is not."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from rest import free_port, poll
from running_up import survivors
from set_clock import Clock

from deployments.environment import answers
from deployments.keeping import ASK_EVERY_S, MOST_UNANSWERED, KeptProcess
from deployments.log_files import older
from deployments.processes import ChildProcess

HUNG = "the server has not answered for 5 minutes, and was ended: started again in 1 s"


class Server:
    """A real server that is kept, and what it was asked."""

    def __init__(self, log: Path) -> None:
        port = free_port()
        self.clock = Clock()
        self.questions = 0
        self.answers = partial(answers, f"http://127.0.0.1:{port}/", timeout=0.1)
        command = [
            sys.executable,
            "-m",
            "http.server",
            str(port),
            "--bind",
            "127.0.0.1",
            "--directory",
            str(log.parent),
        ]
        self.kept = KeptProcess(
            lambda again: ChildProcess("the server", command, environment=os.environ, log=log, again=again),
            works=self._works,
            clock=self.clock,
        )

    def _works(self) -> bool:
        self.questions += 1
        return self.answers()

    def send(self, number: signal.Signals) -> None:
        os.killpg(self.kept.child.pid, number)

    def after(self, seconds: float) -> str | None:
        """What `check` tells so much later."""
        self.clock.now += seconds
        return self.kept.check()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("deployments.processes._GRACE_S", 1.0)  # one that is halted does not hear SIGTERM
    started = Server(tmp_path / "server.log")
    poll(started.answers)
    started.kept.check()
    yield started
    started.kept.stop()


def test_one_that_hangs_for_five_minutes_is_ended_and_started_again(server: Server) -> None:
    hung = psutil.Process(server.kept.child.pid)
    server.send(signal.SIGSTOP)
    told = [server.after(ASK_EVERY_S) for _ in range(MOST_UNANSWERED)]
    assert told == [None] * (MOST_UNANSWERED - 1) + [HUNG]
    assert survivors([hung]) == []
    assert server.after(1) is None
    assert server.kept.child.pid != hung.pid
    assert poll(server.answers)


def test_one_that_answers_now_and_then_is_left_alone(server: Server) -> None:
    for _ in range(2):
        server.send(signal.SIGSTOP)
        assert [server.after(ASK_EVERY_S) for _ in range(MOST_UNANSWERED - 1)] == [None] * (MOST_UNANSWERED - 1)
        server.send(signal.SIGCONT)
        poll(server.answers)
        assert server.after(ASK_EVERY_S) is None


def test_hours_in_which_nobody_could_ask_are_one_question(server: Server) -> None:
    server.send(signal.SIGSTOP)
    assert [server.after(3600) for _ in range(MOST_UNANSWERED - 1)] == [None] * (MOST_UNANSWERED - 1)
    assert server.after(3600) == HUNG


def test_what_works_is_asked_twice_a_minute(server: Server) -> None:
    before = server.questions
    for _ in range(4 * 60):
        server.after(0.25)
    assert server.questions == before + 2


def test_one_that_does_not_come_up_has_five_minutes_however_often_it_is_asked(tmp_path: Path, clock: Clock) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    kept = KeptProcess(
        lambda again: ChildProcess("the server", command, environment=os.environ, log=tmp_path / "log", again=again),
        works=lambda: False,
        clock=clock,
    )
    try:
        told: list[str] = []
        while not told:
            clock.now += 0.25
            told += filter(None, [kept.check()])
        assert (told, clock.now) == ([HUNG], 300)
    finally:
        kept.stop()


def test_its_log_is_moved_aside_when_it_is_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.log_files.LARGEST_BYTES", 10)
    log = server.kept.child.log
    assert "GET /" in poll(log.read_text)
    server.after(ASK_EVERY_S - 1)
    assert not older(log).exists()
    server.after(1)
    assert "GET /" in older(log).read_text()


def test_a_log_that_cannot_be_moved_aside_ends_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.log_files.LARGEST_BYTES", 10)
    older(server.kept.child.log).mkdir()
    assert server.after(ASK_EVERY_S) is None
    assert "GET /" in server.kept.child.log.read_text()
