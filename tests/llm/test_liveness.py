"""Processes that live, that have ended, and that nobody has waited for yet."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

from llm.liveness import is_alive, is_this, this_process


def test_a_process_is_alive_until_it_ends_though_nobody_has_waited_for_it_yet():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        named = f"{child.pid}/{psutil.Process(child.pid).create_time()}"
        assert is_alive(named)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still to be waited for
        assert not is_alive(named)
    assert not is_alive(named)


def test_a_process_id_that_was_given_out_again_is_another_process():
    assert is_alive(this_process())
    assert not is_alive(f"{os.getpid()}/1000.0")


def test_a_process_is_the_same_after_the_clock_was_set_by_a_second():
    pid, started = this_process().split("/")
    for moved in (-1.0, 0.0, 1.0):
        named = f"{pid}/{float(started) + moved}"
        assert is_this(named)
        assert is_alive(named)
    assert not is_this(f"{pid}/{float(started) - 60.0}")
    assert not is_this(f"{os.getppid()}/{started}")
