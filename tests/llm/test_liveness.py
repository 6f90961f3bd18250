"""Processes that live, that have ended, and that nobody has waited for yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from llm.liveness import is_alive, is_this, this_process

NAMED = "import time; from llm.liveness import this_process; print(this_process(), flush=True); time.sleep(600)"


def test_a_process_is_alive_until_it_ends_though_nobody_has_waited_for_it_yet():
    with subprocess.Popen([sys.executable, "-c", NAMED], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        named = child.stdout.readline().strip()
        assert is_alive(named)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still to be waited for
        assert not is_alive(named)
    assert not is_alive(named)


def test_a_process_id_that_was_given_out_again_is_another_process():
    pid, start = this_process().split("/")
    ticks, boot = start.split("-")
    assert is_alive(this_process())
    assert is_this(this_process())
    for other in (f"{pid}/{int(ticks) - 1}-{boot}", f"{pid}/{ticks}-another", f"{os.getppid()}/{start}"):
        assert not is_alive(other)
        assert not is_this(other)


def test_what_a_process_is_called_does_not_depend_on_the_clock():
    ticks = int(this_process().split("/")[1].split("-")[0])
    with Path("/proc/uptime").open() as file:
        up = float(file.read().split()[0])
    assert 0 < ticks / os.sysconf("SC_CLK_TCK") <= up
    assert this_process() == this_process()


def test_names_of_older_versions_hold_seconds_since_1970_which_may_move_a_little():
    started = psutil.Process().create_time()
    for moved in (-1.0, 0.0, 1.0):
        assert is_this(f"{os.getpid()}/{started + moved}")
        assert is_alive(f"{os.getpid()}/{started + moved}")
    assert not is_this(f"{os.getpid()}/{started - 60.0}")
    assert not is_alive(f"{os.getpid()}/1000.0")
