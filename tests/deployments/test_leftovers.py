"""What a killed command leaves running is ended by the next one in the same home, and nothing else is."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deployments.leftovers import OWNER_VARIABLE, end_orphans, end_strays, owned

# An owner that starts a server, says which, and waits to be killed. The server does not listen to SIGTERM.
OWNER = """
import os, subprocess, sys, time
from deployments.leftovers import owned
server = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", server], env={**os.environ, **owned()}, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def orphan() -> psutil.Process:
    """A process whose owner was killed."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    left = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    return left


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.leftovers._GRACE_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_a_process_whose_owner_was_killed_is_ended_by_the_next_in_this_home() -> None:
    left = orphan()
    assert runs(left)
    end_orphans()
    assert not runs(left)


def test_a_process_of_another_home_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    left = orphan()
    with monkeypatch.context() as patch:
        patch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "another"))
        end_orphans()
    assert runs(left)
    left.kill()


@contextmanager
def sleeping() -> Iterator[psutil.Process]:
    """A process that we own."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command, env={**os.environ, **owned()}) as child:
        try:
            yield psutil.Process(child.pid)
        finally:
            child.kill()


def test_what_we_own_is_ended_at_our_end_only() -> None:
    with sleeping() as process:
        end_orphans()
        assert runs(process)
        end_orphans(of_this_process=True)
        assert not runs(process)


def test_what_we_own_is_ended_though_its_process_id_was_seen_before_as_another_process() -> None:
    with sleeping() as process:
        [kept] = [one for one in psutil.process_iter() if one.pid == process.pid]
        kept._pid_reused = True
        end_orphans(of_this_process=True)
        assert not runs(process)


@pytest.mark.parametrize("adopted", [False, True], ids=["left to the system", "given to us, as in a container"])
def test_what_a_dead_child_had_started_is_a_stray_but_not_what_a_living_one_did(adopted: bool) -> None:
    with adopting(adopted):
        end_the_dead_and_leave_the_living()


@contextmanager
def adopting(adopted: bool) -> Iterator[None]:
    """Inside, children of dead children become ours, as those of process 1 do."""
    library, child_subreaper = ctypes.CDLL(None), 36
    library.prctl(child_subreaper, int(adopted), 0, 0, 0)
    try:
        yield
    finally:
        library.prctl(child_subreaper, 0, 0, 0, 0)


def end_the_dead_and_leave_the_living() -> None:
    # As a worker does with a flow run: in a session of its own, in its own environment.
    script = (
        "import subprocess, sys, time; "
        "run = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
        "print(run.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script]
    workers = [subprocess.Popen(command, env={**os.environ, **owned()}, stdout=subprocess.PIPE) for _ in range(2)]
    pipes = [worker.stdout for worker in workers if worker.stdout is not None]
    dead, living = (psutil.Process(int(pipe.readline())) for pipe in pipes)
    workers[0].kill()
    workers[0].wait()
    assert runs(dead)
    end_strays([workers[1].pid])
    assert (runs(dead), runs(living), workers[1].poll()) == (False, True, None)
    end_orphans(of_this_process=True)
    for worker, pipe in zip(workers, pipes, strict=True):
        worker.wait()
        pipe.close()
    assert not runs(living)


def test_who_looks_does_not_end_itself_though_its_own_owner_is_gone() -> None:
    owner = {OWNER_VARIABLE: owned()[OWNER_VARIABLE].replace(f"{os.getpid()}/", "999999999/", 1)}
    script = "from deployments.leftovers import end_orphans; end_orphans(); print('still here')"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | owner, capture_output=True, text=True, check=False
    )
    assert done.stdout == "still here\n", done.stderr
