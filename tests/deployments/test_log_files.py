"""Logs: what was there is kept once when a process starts, and a long one is moved aside while it is written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from rest import poll

from deployments.log_files import older, open_log, shorten
from deployments.processes import ChildProcess


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "worker.log"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.log_files.LARGEST_BYTES", 10)


def run(log: Path, line: str, *, again: bool = False) -> None:
    child = ChildProcess("the worker", ["echo", line], environment=os.environ, log=log, again=again)
    child._process.wait()
    child.stop()


def test_a_new_start_keeps_what_the_one_before_wrote_and_nothing_older(log: Path) -> None:
    for line in ("one", "two", "three"):
        run(log, line)
    assert {path.name: path.read_text() for path in log.parent.iterdir()} == {
        "worker.log": "three\n",
        "worker.log.1": "two\n",
    }


def test_a_process_that_is_started_again_writes_on(log: Path) -> None:
    run(log, "one")
    run(log, "two", again=True)
    assert log.read_text() == "one\ntwo\n"
    assert not older(log).exists()


def test_but_not_in_a_log_that_is_long(log: Path, short: None) -> None:
    run(log, "one and more")
    run(log, "two", again=True)
    assert (older(log).read_text(), log.read_text()) == ("one and more\n", "two\n")


def test_a_long_log_is_moved_aside_while_it_is_written_and_holds_what_comes_next(log: Path, short: None) -> None:
    with open_log(log, again=False) as output:
        writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=output)
    with writer:
        assert writer.stdin is not None
        for line, kept in ((b"the first\n", None), (b"the second\n", b"the first\nthe second\n")):
            before = log.stat().st_size
            writer.stdin.write(line)
            writer.stdin.flush()
            poll(lambda before=before, line=line: log.stat().st_size == before + len(line))
            shorten(log)
            assert (older(log).read_bytes() if older(log).exists() else None) == kept
        writer.stdin.write(b"the third\n")
    assert log.read_bytes() == b"the third\n"
