from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from llm.processes import last_line, run_child


def test_the_last_line_of_a_traceback_is_what_happened():
    assert last_line("Traceback:\n  File x\nValueError: no such thing\n\n") == "ValueError: no such thing"
    assert last_line("") == "it ended without a message"


def test_a_child_reports_its_status_and_errors(tmp_path):
    code, errors = run_child(
        [sys.executable, "-c", "import sys; sys.exit('no luck')"], environment=os.environ, folder=tmp_path
    )
    assert (code, errors) == (1, "no luck\n")


def test_a_child_and_its_children_end_with_us(tmp_path, monkeypatch):
    family = "import os, subprocess, sys, time\n" + (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )

    def interrupted(self, timeout):
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            pass
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen.communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_child([sys.executable, "-c", family], environment=os.environ, folder=tmp_path)
    pid = int((tmp_path / "child").read_text())
    assert has_ended(pid)


def has_ended(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        process.wait(timeout=30)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        pass
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_child_that_takes_too_long_is_stopped(tmp_path):
    code, errors = run_child(
        [sys.executable, "-c", "import time; time.sleep(600)"], environment=os.environ, folder=tmp_path, longest=0.1
    )
    assert (code, errors) == (1, "it was stopped after 0.1 s")


def test_a_child_ends_when_the_one_that_started_it_is_killed():
    child = (
        "import time; from llm.processes import end_with_parent; end_with_parent(); print(flush=True); time.sleep(600)"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE, start_new_session=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        pid = int(process.stdout.readline())
        process.kill()
    assert has_ended(pid)


def test_the_last_line_of_an_error_of_ours_is_its_problem_and_not_its_remedy() -> None:
    assert (
        last_line("Traceback\nllm.errors.X: the file is gone\n  remedy: bring it back\n")
        == "llm.errors.X: the file is gone"
    )
    assert last_line("remedy: alone") == "remedy: alone"
    assert last_line(" \n") == "it ended without a message"
