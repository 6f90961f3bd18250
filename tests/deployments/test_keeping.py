"""A server that dies is started again after a pause, and given up when it does not come up any more."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rest import poll
from running_up import survivors
from set_clock import Clock

from deployments.keeping import COME_UP_S, KeptProcess
from deployments.processes import ChildProcess, ServerError


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[KeptProcess]:
    def start(again: bool) -> ChildProcess:
        script = f"import time; print('again' if {again} else 'first', flush=True); time.sleep(600)"
        command = [sys.executable, "-c", script]
        return ChildProcess("the server", command, environment=os.environ, log=tmp_path / "server.log", again=again)

    kept = KeptProcess(start, clock=clock)
    yield kept
    kept.stop()


def die(server: KeptProcess) -> None:
    os.killpg(server.child.pid, signal.SIGKILL)
    server.child._process.wait()


def test_it_is_started_again_after_a_pause_that_doubles(server: KeptProcess, clock: Clock) -> None:
    assert server.check() is None
    for pause in (1, 2, 4):
        before = server.child.pid
        die(server)
        assert server.check() == f"the server stopped with exit code -9: started again in {pause} s"
        clock.now += pause / 2
        assert (server.check(), server.child.pid) == (None, before)
        clock.now += pause / 2
        assert server.check() is None
        assert server.child.pid != before
        assert server.check() is None


def test_one_that_dies_five_times_in_a_row_before_it_comes_up_is_the_error(
    server: KeptProcess, clock: Clock, tmp_path: Path
) -> None:
    clock.now += COME_UP_S
    server.check()
    die(server)  # it had come up
    server.check()
    for _ in range(4):
        clock.now += 60
        server.check()
        clock.now += COME_UP_S - 1
        server.check()
        die(server)
        assert "started again" in str(server.check())
    clock.now += 60
    server.check()
    die(server)
    with pytest.raises(ServerError, match="the server stopped with exit code -9") as caught:
        server.check()
    assert str(tmp_path / "server.log") in caught.value.remedy


def test_one_that_comes_up_is_started_again_however_often_it_is_killed(tmp_path: Path, clock: Clock) -> None:
    def start(again: bool) -> ChildProcess:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        return ChildProcess("the server", command, environment=os.environ, log=tmp_path / "server.log", again=again)

    kept = KeptProcess(start, works=lambda: True, clock=clock)
    pauses = []
    try:
        for _ in range(8):
            kept.check()
            die(kept)
            pauses.append(str(kept.check()).rpartition("in ")[2])
            clock.now += 60
            kept.check()
    finally:
        kept.stop()
    assert pauses == [f"{seconds} s" for seconds in (1, 2, 4, 8, 16, 32, 60, 60)]


def test_it_is_not_started_again_before_all_is_ready_for_it(tmp_path: Path, clock: Clock) -> None:
    starts: list[bool] = []
    ready: list[bool] = []

    def start(again: bool) -> ChildProcess:
        starts.append(again)
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        return ChildProcess("the worker", command, environment=os.environ, log=tmp_path / "worker.log")

    kept = KeptProcess(start, ready=lambda: bool(ready), clock=clock)
    try:
        die(kept)
        assert "started again" in str(kept.check())
        clock.now += 60
        kept.check()
        assert starts == [False]
        ready.append(True)
        kept.check()
        assert starts == [False, True]
    finally:
        kept.stop()


def test_a_start_that_fails_is_tried_again_ever_later_until_it_works(tmp_path: Path, clock: Clock) -> None:
    failures: list[Exception] = [
        ServerError("the Prefect server did not answer POST flow_runs/filter", remedy="see its log"),
        *[OSError(errno.ENOMEM, "Cannot allocate memory")] * 6,
    ]

    def start(again: bool) -> ChildProcess:
        if again and failures:
            raise failures.pop(0)
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        return ChildProcess("the worker", command, environment=os.environ, log=tmp_path / "worker.log", again=again)

    kept = KeptProcess(start, clock=clock)
    try:
        die(kept)
        assert kept.check() == "the worker stopped with exit code -9: started again in 1 s"
        told = []
        while failures:
            clock.now += 60
            told.append(kept.check())
        away = "the Prefect server did not answer POST flow_runs/filter: the worker is tried again in 2 s"
        full = "[Errno 12] Cannot allocate memory: the worker is tried again in {} s"
        assert told == [away, *(full.format(seconds) for seconds in (4, 8, 16, 32, 60, 60))]
        clock.now += 59
        dead = kept.child.pid
        assert (kept.check(), kept.child.pid) == (None, dead)
        clock.now += 1
        assert kept.check() is None
        assert kept.child.pid != dead
        assert kept.check() is None
    finally:
        kept.stop()


def test_what_the_system_does_not_start_is_an_error_with_its_name(tmp_path: Path) -> None:
    command = [str(tmp_path / "nowhere")]
    with pytest.raises(ServerError, match=r"the worker could not be started: .*No such file or directory.*nowhere"):
        ChildProcess("the worker", command, environment={}, log=tmp_path / "worker.log")


def test_deaths_of_long_ago_have_no_part_in_the_pause(server: KeptProcess, clock: Clock) -> None:
    for _ in range(3):
        clock.now += COME_UP_S
        server.check()
        die(server)
        assert server.check() == "the server stopped with exit code -9: started again in 1 s"
        clock.now += 601
        server.check()


def test_what_a_dead_server_had_started_is_gone_before_the_next_one_needs_its_port(
    tmp_path: Path, clock: Clock
) -> None:
    helper = "import time; time.sleep(600)"
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {helper!r}]); time.sleep(600)"

    def start(again: bool) -> ChildProcess:
        command = [sys.executable, "-c", script]
        return ChildProcess("the server", command, environment=os.environ, log=tmp_path / "server.log", again=again)

    kept = KeptProcess(start, clock=clock)
    try:
        process = psutil.Process(kept.child.pid)
        [left] = poll(process.children)
        process.kill()
        kept.child._process.wait()
        assert left.is_running()
        kept.check()
        assert survivors(psutil.wait_procs([left], timeout=10)[1]) == []
    finally:
        kept.stop()
