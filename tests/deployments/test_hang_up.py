"""A terminal that is closed ends a command in order, unless the command was to outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from closed_terminal import on_a_terminal
from running_up import survivors

from deployments.processes import Terminated, terminable, undisturbed

# What `up` does with its servers, with one that is no server. It talks before and after its terminal is closed.
COMMAND = """
import os, signal, sys
from pathlib import Path
from deployments.processes import ChildProcess, Terminated, terminable, undisturbed
from deployments.telling import tell
from llm.progress import waiting

folder = Path(sys.argv[1])
command = [sys.executable, "-c", "import signal; signal.pause()"]
try:
    with terminable():
        child = ChildProcess("the example", command, environment=os.environ, log=folder / "example.log")
        try:
            tell(f"child {child.pid} is up")
            signal.pause()
        finally:
            with undisturbed(), waiting("stopping"):
                tell("stopping")
                tell("stopping", err=True)
                child.stop()
                (folder / "ended").touch()
except Terminated:
    tell("stopped", err=True)
    raise SystemExit(7)
"""


@pytest.fixture
def restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_ends_all_that_was_started_though_nothing_can_be_written_any_more(tmp_path: Path) -> None:
    with on_a_terminal([sys.executable, "-c", COMMAND, str(tmp_path)], environment=os.environ) as terminal:
        child = psutil.Process(int(terminal.read_until(lambda shown: "is up" in shown).split()[1]))
        terminal.close()
        # Not 120, Python's own for what it cannot write at its end.
        assert terminal.process.wait(60) == 7
    assert survivors([child]) == []
    assert (tmp_path / "ended").exists()


def test_a_reader_that_is_gone_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"is up" in process.stdout.readline()
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 7
    assert (tmp_path / "ended").exists()


def test_under_nohup_it_goes_on() -> None:
    script = """
import os, signal
from deployments.processes import terminable, undisturbed
from llm.training.interruption import interruptions
with terminable(), interruptions() as interruption:
    with undisturbed():
        pass
    os.kill(os.getpid(), signal.SIGHUP)
    print("asked" if interruption.asked else "goes on")
"""
    done = subprocess.run(
        ["nohup", sys.executable, "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert done.stdout == "goes on\n"


def test_a_second_one_does_not_break_off_the_end_that_the_first_began() -> None:
    ended = []

    def end() -> None:
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(signal.SIGHUP)
            ended.append(True)

    with pytest.raises(Terminated), terminable():
        end()
    assert ended


def test_whoever_has_taken_sigterm_over_is_asked_in_its_place() -> None:
    heard: list[int] = []
    with terminable():
        before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
        signal.raise_signal(signal.SIGHUP)
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_while_children_are_stopped_it_is_not_heard_and_later_it_is_what_it_was(restored: None) -> None:
    heard: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _frame: heard.append(number))
    with undisturbed():
        signal.raise_signal(signal.SIGHUP)
    with terminable():
        assert heard == []
    signal.raise_signal(signal.SIGHUP)
    assert heard == [signal.SIGHUP]
